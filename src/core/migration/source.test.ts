import { expect, test } from "vitest";
import { decideSource, type SourceSituation } from "./source.ts";

const lost: SourceSituation = {
  ...{
    wish: "go",
    port: null,
    fate: "arrived",
    record: null,
    attempt: null,
    inVain: false,
    kept: false,
    ours: false,
    guest: "off",
    postcopy: false,
  },
  feed: { is: "none", remainingBytes: null },
};

test("a source that was set up anew after its guest arrived elsewhere has let go of it", () => {
  expect(decideSource(lost).step).toEqual({ do: "record", record: { stage: "left", pauseMs: null } });
});

test("a guest that runs where no record is is another's, and is left alone", () => {
  for (const guest of ["running", "paused", "unknown"] as const) {
    expect(decideSource({ ...lost, guest }).step).toEqual({ do: "wait" });
  }
});

test("a guest that goes on here although it runs there is ended, as soon as it is known to run there", () => {
  const copying: SourceSituation = { ...lost, port: 1, fate: null, record: { stage: "copying" }, postcopy: true };
  const failed = { is: "failed", reason: "link_lost", message: "gone", asked: true } as const;
  for (const guest of ["running", "held"] as const) {
    const decide = (more: Partial<SourceSituation>) => decideSource({ ...copying, guest, ...more }).step.do;
    expect(decide({ fate: "fetching" })).toBe("destroy");
    expect(decide({ attempt: { is: "feeding" } })).toBe("destroy");
    // The target may never have let it run; then this is the only one.
    expect(decide({ attempt: failed })).toBe("ask");
    expect(decide({ attempt: failed, fate: "dropped" })).toBe("record");
    expect(decide({})).toBe("ask");
    expect(decide({ record: { stage: "left", pauseMs: null } })).toBe("destroy");
  }
  const left: SourceSituation = { ...lost, record: { stage: "left", pauseMs: null }, guest: "running" };
  expect(decideSource(left).step).toEqual({ do: "wait" });
});
