/**
 * Typed XDR codecs that are put together like the .x files: a struct is its fields, and the TypeScript type follows from the
 * definition (`TypeOf`), so that a table line is the only place that states a shape.
 *
 * `notation` is the shape in a short form ("{string<16>,uint}"), by which protocol/check.ts compares our tables with libvirt's
 * own files. `least` is the fewest bytes a value takes: with it an array's count is checked before anything is allocated.
 */
import { XdrError, type XdrReader, type XdrWriter } from "./xdr.ts";

export interface Codec<T> {
  readonly notation: string;
  readonly least: number;
  write(to: XdrWriter, value: T): void;
  read(from: XdrReader): T;
}

export type TypeOf<C> = C extends Codec<infer T> ? T : never;

function plain<T>(
  notation: string,
  least: number,
  write: (to: XdrWriter, value: T) => void,
  read: (from: XdrReader) => T,
): Codec<T> {
  return { notation, least, write, read };
}

export const int: Codec<number> = plain(
  "int",
  4,
  (to, value) => to.int(value),
  (from) => from.int(),
);
export const uint: Codec<number> = plain(
  "uint",
  4,
  (to, value) => to.uint(value),
  (from) => from.uint(),
);
export const hyper: Codec<bigint> = plain(
  "hyper",
  8,
  (to, value) => to.hyper(value),
  (from) => from.hyper(),
);
export const uhyper: Codec<bigint> = plain(
  "uhyper",
  8,
  (to, value) => to.uhyper(value),
  (from) => from.uhyper(),
);
export const double: Codec<number> = plain(
  "double",
  8,
  (to, value) => to.double(value),
  (from) => from.double(),
);
/** C's char, unsigned char and unsigned short take a whole int each. */
export const small: Codec<number> = { ...int, notation: "small" };
/** libvirt declares its yes/no fields as int, so any number but zero is a yes. */
export const intBool: Codec<boolean> = plain(
  "int",
  4,
  (to, value) => to.int(value ? 1 : 0),
  (from) => from.int() !== 0,
);

/** A C string of at most `max` bytes in UTF-8. Bytes that are not UTF-8 read as U+FFFD: QEMU's texts are not always clean. */
export function string(max: number): Codec<string> {
  return plain(
    `string<${max}>`,
    4,
    (to, value) => {
      const bytes = Buffer.from(value, "utf8");
      if (bytes.length > max) throw new XdrError(`a string of ${bytes.length} bytes is above the limit of ${max}`);
      // The daemon would see the text end at a NUL, and a lone surrogate would silently become another text.
      if (bytes.includes(0) || !value.isWellFormed()) throw new XdrError("a string with a NUL or a lone surrogate");
      to.variable(bytes);
    },
    (from) => from.variable(max).toString("utf8"),
  );
}

/** Up to `max` bytes. What is read is a copy, so that a small cookie does not keep a large message alive. */
export function opaque(max: number): Codec<Uint8Array> {
  return plain(
    `opaque<${max}>`,
    4,
    (to, value) => {
      if (value.length > max) throw new XdrError(`${value.length} bytes are above the limit of ${max}`);
      to.variable(value);
    },
    (from) => Uint8Array.from(from.variable(max)),
  );
}

/** Exactly `length` bytes. */
export function opaqueFixed(length: number): Codec<Uint8Array> {
  return plain(
    `opaque[${length}]`,
    (length + 3) & ~3,
    (to, value) => {
      if (value.length !== length) throw new XdrError(`${value.length} bytes where ${length} belong`);
      to.fixed(value);
    },
    (from) => Uint8Array.from(from.fixed(length)),
  );
}

/** Up to `max` elements. */
export function array<T>(element: Codec<T>, max: number): Codec<readonly T[]> {
  if (element.least === 0) throw new XdrError(`an array of ${element.notation} could be any length in no bytes`);
  return plain<readonly T[]>(
    `${element.notation}<${max}>`,
    4,
    (to, values) => {
      if (values.length > max) throw new XdrError(`${values.length} elements are above the limit of ${max}`);
      to.uint(values.length);
      for (const value of values) element.write(to, value);
    },
    (from) => {
      const count = from.count(max, element.least);
      const values: T[] = [];
      for (let i = 0; i < count; i++) values.push(element.read(from));
      return values;
    },
  );
}

/** Exactly `length` elements. */
export function arrayFixed<T>(element: Codec<T>, length: number): Codec<readonly T[]> {
  return plain<readonly T[]>(
    `${element.notation}[${length}]`,
    element.least * length,
    (to, values) => {
      if (values.length !== length) throw new XdrError(`${values.length} elements where ${length} belong`);
      for (const value of values) element.write(to, value);
    },
    (from) => Array.from({ length }, () => element.read(from)),
  );
}

/** A pointer that may be NULL, which is `undefined` here. */
export function optional<T>(inner: Codec<T>): Codec<T | undefined> {
  return plain<T | undefined>(
    `${inner.notation}*`,
    4,
    (to, value) => {
      to.uint(value === undefined ? 0 : 1);
      if (value !== undefined) inner.write(to, value);
    },
    (from) => {
      const present = from.uint();
      if (present > 1) throw new XdrError(`${present} where a pointer says 0 or 1`);
      return present === 1 ? inner.read(from) : undefined;
    },
  );
}

export type Fields = Readonly<Record<string, Codec<unknown>>>;
type FieldTypes<F extends Fields> = { readonly [K in keyof F]: TypeOf<F[K]> };

/** Named fields in the order they are written in. The property order is the wire order. */
export function struct<const F extends Fields>(fields: F): Codec<FieldTypes<F>> {
  const entries = Object.entries<Codec<unknown>>(fields);
  return plain<FieldTypes<F>>(
    `{${entries.map(([, codec]) => codec.notation).join(",")}}`,
    entries.reduce((sum, [, codec]) => sum + codec.least, 0),
    (to, value) => {
      for (const [key, codec] of entries) codec.write(to, value[key]);
    },
    (from) => {
      const value: Record<string, unknown> = {};
      for (const [key, codec] of entries) value[key] = codec.read(from);
      return value as FieldTypes<F>;
    },
  );
}

type Cases = Readonly<Record<number, readonly [string, Codec<unknown>]>>;
type CaseTypes<C extends Cases> = {
  [N in keyof C]: C[N] extends readonly [infer Name, infer D]
    ? { readonly type: Name; readonly value: TypeOf<D> }
    : never;
}[keyof C & number];

/** A union that an int decides: `{1: ["int", int], 7: ["string", string(9)]}` gives `{type: "int", value: number} | ...`. */
export function union<const C extends Cases>(cases: C): Codec<CaseTypes<C>> {
  const byNumber = new Map<number, readonly [string, Codec<unknown>]>();
  const byName = new Map<string, readonly [number, Codec<unknown>]>();
  for (const [key, [name, codec]] of Object.entries(cases) as [string, [string, Codec<unknown>]][]) {
    byNumber.set(Number(key), [name, codec]);
    byName.set(name, [Number(key), codec]);
  }
  const notation = [...byNumber].map(([number, [, codec]]) => `${number}:${codec.notation}`).join(",");
  return plain<CaseTypes<C>>(
    `union(${notation})`,
    4 + Math.min(...[...byNumber.values()].map(([, codec]) => codec.least)),
    (to, value) => {
      const chosen = value as { readonly type: string; readonly value: unknown };
      const found = byName.get(chosen.type);
      if (!found) throw new XdrError(`no union case ${chosen.type}`);
      to.int(found[0]);
      found[1].write(to, chosen.value);
    },
    (from) => {
      const number = from.int();
      const found = byNumber.get(number);
      if (!found) throw new XdrError(`no union case ${number}`);
      return { type: found[0], value: found[1].read(from) } as CaseTypes<C>;
    },
  );
}

/** An int of which only the listed numbers exist. */
export function enumeration<const E extends Readonly<Record<string, number>>>(names: E): Codec<keyof E & string> {
  const byNumber = new Map(Object.entries(names).map(([name, number]) => [number, name as keyof E & string]));
  return plain<keyof E & string>(
    "int",
    4,
    (to, value) => to.int(names[value] ?? Number.NaN),
    (from) => {
      const number = from.int();
      const name = byNumber.get(number);
      if (name === undefined) throw new XdrError(`no enumeration member ${number}`);
      return name;
    },
  );
}

/** The same bytes with another type on our side. */
export function mapped<W, T>(wire: Codec<W>, decode: (value: W) => T, encode: (value: T) => W): Codec<T> {
  return plain<T>(
    wire.notation,
    wire.least,
    (to, value) => wire.write(to, encode(value)),
    (from) => decode(wire.read(from)),
  );
}
