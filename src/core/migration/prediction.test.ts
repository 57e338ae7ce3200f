import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { caution, dirtied, fitCurve, largestRate, predict, type DirtyCurve } from "./prediction.ts";

const mib = 2 ** 20;
const gib = 2 ** 30;
const times = [100, 500, 1_500, 4_000];

const curves = fc.record({
  bytesPerSecond: fc.double({ min: mib, max: 10 * gib, noNaN: true }),
  workingSetBytes: fc.double({ min: mib, max: 64 * gib, noNaN: true }),
});
const samplesOf = (curve: DirtyCurve) => times.map((ms) => ({ ms, bytes: dirtied(curve, ms / 1000) }));
/** What is left after so many rounds, one by one. */
function after(rounds: number, curve: DirtyCurve, memory: number, link: number): number {
  let left = memory;
  for (let i = 0; i < rounds; i++) left = Math.min(left, dirtied(curve, left / link));
  return left;
}

describe("the curve", () => {
  test("is found again from its own points, as far as they reach", () => {
    fc.assert(
      fc.property(curves, (curve) => {
        const found = fitCurve(samplesOf(curve), 64 * gib);
        // Between the points and not far beyond them it says the same, whatever W and D are.
        for (const seconds of [0.05, 0.3, 1, 4]) {
          const wanted = dirtied(curve, seconds);
          expect(Math.abs(dirtied(found, seconds) / wanted - 1)).toBeLessThan(0.05);
        }
      }),
    );
  });

  test("of a writer whose working set shows has that one, and that rate", () => {
    const found = fitCurve(samplesOf({ bytesPerSecond: 64 * mib, workingSetBytes: 128 * mib }), gib);
    expect(found.bytesPerSecond / mib).toBeCloseTo(64, 0);
    expect(found.workingSetBytes / mib).toBeCloseTo(128, 0);
  });

  test("never has more than the memory, and is nothing where nothing was written", () => {
    const sample = fc.record({ ms: fc.integer({ min: 50, max: 10_000 }), bytes: fc.integer({ min: 0, max: gib }) });
    fc.assert(
      fc.property(fc.array(sample, { maxLength: 6 }), (samples) => {
        const found = fitCurve(samples, gib);
        expect(found.workingSetBytes).toBeLessThanOrEqual(gib);
        expect(Number.isFinite(found.bytesPerSecond)).toBe(true);
        expect(dirtied(found, 1e9)).toBeLessThanOrEqual(gib);
      }),
    );
    expect(fitCurve([{ ms: 1000, bytes: 0 }], gib)).toEqual({ bytesPerSecond: 0, workingSetBytes: 0 });
  });
});

const inputs = fc.record({
  memoryBytes: fc.double({ min: 16 * mib, max: 64 * gib, noNaN: true }),
  curve: curves,
  linkBytesPerSecond: fc.double({ min: mib, max: 10 * gib, noNaN: true }),
  limitMs: fc.double({ min: 5, max: 1_000, noNaN: true }),
  fixedMs: fc.constant(20),
});

describe("the verdict", () => {
  test("is what the rounds come to, one by one", () => {
    fc.assert(
      fc.property(inputs, (input) => {
        const { curve, linkBytesPerSecond: link, limitMs, memoryBytes } = input;
        const most = largestRate(curve.workingSetBytes, link, limitMs);
        // A link's own rate can always be borne.
        expect(most).toBeGreaterThanOrEqual(link);
        const rest = (factor: number) => {
          const rate = Number.isFinite(most) ? factor * most : 1e12;
          return after(20_000, { ...curve, bytesPerSecond: rate }, memoryBytes, link) / link;
        };
        expect(rest(0.95) * 1000).toBeLessThanOrEqual(limitMs);
        const everFits = !Number.isFinite(most) || memoryBytes <= curve.workingSetBytes;
        expect(everFits || rest(1.05) * 1000 > limitMs).toBe(true);
      }),
    );
  });

  test("of one that converges has a pause within the limit and the fixed part, and so has one with its brake", () => {
    fc.assert(
      fc.property(inputs, (input) => {
        const found = predict(input);
        expect(found?.pauseMs).toBeLessThanOrEqual(input.limitMs + input.fixedMs + 1e-6);
        const firstMs = (1000 * input.memoryBytes) / input.linkBytesPerSecond;
        expect(found?.copyMs).toBeGreaterThanOrEqual(firstMs * (1 - 1e-9));
        const held = found?.verdict.is === "brake" ? found.verdict.bytesPerSecond : 0;
        expect(held).toBeLessThan(caution * input.curve.bytesPerSecond);
      }),
    );
  });

  test("does not get better when the guest writes faster, nor worse with a faster link", () => {
    fc.assert(
      fc.property(inputs, fc.double({ min: 1, max: 8, noNaN: true }), (input, more) => {
        const is = (one: Partial<typeof input>) => predict({ ...input, ...one })?.verdict.is;
        const { curve } = input;
        const easier =
          is({}) === "brake"
            ? is({ curve: { ...curve, bytesPerSecond: more * curve.bytesPerSecond } })
            : is({ linkBytesPerSecond: more * input.linkBytesPerSecond });
        expect(easier).toBe(is({}));
      }),
    );
  });

  test("of a quiet guest is one round, and of no link at all is none", () => {
    const quiet = { memoryBytes: gib, curve: { bytesPerSecond: 0, workingSetBytes: 0 }, limitMs: 30, fixedMs: 20 };
    expect(predict({ ...quiet, linkBytesPerSecond: 128 * mib })).toMatchObject({
      verdict: { is: "converges" },
      copyMs: 8_000,
      rounds: 1,
      pauseMs: 20,
    });
    expect(predict({ ...quiet, linkBytesPerSecond: 0 })).toBeNull();
  });
});
