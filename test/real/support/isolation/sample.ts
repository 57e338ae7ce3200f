/**
 * A request that an action's schema takes, made by asking the schema: what it complains of first is mended, until it complains no more.
 * So an action that is added later has its request here without being named, as long as {@link words} knows a word for what its
 * texts may be.
 */
import type * as z from "zod";
import type { IdKind } from "../../../../src/lib/ids.ts";
import { idKindOf } from "../../../../src/vstation/cvm/parameters.ts";
import { kindByName, type Path } from "./places.ts";

export type Ids = (kind: IdKind) => string;

/** Texts that only some values suit, by the parameter's name. */
export const words: Readonly<Record<string, unknown>> = {
  Password: "Correct-Horse-1",
  Zone: "ap-test-1",
  InstanceType: "T1.SMALL1",
  PublicKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8y7dL2k0m8h0m9mJ1Zb2m3m4m5m6m7m8m9m0mamb2c a",
  KeyName: "key",
  CidrBlock: "10.77.2.0/24",
  DestinationCidrBlock: "0.0.0.0/0",
  InternetAccessible: { InternetMaxBandwidthOut: 10 },
};

export function sample(schema: z.ZodObject, given: Record<string, unknown>, ids: Ids, name: string): object {
  const request = structuredClone(given);
  for (let tries = 0; tries < 60; tries++) {
    const parsed = schema.safeParse(request);
    if (parsed.success) return request;
    const [issue] = parsed.error.issues;
    if (issue === undefined) break;
    const path = issue.path as (string | number)[];
    const value = mended(schema, path, valueAt(request, path), issue, ids);
    if (value === undefined || path.length === 0) break;
    put(request, path, value);
  }
  const { error } = schema.safeParse(request);
  const why = error?.issues[0];
  throw new Error(
    `no request for ${name}: \`${why?.path.join(".") ?? ""}\` ${why?.message ?? ""}; give the test a word for it (sample.ts)`,
  );
}

function mended(
  schema: z.core.$ZodType,
  path: readonly (string | number)[],
  now: unknown,
  issue: z.core.$ZodIssue,
  ids: Ids,
): unknown {
  const name = path.findLast((step) => typeof step === "string") ?? "";
  const kind = kindAt(schema, path) ?? (/Ids?$/.test(name) ? kindByName(name) : undefined);
  if (kind !== undefined && now === undefined && issueWantsText(issue)) return ids(kind);
  if (Object.hasOwn(words, name) && now !== words[name]) {
    const word = words[name];
    return issue.code === "invalid_type" && issue.expected === "array" ? [word] : word;
  }
  if (issue.code === "invalid_type") return ofType(issue.expected);
  const choice = /must be (?:one of )?([A-Za-z_-]+)/.exec(issue.message)?.[1];
  const range = /must be (?:from|at least) (\d+)/.exec(issue.message)?.[1];
  if (range !== undefined) return Number(range);
  if (choice !== undefined && choice !== "ASCII" && choice !== now) return choice;
  if (Array.isArray(now) && now.length === 0) {
    const inner = kindAt(schema, [...path, 0]);
    return [inner === undefined ? "a" : ids(inner)];
  }
  return now === "a1" ? undefined : "a1";
}

function issueWantsText(issue: z.core.$ZodIssue): boolean {
  return issue.code !== "invalid_type" || issue.expected === "string";
}

function ofType(type: string): unknown {
  switch (type) {
    case "string":
      return "a";
    case "number":
    case "int":
      return 1;
    case "boolean":
      return true;
    case "array":
      return [];
    case "object":
      return {};
    default:
      return undefined;
  }
}

/** The kind of id that the schema takes at this path, if it takes one there. */
function kindAt(schema: z.core.$ZodType, path: readonly (string | number)[]): IdKind | undefined {
  const own = idKindOf(schema);
  if (own !== undefined) return path.length === 0 ? own : undefined;
  const { def } = schema as unknown as {
    def: {
      shape?: Record<string, z.core.$ZodType>;
      element?: z.core.$ZodType;
      innerType?: z.core.$ZodType;
      in?: z.core.$ZodType;
      out?: z.core.$ZodType;
    };
  };
  if (def.innerType !== undefined) return kindAt(def.innerType, path);
  if (def.in !== undefined && def.out !== undefined) return kindAt(def.in, path) ?? kindAt(def.out, path);
  const [step, ...rest] = path;
  if (step === undefined) return undefined;
  const inner = typeof step === "number" ? def.element : def.shape?.[step];
  return inner === undefined ? undefined : kindAt(inner, rest);
}

function valueAt(value: unknown, path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>(
    (at, step) => (typeof at === "object" && at !== null ? (at as Record<string | number, unknown>)[step] : undefined),
    value,
  );
}

/** Sets a value, making lists and structures on the way to it. */
export function put(target: object, path: Path | readonly (string | number)[], value: unknown): void {
  let at = target as Record<string | number, unknown>;
  path.forEach((step, index) => {
    if (index === path.length - 1) at[step] = value;
    else at = (at[step] ??= typeof path[index + 1] === "number" ? [] : {}) as Record<string | number, unknown>;
  });
}
