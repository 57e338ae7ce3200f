/**
 * How often everything was done by now, of what is promised: whatever may be hurt, in every state, thirty times. Counted from the rows. Pure.
 */
import { aligned } from "../../bench/report.ts";
import type { FaultRow } from "./rows.ts";

/** Runs that are promised of everything that is hurt, in each state. */
export const runsAsked = 30;

/** The rounds of one thing that is done to somebody in one state. */
export interface Series {
  readonly during: "a request" | "a move";
  /** What is done to whom. */
  readonly hurt: string;
  readonly state: string;
  /** What the names of its cases begin with. */
  readonly name: string;
}

/** The name of the case in that round. */
export function roundOf(series: Series, round: number): string {
  return `${series.name}/${round}`;
}

interface Count {
  /** Cases that hurt something and kept every promise. */
  readonly runs: number;
  /** Cases that found nothing to hurt. */
  readonly nothing: number;
  /** Times that a promise was broken, also where the same case kept them all the next time. */
  readonly failed: number;
}

export interface Counted extends Series, Count {}

function seriesOf(row: FaultRow): string {
  return row.case.replace(/\/\d+$/, "");
}

/** `rows` are of one source. */
export function countRuns(all: readonly Series[], rows: readonly FaultRow[]): Counted[] {
  const bySeries = Map.groupBy(rows, seriesOf);
  return all.map((series) => {
    const own = bySeries.get(series.name) ?? [];
    const cases = (of: readonly FaultRow[]): number => new Set(of.map((row) => row.case)).size;
    return {
      ...series,
      runs: cases(own.filter((row) => row.outcome === "passed" && row.hits !== undefined)),
      nothing: cases(own.filter((row) => row.outcome === "nothing there")),
      failed: own.filter((row) => row.outcome === "failed").length,
    };
  });
}

/** In every round that was run there was nothing to hurt; more rounds would show nothing. */
function isEmpty({ runs, nothing, failed }: Count): boolean {
  return runs === 0 && failed === 0 && nothing > 0;
}

export function lacking(counted: Counted): number {
  return isEmpty(counted) ? 0 : Math.max(0, runsAsked - counted.runs);
}

/** States in which nothing was hurt with every promise kept. */
export function statesWithoutRun(all: readonly Counted[]): string[] {
  const byState = Map.groupBy(all, ({ state }) => state);
  return [...byState].filter(([, own]) => own.every(({ runs }) => runs === 0)).map(([state]) => state);
}

/** A table for each of what they are done during, and which of its states have no run. */
export function tallyLines(all: readonly Counted[]): string[] {
  const head = ["runs", "failed", "states", "nothing there", `below ${runsAsked}`, "fewest"];
  return [...Map.groupBy(all, ({ during }) => during)].flatMap(([during, own]) => {
    const byHurt = [...Map.groupBy(own, ({ hurt }) => hurt)];
    const rows = [...byHurt, ["in all", own] as const].map(([hurt, series]) => [hurt, ...cells(series)]);
    const without = statesWithoutRun(own);
    const named = without.length === 0 ? [] : [`states without a run: ${without.join(", ")}`];
    return ["", ...aligned([[`during ${during}`, ...head], ...rows]), ...named];
  });
}

function cells(series: readonly Counted[]): string[] {
  const sum = (of: (count: Count) => number): number => series.reduce((total, count) => total + of(count), 0);
  const possible = series.filter((each) => !isEmpty(each));
  return [
    sum(({ runs }) => runs),
    sum(({ failed }) => failed),
    series.length,
    series.length - possible.length,
    possible.filter((each) => lacking(each) > 0).length,
    possible.length === 0 ? "-" : Math.min(...possible.map(({ runs }) => runs)),
  ].map(String);
}

/** What is left, by the mean of what was run. A round that found nothing there to hurt takes another one. */
export function leftLine(all: readonly Counted[], rows: readonly FaultRow[]): string {
  const short = all.filter((each) => lacking(each) > 0);
  if (short.length === 0) return `everything has its ${runsAsked} runs in each state`;
  const left = short.reduce((sum, each) => sum + lacking(each), 0);
  const rounds = Math.max(...short.map(({ nothing }) => runsAsked + nothing));
  const names = new Set(all.map(({ name }) => name));
  const run = rows.filter((row) => names.has(seriesOf(row)));
  const mean = run.reduce((sum, { seconds }) => sum + seconds, 0) / run.length;
  const hours = run.length === 0 ? "" : `, some ${Math.ceil((left * mean) / 3600)} h at ${Math.round(mean)} s each`;
  return `${left} runs are lacking of ${runsAsked} for each in each state${hours}; \`--rounds ${rounds}\` goes on with them`;
}

/** Of cases that have no rounds: how many of each kind have passed. */
export function onceLines(names: readonly string[], rows: readonly FaultRow[]): string[] {
  const passed = new Set(rows.filter((row) => row.outcome === "passed").map((row) => row.case));
  const byKind = Map.groupBy(names, (name) => name.slice(0, name.indexOf("/")));
  return [...byKind].map(
    ([kind, own]) => `${kind}: ${own.filter((name) => passed.has(name)).length} of ${own.length} passed`,
  );
}
