/**
 * What may be said about the rows of a class, and no more. Pure.
 *
 * Differences are taken within a round; a share of failures comes with the bound that its number supports.
 */
import { differences, median, quantile, summarize, type Summary } from "../statistics.ts";
import type { Kind, MigrationRow, Mover } from "./rows.ts";

export interface MoverSummary {
  readonly n: number;
  readonly succeeded: number;
  readonly lost: number;
  readonly pause: Summary | undefined;
  /** What was said in more than half of the pauses, with its median of milliseconds after STOP, in this order. */
  readonly moments: readonly (readonly [string, number])[];
  readonly gap: Summary | undefined;
  readonly netGap: Summary | undefined;
  readonly totalMs: Summary | undefined;
  /** Of what it was to do per tenth of a second: of pages, where it writes some, else of beats. */
  readonly throughputP5: number | undefined;
  readonly writtenMiBps: number | undefined;
  /** With 95 % confidence no more than this share of its moves fails. */
  readonly failureBound: number;
}

export interface ClassSummary {
  readonly movers: Readonly<Record<Mover, MoverSummary>>;
  readonly cold: Summary | undefined;
  readonly controlP5: number | undefined;
  /** The control's own beats came too irregularly for a comparison. */
  readonly brownoutVoid: boolean;
  /** Of each round's: ours less tuned. */
  readonly gapLessTuned: Summary | undefined;
}

/** Below it the control says that something else disturbed the guest. */
const steadyControl = 0.97;

export function summarizeClass(of: (kind: Kind) => readonly MigrationRow[]): ClassSummary {
  const cold = known(of("cold"), "coldMs");
  const coldMedian = cold.length === 0 ? undefined : median(cold);
  const controlP5 = steadiness(of("control"));
  const mover = (kind: Mover): MoverSummary => {
    const rows = of(kind);
    const gaps = known(rows, "gapMs");
    const failed = rows.filter(({ ok }) => !ok).length;
    return {
      n: rows.length,
      succeeded: rows.length - failed,
      lost: rows.filter(({ lost }) => lost).length,
      pause: summary(known(rows, "pauseMs")),
      moments: momentsOf(rows.filter(({ ok }) => ok)),
      gap: summary(gaps),
      netGap: coldMedian === undefined ? undefined : summary(gaps.map((gap) => gap - coldMedian)),
      totalMs: summary(known(rows, "totalMs")),
      throughputP5: steadiness(rows),
      writtenMiBps: summary(known(rows, "writtenMiBps"))?.p50,
      failureBound: failureBound(failed, rows.length),
    };
  };
  return {
    movers: { ours: mover("ours"), stock: mover("stock"), tuned: mover("tuned") },
    cold: summary(cold),
    controlP5,
    brownoutVoid: controlP5 === undefined || controlP5 < steadyControl,
    gapLessTuned: summary(differences(pairs(of("ours"), of("tuned")))),
  };
}

export type Together = Pick<MoverSummary, "n" | "succeeded" | "lost" | "failureBound">;

/** How a mover fared over several classes: what one class alone is too few for. */
export function together(classes: readonly MoverSummary[]): Together {
  const sum = (of: "n" | "succeeded" | "lost"): number => classes.reduce((total, one) => total + one[of], 0);
  const [n, succeeded] = [sum("n"), sum("succeeded")];
  return { n, succeeded, lost: sum("lost"), failureBound: failureBound(n - succeeded, n) };
}

function momentsOf(rows: readonly MigrationRow[]): (readonly [string, number])[] {
  const times = new Map<string, number[]>();
  for (const { said } of rows) {
    for (const [what, at] of Object.entries(said)) times.set(what, [...(times.get(what) ?? []), at]);
  }
  return [...times]
    .filter(([, at]) => at.length > rows.length / 2)
    .map(([what, at]) => [what, median(at)] as const)
    .toSorted(([, a], [, b]) => a - b);
}

/** The gaps of the rounds in which both were moved. */
function pairs(ours: readonly MigrationRow[], theirs: readonly MigrationRow[]): { ours: number; theirs: number }[] {
  return ours.flatMap((row) => {
    const other = theirs.find(({ round }) => round === row.round);
    return row.gapMs === null || other === undefined || other.gapMs === null
      ? []
      : [{ ours: row.gapMs, theirs: other.gapMs }];
  });
}

type Figure = "pauseMs" | "gapMs" | "coldMs" | "totalMs" | "throughputP5" | "writesP5" | "writtenMiBps";

/** Of those that went well: what a failure looks like from outside is no pause. */
function known(rows: readonly MigrationRow[], figure: Figure): number[] {
  return rows.flatMap((row) => (row.ok && row[figure] !== null ? [row[figure]] : []));
}

function summary(values: readonly number[]): Summary | undefined {
  return values.length === 0 ? undefined : summarize(values);
}

/** The median of the rows' own 5th percentiles: the bins of one move are too few for one of their own that is steady. */
function steadiness(rows: readonly MigrationRow[]): number | undefined {
  const written = known(rows, "writesP5");
  const shares = written.length === 0 ? known(rows, "throughputP5") : written;
  return shares.length === 0 ? undefined : quantile(shares, 0.5);
}

/**
 * The largest share of failures at which so few as `failed` of n would be seen in 5 % of all runs (Clopper and Pearson, one-sided); with
 * none failed about 3/n.
 */
export function failureBound(failed: number, n: number): number {
  if (n === 0 || failed >= n) return 1;
  let [low, high] = [failed / n, 1];
  for (let i = 0; i < 60; i++) {
    const share = (low + high) / 2;
    if (atMost(failed, n, share) > 0.05) low = share;
    else high = share;
  }
  return high;
}

/** The probability of so many failures or fewer, each move failing with this share. */
function atMost(failed: number, n: number, share: number): number {
  let term = n * Math.log1p(-share);
  let sum = Math.exp(term);
  for (let i = 0; i < failed; i++) {
    term += Math.log((n - i) / (i + 1)) + Math.log(share) - Math.log1p(-share);
    sum += Math.exp(term);
  }
  return sum;
}
