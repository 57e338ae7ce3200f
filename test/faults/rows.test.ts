import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { crashPoints, pointsIn } from "./points.ts";
import { appendRow, endingOf, readRows, sourceHash, type FaultRow } from "./rows.ts";
import { pick, seeded } from "./seeded.ts";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "vstation-rows-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

const row: FaultRow = {
  at: "2026-01-01T00:00:00Z",
  source: "abc",
  case: "a/b",
  seed: 1,
  outcome: "passed",
  seconds: 2.5,
};

it("remembers rows, and forgets one that was cut off", () => {
  const file = join(dir, "deep/rows.jsonl");
  appendRow(row, file);
  appendRow({ ...row, outcome: "failed", message: "why" }, file);
  appendFileSync(file, '{"at":"2026-01-01T0');
  appendRow(row, file);
  appendRow({ ...row, case: "after" }, file);
  expect(readRows(file).map((each) => each.case)).toEqual(["a/b", "a/b", "after"]);
  expect(readRows(file)[1]).toEqual({ ...row, outcome: "failed", message: "why" });
});

it("tells what was not there from what was hurt, and reads rows from before that was counted", () => {
  const file = join(dir, "rows.jsonl");
  const { outcome: _, ...about } = row;
  const rows: FaultRow[] = [0, 2].map((hits) => ({ ...about, ...endingOf(hits) }));
  for (const each of [...rows, row]) appendRow(each, file);
  expect(readRows(file)).toEqual([
    { ...about, outcome: "nothing there" },
    { ...about, outcome: "passed", hits: 2 },
    { ...about, outcome: "passed" },
  ]);
});

it("knows one source from another", () => {
  expect(sourceHash()).toMatch(/^[0-9a-f]{16}$/);
  expect(sourceHash()).toBe(sourceHash());
});

it("finds crash points by reading, and refuses a computed name", () => {
  expect(pointsIn("src/compute/a.ts", 'x(); crashPoint("a.b.c");\ncrashPoint(\n  "d.e.f",\n);')).toEqual([
    { name: "a.b.c", file: "src/compute/a.ts", program: "compute" },
    { name: "d.e.f", file: "src/compute/a.ts", program: "compute" },
  ]);
  expect(() => pointsIn("src/compute/a.ts", "crashPoint(`a.${b}`)")).toThrow("literal");
  expect(() => pointsIn("src/core/a.ts", 'crashPoint("a.b.c")')).toThrow("no long-lived program");
  expect(crashPoints().length).toBeGreaterThan(0);
});

it("names each crash point once", () => {
  const names = crashPoints().map((point) => point.name);
  expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
});

it("repeats itself from a seed", () => {
  const draw = (seed: number): string[] => {
    const random = seeded(seed);
    return Array.from({ length: 20 }, () => pick(random, ["a", "b", "c"]));
  };
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
  expect(new Set(draw(7))).toEqual(new Set(["a", "b", "c"]));
});
