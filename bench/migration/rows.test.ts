/** The raw rows outlive the run that wrote them. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Rows, type MigrationRow } from "./rows.ts";

const figures = {
  pauseMs: 12.5,
  gapMs: 60,
  coldMs: 40,
  totalMs: 2_000,
  throughputP5: null,
  writesP5: null,
  writtenMiBps: 144,
};
const row: MigrationRow = {
  ...figures,
  class: "busy",
  kind: "ours",
  round: 3,
  at: "2026-01-01T00:00:00.000Z",
  ok: true,
  lost: false,
  why: null,
  said: { "target: RESUME": 12.5 },
  beatsLost: 3,
};

test("a run goes on with the rows of one that was killed, and half a line is none", () => {
  const dir = mkdtempSync(join(tmpdir(), "vstation-rows-"));
  try {
    const file = join(dir, "results/rows.jsonl");
    Rows.open(file, true).add(row);
    appendFileSync(file, '{"class":"bu');
    const again = Rows.open(file, true);
    expect(again.of("busy", "ours")).toEqual([row]);
    again.add({ ...row, round: 4 });
    expect(Rows.open(file, true).of("busy", "ours")).toHaveLength(2);
    expect(Rows.open(file, false).of("busy", "ours")).toEqual([]);
    expect(() => readFileSync(file)).toThrow("ENOENT");
  } finally {
    rmSync(dir, { recursive: true });
  }
});
