import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { differences, median, medianInterval, oursFirst, quantile, ratios, rounded, summarize } from "./statistics.ts";

const sample = fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 1, maxLength: 60 });

describe("quantiles", () => {
  it("interpolate between order statistics", () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([1, 2, 3, 4, 5], 0.25)).toBe(2);
    expect(quantile([10], 0.99)).toBe(10);
  });

  it("refuse an empty sample", () => {
    expect(() => median([])).toThrow("nothing");
  });

  it("lie within the sample, grow with q, and do not depend on the order", () => {
    fc.assert(
      fc.property(
        sample,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (values, a, b) => {
          const [low, high] = a < b ? [a, b] : [b, a];
          const lower = quantile(values, low);
          expect(lower).toBeGreaterThanOrEqual(Math.min(...values));
          expect(quantile(values, high)).toBeGreaterThanOrEqual(lower - 1e-9);
          expect(quantile(values.toReversed(), low)).toBeCloseTo(lower, 9);
        },
      ),
    );
  });

  it("leave the sample as it was", () => {
    const values = [3, 1, 2];
    median(values);
    expect(values).toEqual([3, 1, 2]);
  });
});

describe("the interval of the median", () => {
  it("is the published pair of order statistics", () => {
    // Known from tables of the sign test: n = 6 -> the whole range; n = 10 -> 2nd and 9th; n = 20 -> 6th and 15th.
    const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);
    expect(medianInterval(upTo(5))).toBeUndefined();
    expect(medianInterval(upTo(6))).toEqual([1, 6]);
    expect(medianInterval(upTo(10))).toEqual([2, 9]);
    expect(medianInterval(upTo(20))).toEqual([6, 15]);
  });

  it("holds the median", () => {
    fc.assert(
      fc.property(sample, (values) => {
        const interval = medianInterval(values);
        if (interval === undefined) return;
        expect(interval[0]).toBeLessThanOrEqual(median(values));
        expect(interval[1]).toBeGreaterThanOrEqual(median(values));
      }),
    );
  });
});

describe("a summary", () => {
  it("names a p99 from 299 values on, not before", () => {
    const values = Array.from({ length: 299 }, (_, i) => i);
    expect(summarize(values).p99).toBeCloseTo(295.02, 6);
    expect(summarize(values.slice(1))).not.toHaveProperty("p99");
  });

  it("says how far runs differ", () => {
    expect(summarize([100, 100, 100, 100]).spread).toBe(0);
    expect(summarize([80, 90, 100, 110, 120]).spread).toBe(20);
  });
});

describe("pairs", () => {
  it("are compared one by one", () => {
    const pairs = [
      { ours: 5, theirs: 4 },
      { ours: 100, theirs: 50 },
    ];
    expect(differences(pairs)).toEqual([1, 50]);
    expect(ratios(pairs)).toEqual([1.25, 2]);
  });

  it("let a steady drift cancel out over four", () => {
    // Each run costs one more than the run before it; a fair order makes both sides pay the same.
    let cost = 0;
    const sums = { ours: 0, theirs: 0 };
    for (let i = 0; i < 4; i++) {
      for (const side of oursFirst(i) ? (["ours", "theirs"] as const) : (["theirs", "ours"] as const))
        sums[side] += cost++;
    }
    expect(sums.ours).toBe(sums.theirs);
  });
});

it("rounds to three decimals", () => {
  expect(rounded(1.23456)).toBe(1.235);
});
