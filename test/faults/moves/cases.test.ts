import { expect, it } from "vitest";
import type { SourceRecord } from "../../../src/core/migration/source.ts";
import type { TargetRecord } from "../../../src/core/migration/target.ts";
import { elsewhere, familyOf } from "../cases.ts";
import { crashPoints } from "../points.ts";
import { cables, moveCases, moveFamilies, moveName, moveStates, moveVictims, notOnTheWay } from "./cases.ts";

const points = crashPoints();

it("has a run for every state of the engine", () => {
  // A new family of points on a move's way goes to `moveFamilies`.
  const engine = points.filter(
    (point) => /migrat|arrival/.test(`${point.name} ${point.file}`) && !notOnTheWay.includes(familyOf(point)),
  );
  const states = new Set(moveStates(points).map((state) => (state.is === "point" ? state.point.name : state.is)));
  expect(engine.filter(({ name }) => !states.has(name))).toEqual([]);
  expect(states.has("copying")).toBe(true);
});

it("knows a test of its own for every state that is not on the way", () => {
  // Whether it names the points, ../cases.test.ts looks.
  expect(notOnTheWay.filter((family) => elsewhere[family] === undefined)).toEqual([]);
  expect(notOnTheWay.filter((family) => moveFamilies.includes(family))).toEqual([]);
});

/** What Compute writes down of a half on its way: the compiler asks for the point of a new one. */
const written: Readonly<Record<SourceRecord["stage"] | TargetRecord["stage"], string>> = {
  copying: "migration.source.copying-written",
  stayed: "migration.source.stayed-written",
  left: "migration.source.left-written",
  open: "migration.target.open-written",
  finishing: "migration.target.finishing-written",
  committed: "migration.postcopy.committed-written",
  fetching: "migration.postcopy.fetching-written",
  arrived: "migration.target.arrived-written",
  dropped: "migration.target.dropped-written",
};

it("has a point at every stage that is written down", () => {
  const names = new Set(points.map(({ name }) => name));
  expect(Object.values(written).filter((name) => !names.has(name))).toEqual([]);
});

it("speaks of no family that has gone", () => {
  const families = new Set(points.map(familyOf));
  expect([...moveFamilies, ...notOnTheWay].filter((family) => !families.has(family))).toEqual([]);
});

it("names every case once", () => {
  const names = [...moveCases(points, 1), ...moveCases(points, 2)].map(moveName);
  expect(new Set(names).size).toBe(names.length);
});

it("goes through every state before it comes to one again, and every state meets every hurt", () => {
  const states = moveStates(points).length;
  const cases = moveCases(points, 1);
  const laps = Array.from({ length: cases.length / states }, (_, lap) => cases.slice(lap * states, (lap + 1) * states));
  for (const lap of laps) expect(new Set(lap.map(({ state }) => state)).size).toBe(states);
  const hurts = laps[0]?.map(({ hurt }) => `${hurt.how}/${hurt.victim}`);
  expect(new Set(hurts).size).toBe(Math.min(states, laps.length));
  expect(new Set(cases.map(moveName)).size).toBe((2 * moveVictims.length + cables.length) * states);
});
