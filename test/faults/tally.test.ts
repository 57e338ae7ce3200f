import { expect, it } from "vitest";
import { randomCases, randomSeries } from "./cases.ts";
import { moveCases, moveName, moveSeries } from "./moves/cases.ts";
import { crashPoints } from "./points.ts";
import { endingOf, type FaultRow } from "./rows.ts";
import {
  countRuns,
  lacking,
  leftLine,
  onceLines,
  roundOf,
  runsAsked,
  statesWithoutRun,
  tallyLines,
  type Series,
} from "./tally.ts";

const series = (hurt: string, state: string): Series => ({
  during: "a move",
  hurt,
  state,
  name: `move/${state}/${hurt}`,
});
const about = { at: "2026-01-01T00:00:00Z", source: "abc", seed: 1, seconds: 60 };
const ran = (of: Series, round: number, hits = 1): FaultRow => ({
  ...about,
  case: roundOf(of, round),
  ...endingOf(hits),
});
const failed = (of: Series, round: number): FaultRow => ({
  ...about,
  case: roundOf(of, round),
  outcome: "failed",
  message: "why",
});
const rounds = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

const there = series("kill/target/compute", "copying");
const sometimes = series("kill/target/qemu", "copying");
const never = series("kill/target/qemu", "open");

it("counts as a run only what hurt something and broke no promise, each case once", () => {
  const rows = [ran(there, 1), ran(there, 1), ran(there, 2, 0), failed(there, 3), failed(there, 4), ran(there, 4)];
  expect(countRuns([there], rows)).toEqual([{ ...there, runs: 2, nothing: 1, failed: 2 }]);
});

it("counts no run of before it was known how much each hurt", () => {
  const old: FaultRow = { ...about, case: roundOf(there, 1), outcome: "passed" };
  expect(countRuns([there], [old])).toMatchObject([{ runs: 0 }]);
});

it("asks for thirty runs, but of what never found anything to hurt for none", () => {
  const rows = [
    ...rounds(runsAsked - 1).map((round) => ran(there, round)),
    ...rounds(runsAsked).map((round) => ran(sometimes, round, round % 2)),
    ...rounds(2).map((round) => ran(never, round, 0)),
  ];
  const counted = countRuns([there, sometimes, never], rows);
  expect(counted.map(lacking)).toEqual([1, runsAsked / 2, 0]);
  // Half of the rounds of one of them found nothing there, so thirty rounds are not enough.
  expect(leftLine(counted, rows)).toBe(
    "16 runs are lacking of 30 for each in each state, some 1 h at 60 s each; `--rounds 45` goes on with them",
  );
  const whole = countRuns([there], [...rows, ran(there, runsAsked)]);
  expect(leftLine(whole, rows)).toBe("everything has its 30 runs in each state");
});

it("names the states in which nothing was hurt, also those that found nothing there", () => {
  const counted = countRuns([there, sometimes, never], [ran(there, 1), ran(never, 1, 0)]);
  expect(statesWithoutRun(counted)).toEqual(["open"]);
  expect(statesWithoutRun(countRuns([there], [failed(there, 1)]))).toEqual(["copying"]);
});

it("is a table of who is hurt how, with what each lacks", () => {
  const rows = [...rounds(runsAsked).map((round) => ran(there, round)), ran(sometimes, 1), ran(never, 1, 0)];
  expect(tallyLines(countRuns([there, sometimes, never], [...rows, failed(sometimes, 2)]))).toEqual([
    "",
    "during a move        runs  failed  states  nothing there  below 30  fewest",
    "kill/target/compute    30       0       1              0         0      30",
    "kill/target/qemu        1       1       2              1         1       1",
    "in all                 31       1       3              1         1       1",
    "states without a run: open",
  ]);
});

it("says of cases without rounds how many have passed", () => {
  const row = (name: string, outcome: "passed" | "nothing there"): FaultRow => ({ ...about, case: name, outcome });
  const rows = [row("crash/a.b.c/run", "passed"), row("await/self/during/x#y/1", "nothing there")];
  const names = ["crash/a.b.c/run", "crash/a.b.c/stop", "await/self/during/x#y/1"];
  expect(onceLines(names, rows)).toEqual(["crash: 1 of 2 passed", "await: 0 of 1 passed"]);
});

it("finds the rows of every series by their names", () => {
  const cases = moveCases(crashPoints(), 12);
  const all = [...cases.map(moveSeries), ...randomCases(12).map(randomSeries)];
  const rows = all.map((each) => ran(each, 12));
  expect(rows[0]?.case).toBe(cases.map(moveName)[0]);
  expect(new Set(countRuns(all, rows).map(({ runs }) => runs))).toEqual(new Set([1]));
});
