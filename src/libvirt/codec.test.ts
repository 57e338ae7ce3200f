import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  array,
  arrayFixed,
  type Codec,
  double,
  enumeration,
  hyper,
  int,
  intBool,
  opaque,
  opaqueFixed,
  optional,
  string,
  struct,
  uhyper,
  uint,
  union,
} from "./codec.ts";
import { connection } from "./protocol/connection.ts";
import { devices } from "./protocol/device.ts";
import { domains } from "./protocol/domain.ts";
import { eventShapes } from "./protocol/event.ts";
import { remoteError } from "./protocol/message.ts";
import { migration } from "./protocol/migration.ts";
import { type Procedure, typedParam, uuid } from "./protocol/notation.ts";
import { qemu, qemuMessages } from "./protocol/qemu.ts";
import { XdrError, XdrReader, XdrWriter } from "./xdr.ts";

/** A codec together with values that it must carry. */
interface Carrier {
  readonly codec: Codec<unknown>;
  readonly value: fc.Arbitrary<unknown>;
}

const anyCodec = <T>(codec: Codec<T>, value: fc.Arbitrary<T>): Carrier => ({ codec, value });

const text = fc.string({ unit: "grapheme", maxLength: 40 }).filter((value) => !value.includes("\0"));
const bytes = (size: fc.ArrayConstraints): fc.Arbitrary<Uint8Array> => fc.uint8Array(size);

const leaf: fc.Arbitrary<Carrier> = fc.constantFrom(
  anyCodec(int, fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })),
  anyCodec(uint, fc.integer({ min: 0, max: 2 ** 32 - 1 })),
  anyCodec(hyper, fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
  anyCodec(uhyper, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
  anyCodec(double, fc.double()),
  anyCodec(intBool, fc.boolean()),
  anyCodec(string(400), text),
  anyCodec(opaque(32), bytes({ maxLength: 32 })),
  anyCodec(opaqueFixed(7), bytes({ minLength: 7, maxLength: 7 })),
  anyCodec(uuid, fc.uuid()),
  anyCodec(enumeration({ cat: 3, dog: -1 }), fc.constantFrom("cat" as const, "dog" as const)),
);

/** Codecs built from codecs, a few levels deep. */
const carrier: fc.Arbitrary<Carrier> = fc.letrec<{ any: Carrier; inner: Carrier }>((tie) => ({
  any: fc.oneof({ depthSize: "small", withCrossShrink: true }, leaf, tie("inner")),
  inner: fc.oneof(
    tie("any").map(({ codec, value }) => anyCodec(optional(codec), fc.option(value, { nil: undefined }))),
    tie("any").map(({ codec, value }) => anyCodec(array(codec, 5), fc.array(value, { maxLength: 5 }))),
    tie("any").map(({ codec, value }) =>
      anyCodec(arrayFixed(codec, 2), fc.array(value, { minLength: 2, maxLength: 2 })),
    ),
    fc.tuple(tie("any"), tie("any")).map(([a, b]) => ({
      codec: struct({ a: a.codec, b: b.codec }) as Codec<unknown>,
      value: fc.record({ a: a.value, b: b.value }),
    })),
    fc.tuple(tie("any"), tie("any")).map(([a, b]) => ({
      codec: union({ 1: ["one", a.codec], 2: ["two", b.codec] }) as Codec<unknown>,
      value: fc.oneof(
        a.value.map((value) => ({ type: "one", value })),
        b.value.map((value) => ({ type: "two", value })),
      ),
    })),
  ),
})).any;

const carried = carrier.chain(({ codec, value }) => value.map((one) => ({ codec, value: one })));

function encode<T>(codec: Codec<T>, value: T): Buffer {
  const to = new XdrWriter(16);
  codec.write(to, value);
  return to.finish();
}

/** Reads and says whether it was refused in the one way that is allowed. */
function refused<T>(codec: Codec<T>, wire: Uint8Array): boolean {
  try {
    codec.read(new XdrReader(wire));
    return false;
  } catch (error) {
    if (error instanceof XdrError) return true;
    throw error;
  }
}

const tables: readonly Procedure<unknown, unknown>[] = [
  connection,
  devices,
  domains,
  migration,
  qemu,
  qemuMessages,
].flatMap((table) => Object.values<Procedure<unknown, unknown>>(table));

const shapes: readonly Codec<unknown>[] = [
  ...tables.flatMap(({ args, result }) => [args, result]),
  ...eventShapes.map(({ codec }) => codec),
  remoteError,
];

describe("codecs", () => {
  test("give back what they were given, in whole words, and nothing is left over", () => {
    fc.assert(
      fc.property(carried, ({ codec, value }) => {
        const wire = encode(codec, value);
        expect(wire.length % 4).toBe(0);
        expect(wire.length).toBeGreaterThanOrEqual(codec.least);
        const from = new XdrReader(wire);
        expect(codec.read(from)).toEqual(value);
        expect(from.remaining).toBe(0);
      }),
      { numRuns: 2_000 },
    );
  });

  test("refuse every truncation", () => {
    fc.assert(
      fc.property(carried, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), ({ codec, value }, share) => {
        const wire = encode(codec, value);
        fc.pre(wire.length > 0);
        expect(refused(codec, wire.subarray(0, Math.floor(wire.length * share)))).toBe(true);
      }),
    );
  });

  test("write and read what RFC 4506 shows", () => {
    const file = struct({ name: string(255), kind: uint, data: opaque(65_535) });
    const wire = encode(file, { name: "sillyprog", kind: 2, data: Buffer.from("(quit)") });
    expect(wire.toString("hex")).toBe("0000000973696c6c7970726f6700000000000002000000062871756974290000");
  });

  test("refuse values that the wire cannot carry", () => {
    const wrong: readonly [Codec<unknown>, unknown][] = [
      [int, 2 ** 31],
      [int, 1.5],
      [uint, -1],
      [hyper, 2n ** 63n],
      [uhyper, -1n],
      [string(3), "four"],
      [string(9), "a\0b"],
      [string(9), "\ud800"],
      [opaque(1), new Uint8Array(2)],
      [opaqueFixed(2), new Uint8Array(1)],
      [array(int, 1), [1, 2]],
      [arrayFixed(int, 2), [1]],
      [uuid, "not-a-uuid"],
      [union({ 1: ["one", int] }), { type: "two", value: 1 }],
      [enumeration({ cat: 1 }), "dog"],
    ];
    for (const [codec, value] of wrong) expect(() => encode(codec, value)).toThrow(XdrError);
  });

  test("believe no count that the bytes cannot hold", () => {
    const claim = Buffer.alloc(16);
    claim.writeUInt32BE(0x7fff_ffff);
    const codecs = [string(2 ** 31), opaque(2 ** 31), array(int, 2 ** 31), array(array(typedParam, 9), 2 ** 31)];
    for (const codec of codecs) expect(refused<unknown>(codec, claim)).toBe(true);
    // A count within the limit, but of elements that need more than what is there.
    claim.writeUInt32BE(13);
    expect(refused(array(int, 100), claim)).toBe(true);
  });

  test("take a pointer's flag for 0 or 1 and nothing else", () => {
    expect(refused(optional(int), Buffer.from("0000000200000000", "hex"))).toBe(true);
    expect(refused(optional(int), Buffer.from("0000000100000000", "hex"))).toBe(false);
  });

  test("an array whose elements take no bytes cannot be defined", () => {
    expect(() => array(struct({}), 10)).toThrow(XdrError);
  });
});

describe("the protocol's shapes", () => {
  test("read any bytes to a value or an XdrError", () => {
    const shape = fc.constantFrom(...shapes);
    // Small words make counts and pointers plausible, so that the reading gets deep.
    const word = fc.oneof(fc.constantFrom(0, 1, 2, 3, 7, 16), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
    const wire = fc.array(word, { maxLength: 60 }).map((words) => {
      const bytesOf = Buffer.alloc(words.length * 4);
      for (const [at, value] of words.entries()) bytesOf.writeUInt32BE(value, at * 4);
      return bytesOf;
    });
    let read = 0;
    fc.assert(
      fc.property(shape, wire, (codec, words) => {
        if (!refused(codec, words)) read++;
      }),
      { numRuns: 20_000 },
    );
    expect(read).toBeGreaterThan(100);
  });

  test("have numbers that name one procedure each", () => {
    const numbers = [
      ...tables.map(({ program, number }) => `${program} ${number}`),
      ...eventShapes.map(({ procedure }) => `remote ${procedure}`),
    ];
    expect(new Set(numbers).size).toBe(numbers.length);
  });
});
