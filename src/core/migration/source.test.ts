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
