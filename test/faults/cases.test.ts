import { expect, it } from "vitest";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { caseName, crashCases, elsewhere, familyOf, randomCases, reach, seedOf, uncovered } from "./cases.ts";
import { crashPoints, type CrashPoint } from "./points.ts";

const points = crashPoints();

it("covers every crash point of the source", () => {
  // Add the point's family to `reach` in cases.ts, with the paths that pass it.
  expect(uncovered(points)).toEqual([]);
  const covered = new Set(crashCases(points).map((each) => (each.kind === "crash" ? each.point.name : "")));
  const here = points.filter((point) => elsewhere[familyOf(point)] === undefined).map(({ name }) => name);
  expect(here.filter((name) => !covered.has(name))).toEqual([]);
  for (const [family, test] of Object.entries(elsewhere)) {
    const text = readFileSync(join(import.meta.dirname, "../..", test), "utf8");
    const named = points.filter((point) => familyOf(point) === family && !text.includes(`"${point.name}"`));
    expect(named).toEqual([]);
  }
});

it("notices a point that nothing covers", () => {
  const stray: CrashPoint = { name: "nobody.knows.it", file: "src/compute/x.ts", program: "compute" };
  expect(uncovered([stray])).toEqual([stray]);
});

it("speaks of no family that has gone", () => {
  const families = new Set(points.map(familyOf));
  expect(Object.keys({ ...reach, ...elsewhere }).filter((family) => !families.has(family))).toEqual([]);
});

it("names every case once, and gives each moments of its own", () => {
  const all = [...crashCases(points), ...randomCases(1), ...randomCases(2)];
  expect(new Set(all.map(caseName)).size).toBe(all.length);
  expect(new Set(all.map(seedOf)).size).toBe(all.length);
});
