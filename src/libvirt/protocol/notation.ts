/**
 * The notation of the protocol tables, and the shapes that many procedures share. A table line is
 *
 *   domainReset: proc(245, { dom: domain, flags: uint }),
 *
 * which reads: procedure 245 of the table's program takes `remote_domain_reset_args` and answers nothing. Numbers and shapes are
 * libvirt's (src/remote/remote_protocol.x, src/remote/qemu_protocol.x); the notation is ours. How to add a line: ../README.md.
 */
import {
  array,
  double,
  type Codec,
  type Fields,
  hyper,
  int,
  intBool,
  mapped,
  opaqueFixed,
  optional,
  string,
  struct,
  type TypeOf,
  uhyper,
  uint,
  union,
} from "../codec.ts";
import type { DomainRef } from "../contract.ts";
import { XdrError } from "../xdr.ts";

export const programs = { remote: 0x2000_8086, qemu: 0x2000_8087, keepalive: 0x6b65_6570 } as const;
export type ProgramName = keyof typeof programs;
/** All three programs are at version 1 since they exist; libvirt only ever adds procedures. */
export const programVersion = 1;

export interface Procedure<A, R> {
  readonly program: ProgramName;
  readonly number: number;
  /** Our name, for logs and errors. */
  readonly name: string;
  /** The daemon answers it by itself, without asking QEMU, whose answer may never come (`@priority: high`). */
  readonly quick: boolean;
  readonly args: Codec<A>;
  readonly result: Codec<R>;
}

type Shape<A, R> = Pick<Procedure<A, R>, "number" | "quick" | "args" | "result">;

/** One line of a table. */
export function proc<const A extends Fields = {}, const R extends Fields = {}>(
  number: number,
  args?: A,
  result?: R,
): Shape<TypeOf<ReturnType<typeof struct<A>>>, TypeOf<ReturnType<typeof struct<R>>>> {
  return { number, quick: false, args: struct(args ?? ({} as A)), result: struct(result ?? ({} as R)) };
}

/** A line for a procedure that libvirt marks with high priority. */
export const quick: typeof proc = (number, args, result) => ({ ...proc(number, args, result), quick: true });

/** Gives each line its program, and its property name as its name. */
export function table<const T extends Record<string, Shape<unknown, unknown>>>(
  program: ProgramName,
  lines: T,
): { readonly [K in keyof T]: T[K] extends Shape<infer A, infer R> ? Procedure<A, R> : never } {
  const entries = Object.entries(lines).map(([name, line]) => [name, { program, name, ...line }]);
  return Object.freeze(Object.fromEntries(entries)) as {
    readonly [K in keyof T]: T[K] extends Shape<infer A, infer R> ? Procedure<A, R> : never;
  };
}

export const stringMax = 4_194_304;
export const domainListMax = 16_384;
export const cpumapMax = 2_048;
export const cpumapsMax = 8_388_608;

/** `remote_nonnull_string`. */
export const text = string(stringMax);
/** `remote_string`: may be NULL. */
export const textOrNull = optional(text);

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Sixteen bytes on the wire, lower case with dashes here. */
export const uuid: Codec<string> = mapped(
  opaqueFixed(16),
  (bytes) => {
    const hex = Buffer.from(bytes).toString("hex");
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
  },
  (value) => {
    if (!uuidPattern.test(value)) throw new XdrError(`not a uuid: ${value}`);
    return Buffer.from(value.replaceAll("-", ""), "hex");
  },
);

/** `remote_nonnull_domain`. */
export const domain: Codec<DomainRef> = struct({ name: text, uuid, id: int });
export const domainOrNull = optional(domain);

/** `remote_typed_param`, by which libvirt passes lists of named values. */
export const typedParam = struct({
  field: text,
  value: union({
    1: ["int", int],
    2: ["uint", uint],
    3: ["llong", hyper],
    4: ["ullong", uhyper],
    5: ["double", double],
    6: ["boolean", intBool],
    7: ["string", text],
  }),
});
export type TypedParam = TypeOf<typeof typedParam>;

export function typedParams(max: number): Codec<readonly TypedParam[]> {
  return array(typedParam, max);
}
