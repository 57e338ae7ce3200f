/**
 * How an action's parameters are declared and read: one schema per action over everything the SDK documents for it, so that
 * each documented parameter is decided by name, here or nowhere: offered, ignored (harmless) or refused (ignoring would lie).
 * What the documentation does not know is `UnknownParameter`.
 *
 * Values come from two forms: JSON of a POST, with types, and the flattened query of a GET, where all is text. Leaves of the
 * latter arrive as {@link FormText} and take the type that the schema asks for.
 *
 * A missing parameter is `MissingParameter`, a wrong type `InvalidParameter`, a value the code that its check names, else
 * `InvalidParameterValue`.
 */
import * as z from "zod";
import { parseId, type Id, type IdKind } from "../../lib/ids.ts";
import { Refusal, type CvmCode } from "./error-codes.ts";

/** A value of the GET form. */
export class FormText {
  readonly text: string;

  constructor(value: string) {
    this.text = value;
  }
}

/** The SDK's type, where every field may also be there and undefined: our compiler tells the two apart. */
type Loose<T> = T extends readonly (infer E)[]
  ? Loose<E>[]
  : T extends object
    ? { [K in keyof T]: Loose<T[K]> | undefined }
    : T;

/** A schema for every parameter that the SDK documents for a request (or a structure in one), and for no other. */
export type Documented<R> = { [K in keyof Required<NonNullable<R>>]: z.ZodType<Loose<NonNullable<R>[K]> | undefined> };

/** Makes a parameter that the SDK does not document a compile error; `extends` alone lets further keys pass. */
export type Only<S, R> = { [K in Exclude<keyof S, keyof Documented<R>>]: never };

/** A structure in a request; the first call names its SDK type, the second its parameters. */
export function structure<R>(): <S extends Documented<R>>(shape: S & Only<S, R>) => z.ZodObject<S, z.core.$strict> {
  return <S extends Documented<R>>(shape: S & Only<S, R>) => z.strictObject<S>(shape);
}

/** Adds a check whose failure is answered with this code and "The value of `X` <why>". */
export function check<S extends z.ZodType>(
  schema: S,
  code: CvmCode,
  why: string,
  holds: (value: z.output<S>) => boolean,
): S {
  return schema.refine(holds, { error: why, params: { code }, abort: true });
}

/** Text without a NUL or half a surrogate pair: neither can be stored. Length in code points, as people count. */
export function text(maximum: number, tooLong: CvmCode = "InvalidParameterValue.TooLong") {
  const well = check(
    z.preprocess((value) => (value instanceof FormText ? value.text : value), z.string()),
    "InvalidParameterValue.IncorrectFormat",
    "holds characters that are not accepted",
    (value) => value.isWellFormed() && !value.includes("\0"),
  );
  return check(well, tooLong, `is longer than ${maximum} characters`, (value) => codePoints(value) <= maximum);
}

/** One line of text to be shown: no control characters. */
export function line(maximum: number) {
  return check(
    text(maximum),
    "InvalidParameterValue.IncorrectFormat",
    "holds control characters",
    (value) => !/\p{Cc}/u.test(value),
  );
}

export function integer(minimum: number, maximum: number, code: CvmCode = "InvalidParameterValue.Range") {
  return check(
    z.preprocess(
      (value) => (value instanceof FormText && /^-?\d{1,15}$/.test(value.text) ? Number(value.text) : value),
      z.int(),
    ),
    code,
    maximum === Number.MAX_SAFE_INTEGER ? `must be at least ${minimum}` : `must be from ${minimum} to ${maximum}`,
    (value) => value >= minimum && value <= maximum,
  );
}

const formBooleans: Readonly<Record<string, boolean>> = { true: true, TRUE: true, false: false, FALSE: false };

export function boolean() {
  return z.preprocess(
    (value) => (value instanceof FormText ? (formBooleans[value.text] ?? value) : value),
    z.boolean(),
  );
}

/** One of a few words; what the words mean is up to the action. */
export function oneOf<const W extends string>(words: readonly W[], code: CvmCode = "InvalidParameterValue") {
  return check(text(255, code), code, `must be one of ${words.join(", ")}`, (value) =>
    (words as readonly string[]).includes(value),
  ) as unknown as z.ZodType<W>;
}

export function list<S extends z.ZodType>(
  item: S,
  maximum: number,
  code: CvmCode = "InvalidParameterValue.LimitExceeded",
) {
  return check(z.array(item), code, `has more than ${maximum} entries`, (values) => values.length <= maximum);
}

const malformed = {
  instance: "InvalidInstanceId.Malformed",
  image: "InvalidImageId.Malformed",
  key: "InvalidKeyPairId.Malformed",
  group: "InvalidParameterValue.DisasterRecoverGroupIdMalformed",
  vpc: "InvalidVpcId.Malformed",
  subnet: "InvalidParameterValue.Malformed",
  routeTable: "InvalidRouteTableId.Malformed",
  securityGroup: "InvalidSecurityGroupID.Malformed",
  elasticAddress: "InvalidParameterValue.AddressIdMalformed",
  natGateway: "InvalidParameterValue.Malformed",
  disk: "InvalidParameterValue",
  snapshot: "InvalidParameterValue",
} as const satisfies Partial<Record<IdKind, CvmCode>>;

/** `code`: where an action has another word for what is no id. */
export function id<K extends keyof typeof malformed>(kind: K, code: CvmCode = malformed[kind]): z.ZodType<Id<K>> {
  const schema = check(text(64, code), code, "is not the id of one", (value) => parseId(kind, value) !== undefined);
  idKinds.set(schema, kind);
  return schema as unknown as z.ZodType<Id<K>>;
}

/** An id, or a word that stands for one. */
export function idOr(kind: IdKind, word: string, code: CvmCode): z.ZodType<string> {
  const schema = check(
    text(64, code),
    code,
    "has the wrong form",
    (value) => value === word || parseId(kind, value) !== undefined,
  );
  idKinds.set(schema, kind);
  return schema;
}

const idKinds = new WeakMap<z.core.$ZodType, IdKind>();

/** What the values are ids of; undefined for a schema that `id()` did not make. */
export function idKindOf(schema: z.core.$ZodType): IdKind | undefined {
  return idKinds.get(schema);
}

/** Ids to read: repeated ones count once, unknown ones are simply not found. */
export function idsToRead<K extends keyof typeof malformed>(kind: K, maximum: number) {
  return list(id(kind), maximum).transform((ids) => [...new Set(ids)]);
}

/** Ids to act on: at least one, none twice. */
export function idsToChange<K extends keyof typeof malformed>(kind: K, maximum: number) {
  const some = check(list(id(kind), maximum), "InvalidParameterValue.NotEmpty", "is empty", (ids) => ids.length > 0);
  return check(some, "InvalidParameterValue.Duplicate", "holds an id twice", (ids) => new Set(ids).size === ids.length);
}

/** `Offset` and `Limit` of a list of things. */
export const page = {
  Offset: integer(0, Number.MAX_SAFE_INTEGER, "InvalidParameterValueOffset").default(0),
  Limit: integer(1, 100, "InvalidParameterValueLimit").default(20),
};

/** What becomes of a documented parameter that is not offered; docs/cvm-actions.md is written from it. */
export type Decision = { is: "ignored" } | { is: "refused"; code: CvmCode };

const decisions = new WeakMap<z.core.$ZodType, Decision>();

/** Undefined for what is offered. */
export function decisionOf(schema: z.core.$ZodType): Decision | undefined {
  return decisions.get(schema);
}

/** Documented, without effect here, and harmless so: whatever it says is accepted. */
export function ignored(): z.ZodType<undefined> {
  const schema = z
    .unknown()
    .transform(() => undefined)
    .optional();
  decisions.set(schema, { is: "ignored" });
  return schema;
}

/** Documented and not offered: a value that asks for something is refused, one that asks for nothing is as good as none. */
export function refused(
  code: CvmCode = "UnsupportedOperation",
  why = "asks for something that is not offered here",
): z.ZodType<undefined> {
  const schema = check(z.unknown(), code, why, asksForNothing)
    .transform(() => undefined)
    .optional();
  decisions.set(schema, { is: "refused", code });
  return schema;
}

function asksForNothing(value: unknown): boolean {
  if (value instanceof FormText) return ["", "0", "false", "FALSE"].includes(value.text);
  if (value === undefined || value === "" || value === 0 || value === false) return true;
  if (typeof value !== "object" || value === null) return false;
  return Array.isArray(value) ? value.length === 0 : Object.values(value).every(asksForNothing);
}

/** The parameters that a schema makes of a request; throws the {@link Refusal} of the first thing that is wrong. */
export function readParameters<S extends z.ZodType>(schema: S, input: unknown): z.output<S> {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  throw refusalOfIssue(parsed.error.issues[0], input);
}

function refusalOfIssue(issue: z.core.$ZodIssue | undefined, input: unknown): Refusal {
  if (issue === undefined) return new Refusal("InvalidParameter", "The parameters could not be read.");
  const name = issue.path.join(".");
  if (issue.code === "unrecognized_keys") {
    const full = [...issue.path, shorten(issue.keys[0] ?? "")].join(".");
    return new Refusal("UnknownParameter", `The action has no parameter \`${full}\`.`);
  }
  if (valueAt(input, issue.path) === undefined) {
    return new Refusal("MissingParameter", `The parameter \`${name}\` is required.`);
  }
  if (issue.code === "invalid_type") {
    return new Refusal("InvalidParameter", `The parameter \`${name}\` must be of type ${issue.expected}.`);
  }
  const code = issue.code === "custom" ? (issue.params?.["code"] as CvmCode | undefined) : undefined;
  return new Refusal(code ?? "InvalidParameterValue", `The value of \`${name}\` ${issue.message}.`);
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input;
  for (const key of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}

function shorten(name: string): string {
  return name.length <= 64 ? name : `${name.slice(0, 64)}...`;
}

function codePoints(value: string): number {
  let count = 0;
  for (const _ of value) count++;
  return count;
}
