/** What a run comes to, for people and for whoever started it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { BenchOptions } from "../bench.ts";
import { classes } from "./classes.ts";
import { report } from "./report.ts";
import { Rows, type MigrationRow } from "./rows.ts";

const options: BenchOptions = {
  quick: false,
  home: undefined,
  rounds: 1,
  class: "busy",
  only: undefined,
  pin: true,
  signal: new AbortController().signal,
  say: () => undefined,
};
const row: MigrationRow = {
  class: "busy",
  kind: "ours",
  round: 0,
  at: "2026-01-01T00:00:00.000Z",
  ok: true,
  lost: false,
  why: null,
  said: {},
  pauseMs: 50,
  gapMs: 100,
  beatsLost: 50,
  coldMs: 40,
  totalMs: 3_000,
  throughputP5: 0.7,
  writesP5: 0.9,
  writtenMiBps: 144,
};

test("a pinned run says that it is one, what the guest did meanwhile, and which guests were lost", () => {
  const dir = mkdtempSync(join(tmpdir(), "vstation-report-"));
  try {
    const rows = Rows.open(join(dir, "rows.jsonl"), false);
    const wished = classes.filter(({ name }) => name === "busy");
    rows.add(row);
    rows.add({ ...row, kind: "control", writesP5: 0.98 });
    const { params, results, remarks, vmLost } = report(options, 1, wished, rows);
    expect(params).toMatchObject({ pinned: true });
    expect(results).toMatchObject({ classes: { busy: { brownout: { p5: 0.9, control_p5: 0.98, void: false } } } });
    expect(remarks).toContain("busy: of the pages due per 0.1 s outside the pause, p5: 0.900 moved, 0.980 left alone");
    expect(remarks.filter((remark) => remark.startsWith("--pin: "))).toHaveLength(1);
    expect(vmLost).toBe(0);
    rows.add({ ...row, round: 1, ok: false, lost: true });
    const unpinned = report({ ...options, pin: false }, 2, wished, rows);
    expect(unpinned).toMatchObject({ params: { pinned: false }, vmLost: 1 });
    expect(unpinned.remarks.filter((remark) => remark.startsWith("--pin: "))).toEqual([]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
