import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BeatLog, parseBeat } from "./beats.ts";

const bootId = "00112233-4455-6677-8899-aabbccddeeff";

describe("parseBeat", () => {
  const datagram = () => {
    const it = Buffer.alloc(48);
    it.write("VSBEAT01");
    it.writeBigUInt64LE(7n, 8);
    it.writeBigUInt64LE(1_000_000_007n, 16);
    it.writeBigUInt64LE(1_700_000_000_000_000_001n, 24);
    Buffer.from("00112233445566778899aabbccddeeff", "hex").copy(it, 32);
    return it;
  };

  test("reads every field", () => {
    expect(parseBeat(datagram())).toEqual({
      seq: 7,
      monotonicNs: 1_000_000_007n,
      realtimeNs: 1_700_000_000_000_000_001n,
      bootId,
    });
  });

  test("takes nothing else for a beat", () => {
    expect(parseBeat(datagram().subarray(1))).toBeUndefined();
    expect(parseBeat(datagram().fill("x", 0, 8))).toBeUndefined();
    expect(parseBeat(Buffer.alloc(0))).toBeUndefined();
    const absurd = datagram();
    absurd.writeBigUInt64LE(1n << 40n, 8);
    expect(parseBeat(absurd)).toBeUndefined();
  });
});

describe("BeatLog", () => {
  const logOf = (arrivals: readonly (readonly [at: number, seq: number, boot?: string])[]) => {
    const log = new BeatLog();
    for (const [at, seq, boot] of arrivals) log.add(at, { seq, bootId: boot ?? bootId });
    return log;
  };

  test("finds the longest gap and when it began", () => {
    const report = logOf([
      [10, 1],
      [11, 2],
      [61.5, 3],
      [62.5, 4],
    ]).report();
    expect(report.gaps?.max).toBe(50.5);
    expect(report.longest[0]).toEqual({ at: 11, ms: 50.5 });
    expect(report).toMatchObject({ received: 4, lost: 0, repeated: 0, first: 10, last: 62.5, bootIds: [bootId] });
  });

  test("takes quantiles by nearest rank", () => {
    const log = new BeatLog();
    let at = 0;
    for (let i = 1; i <= 1001; i++) log.add((at += i <= 991 ? 1 : i), { seq: i, bootId });
    // 990 gaps of 1 ms, then ten from 992 to 1001 ms.
    expect(log.report().gaps).toEqual({ p50: 1, p99: 1, p999: 1000, max: 1001 });
  });

  test("counts what did not arrive and what came twice", () => {
    const report = logOf([
      [0, 5],
      [1, 6],
      [2, 9],
      [3, 9],
    ]).report();
    expect(report).toMatchObject({ repeated: 1, lost: 2, late: 0 });
  });

  test("what is late is neither lost nor repeated, and a second copy of a guest is", () => {
    const late = logOf([1, 3, 2, 5, 4].map((seq, at) => [at, seq] as const)).report();
    expect(late).toMatchObject({ repeated: 0, lost: 0, late: 2 });
    const doubled = logOf([1, 2, 3, 3, 4, 4, 5, 5].map((seq, at) => [at, seq] as const)).report();
    expect(doubled).toMatchObject({ repeated: 3, lost: 0 });
  });

  test("numbers far apart are told apart", () => {
    const seqs = [0, 31, 32, 33, 5_000_000, 32_767, 32_768, 1_048_576];
    expect(logOf(seqs.map((seq, at) => [at, seq] as const)).report().repeated).toBe(0);
    expect(logOf([...seqs, ...seqs].map((seq, at) => [at, seq] as const)).report().repeated).toBe(seqs.length);
  });

  test("a reboot starts a new count and is seen", () => {
    const other = "ffffffff-4455-6677-8899-aabbccddeeff";
    const report = logOf([
      [0, 900],
      [1, 901],
      [4000, 1, other],
      [4001, 2, other],
    ]).report();
    expect(report).toMatchObject({ bootIds: [bootId, other], lost: 0, repeated: 0 });
    expect(report.gaps?.max).toBe(3999);
  });

  test("reports a range with the gaps that reach into it, whole", () => {
    const log = logOf([
      [0, 1],
      [100, 2],
      [101, 3],
      [103, 4],
      [200, 5],
    ]);
    expect(log.report({ from: 50, to: 102 })).toMatchObject({ received: 2, first: 100, last: 101, gaps: { max: 100 } });
    expect(log.report({ from: 101, to: 102 })).toMatchObject({ received: 1, gaps: { max: 2 } });
    expect(log.report({ from: 110, to: 120 })).toMatchObject({
      received: 0,
      first: undefined,
      longest: [{ at: 103, ms: 97 }],
    });
    expect(log.report({ from: 500 })).toMatchObject({ received: 0, gaps: undefined });
  });

  test("in bins: how many came in each, and the longest gap that reaches into it", () => {
    const log = new BeatLog();
    for (const [seq, at] of [0, 1, 2, 25, 26, 39].entries()) log.add(at, { seq, bootId });
    expect(log.report({ from: 0, to: 45, binMs: 10 }).bins).toEqual([
      { beats: 3, longestMs: 23 },
      { beats: 0, longestMs: 23 },
      { beats: 2, longestMs: 23 },
      { beats: 1, longestMs: 13 },
    ]);
    expect(log.report({ from: 0, to: 45 }).bins).toEqual([]);
  });

  test("the gaps of any arrivals add up to their whole span, and clear forgets", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 2, maxLength: 6000 }), (steps) => {
        const log = new BeatLog();
        let at = 0;
        steps.forEach((step, seq) => log.add((at += step), { seq, bootId }));
        const { first = 0, last = 0, longest, received } = log.report({}, Infinity);
        expect(received).toBe(steps.length);
        expect(longest.reduce((sum, gap) => sum + gap.ms, 0)).toBe(last - first);
        log.clear();
        expect(log.report().received).toBe(0);
      }),
      { numRuns: 20 },
    );
  });
});
