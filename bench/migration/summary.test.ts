/** What may be said about the rows of a class. */
import { describe, expect, test } from "vitest";
import type { Kind, MigrationRow } from "./rows.ts";
import { failureBound, summarizeClass, together } from "./summary.ts";

function rowOf(kind: Kind, round: number, figures: Partial<MigrationRow> = {}): MigrationRow {
  const none = {
    pauseMs: null,
    gapMs: null,
    coldMs: null,
    totalMs: null,
    throughputP5: null,
    writesP5: null,
    writtenMiBps: null,
  };
  return {
    class: "busy",
    kind,
    round,
    at: "",
    ok: true,
    lost: false,
    why: null,
    said: {},
    beatsLost: 0,
    ...none,
    ...figures,
  };
}

const summaryOf = (rows: readonly MigrationRow[]) => summarizeClass((kind) => rows.filter((row) => row.kind === kind));

describe("a class of the migration bench", () => {
  test("tells the moments of a pause in their order, by medians, and none that are not of most pauses", () => {
    const pause = (round: number, said: Record<string, number>) => rowOf("ours", round, { said });
    const { movers } = summaryOf([
      pause(0, { "target: RESUME": 30, "source: MIGRATION device": 4, "target: once": 5 }),
      pause(1, { "target: RESUME": 50, "source: MIGRATION device": 6 }),
      pause(2, { "target: RESUME": 41, "source: MIGRATION device": 9 }),
    ]);
    expect(movers.ours.moments).toEqual([
      ["source: MIGRATION device", 6],
      ["target: RESUME", 41],
    ]);
  });

  test("has net gaps less the median of cold, and its gaps compared round by round", () => {
    const { movers, cold, gapLessTuned } = summaryOf([
      ...[60, 50, 90].map((coldMs, round) => rowOf("cold", round, { coldMs })),
      ...[100, 120].map((gapMs, round) => rowOf("ours", round, { gapMs })),
      ...[130, 125, 500].map((gapMs, round) => rowOf("tuned", round, { gapMs })),
    ]);
    expect(cold?.p50).toBe(60);
    expect(movers.ours.netGap).toMatchObject({ min: 40, max: 60 });
    expect(gapLessTuned).toMatchObject({ n: 2, min: -30, max: -5 });
    expect(movers.stock).toMatchObject({ n: 0, gap: undefined, failureBound: 1 });
  });

  test("counts what failed and takes no figure from it", () => {
    const { ours } = summaryOf([
      rowOf("ours", 0, { pauseMs: 20 }),
      rowOf("ours", 1, { pauseMs: 9_000, ok: false, why: "no" }),
      rowOf("ours", 2, { ok: false, lost: true, why: "gone" }),
    ]).movers;
    expect(ours).toMatchObject({ n: 3, succeeded: 1, lost: 1, pause: { n: 1, max: 20 } });
  });

  test("has no brownout where the control was disturbed, or is not there", () => {
    const moved = rowOf("ours", 0, { throughputP5: 0.9 });
    const beside = (throughputP5: number) => summaryOf([moved, rowOf("control", 0, { throughputP5 })]).brownoutVoid;
    expect([beside(0.96), beside(0.98), summaryOf([moved]).brownoutVoid]).toEqual([true, false, true]);
  });

  test("takes a guest that writes by its pages, not by its beats", () => {
    const { movers, controlP5 } = summaryOf([
      ...[0.9, 0.7, 0.8].map((writesP5, round) => rowOf("ours", round, { throughputP5: 0.5, writesP5 })),
      rowOf("control", 0, { throughputP5: 0.6, writesP5: 0.98 }),
    ]);
    expect([movers.ours.throughputP5, controlP5]).toEqual([0.8, 0.98]);
  });
});

test("the bound on failures is the one that the number supports", () => {
  expect(failureBound(0, 2_995)).toBeCloseTo(0.001, 5);
  expect(failureBound(1, 4_742)).toBeCloseTo(0.001, 5);
  expect(failureBound(0, 30)).toBeCloseTo(1 - 0.05 ** (1 / 30), 9);
  expect([failureBound(0, 0), failureBound(4, 4)]).toEqual([1, 1]);
});

test("all classes together support a bound that none supports alone", () => {
  const of = (n: number, failures: number) =>
    summaryOf(Array.from({ length: n }, (_, round) => rowOf("ours", round, { ok: round >= failures }))).movers.ours;
  expect(together([of(200, 0), of(100, 1)])).toEqual({
    n: 300,
    succeeded: 299,
    lost: 0,
    failureBound: failureBound(1, 300),
  });
  expect(together([])).toMatchObject({ n: 0, failureBound: 1 });
});
