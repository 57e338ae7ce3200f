/** Everything that the fault loops can run, in its order, and what of it is wanted. */
import { readReach } from "./awaits/reach.ts";
import { awaitName, batchesOf, type Batch } from "./awaits/run.ts";
import type { Bed } from "./bed.ts";
import { caseName, crashCases, randomCases, randomSeries, uncovered } from "./cases.ts";
import { moveCases, moveName, moveSeries } from "./moves/cases.ts";
import { runMove } from "./moves/run.ts";
import { nestedCase } from "./nested.ts";
import { crashPoints } from "./points.ts";
import { runCase } from "./run-case.ts";
import type { Series } from "./tally.ts";

/** Something that is done to a lab, and leaves it fit for the next thing. */
export interface Planned {
  readonly name: string;
  /** What it is a round of; null where it is run once. */
  readonly series: Series | null;
  /** Returns how many processes or cables it hurt; throws with what was broken. */
  readonly run: (bed: Bed) => Promise<number>;
}

export interface Plan {
  readonly cases: readonly Planned[];
  readonly awaits: readonly Batch[];
  /** The move between nested hosts. */
  readonly nested: boolean;
}

/** `--only`: a name's parts may end like another's begin (`#jobWork.remove/1` holds "move/"), so the text is one's beginning. */
export function isNamed(name: string, text: string): boolean {
  return `/${name}`.includes(`/${text}`);
}

/** Throws where a crash point of the source has no case. */
export function planOf(rounds: number, wanted: (name: string) => boolean): Plan {
  const points = crashPoints();
  const missing = uncovered(points).map(({ name }) => name);
  if (missing.length > 0) {
    throw new Error(`no path is known for ${missing.join(", ")}: add it to test/faults/cases.ts`);
  }
  const each = Array.from({ length: rounds }, (_, i) => i + 1);
  const crashes = crashCases(points).map((it): Planned => ({ name: caseName(it), series: null, run: run(it) }));
  const random = each
    .flatMap(randomCases)
    .map((it): Planned => ({ name: caseName(it), series: randomSeries(it), run: run(it) }));
  const moves = each
    .flatMap((round) => moveCases(points, round))
    .map((it): Planned => ({ name: moveName(it), series: moveSeries(it), run: (bed) => runMove(bed, it) }));
  return {
    cases: [...crashes, ...random, ...moves].filter(({ name }) => wanted(name)),
    awaits: batchesOf(readReach(), wanted),
    nested: wanted(nestedCase),
  };
}

function run(it: Parameters<typeof runCase>[1]): Planned["run"] {
  return (bed) => runCase(bed, it);
}

/** Names of all that is in it. */
export function namesOf(plan: Plan): string[] {
  return [...plan.cases.map(({ name }) => name), ...awaitNames(plan), ...(plan.nested ? [nestedCase] : [])];
}

/** Names of what is in it and is run once. */
export function onceOf(plan: Plan): string[] {
  const rounds = new Set(plan.cases.flatMap(({ name, series }) => (series === null ? [] : [name])));
  return namesOf(plan).filter((name) => !rounds.has(name));
}

/** What is in it and has rounds, each once. */
export function seriesOf(plan: Plan): Series[] {
  const all = plan.cases.flatMap(({ series }) => (series === null ? [] : [series]));
  return [...new Map(all.map((series) => [series.name, series])).values()];
}

function awaitNames({ awaits }: Plan): string[] {
  return awaits.flatMap((batch) => batch.steps.map((step) => awaitName(batch, step)));
}
