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

test("says what the guest did meanwhile, and which guests were lost", () => {
  const dir = mkdtempSync(join(tmpdir(), "vstation-report-"));
  try {
    const rows = Rows.open(join(dir, "rows.jsonl"), false);
    const wished = classes.filter(({ name }) => name === "busy");
    rows.add(row);
    rows.add({ ...row, kind: "control", writesP5: 0.98 });
    const { results, remarks, vmLost } = report(options, 1, wished, rows);
    expect(results).toMatchObject({ classes: { busy: { brownout: { p5: 0.9, control_p5: 0.98, void: false } } } });
    expect(remarks).toContain("busy: of the pages due per 0.1 s outside the pause, p5: 0.900 moved, 0.980 left alone");
    expect(vmLost).toBe(0);
    rows.add({ ...row, round: 1, ok: false, lost: true });
    expect(report(options, 2, wished, rows).vmLost).toBe(1);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
