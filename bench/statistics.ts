/**
 * What may be said about a row of measurements, and no more. Pure.
 *
 * Rules of the house: a median never comes without its spread; a difference between two things is taken pair by pair, because
 * the two halves of a pair met the same weather and the difference of two percentiles belongs to no run at all; the 99th
 * percentile is named only from 299 values on (the smallest n at which the largest value lies beyond the true p99 with 95 %
 * confidence: 1 - 0.99^n >= 0.95), below that the maximum says what there is to say.
 */

/** The smallest sample of which a p99 is named. */
export const p99Needs = 299;

export interface Summary {
  readonly n: number;
  readonly min: number;
  readonly p50: number;
  readonly max: number;
  /** Only where n >= {@link p99Needs}. */
  readonly p99?: number;
  /** Where the true median lies with at least 95 % confidence, whatever the distribution; undefined below 6 values. */
  readonly p50Interval?: readonly [low: number, high: number];
  /** Interquartile range, in the unit of the values: how much one run differs from the next. */
  readonly spread: number;
}

/** The q-quantile (0..1) by linear interpolation between order statistics. Throws on an empty sample. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const last = sorted.length - 1;
  const position = last * q;
  const low = sorted[Math.floor(position)];
  const high = sorted[Math.ceil(position)];
  if (low === undefined || high === undefined) throw new Error("a quantile of nothing");
  return low + (high - low) * (position - Math.floor(position));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/**
 * The order statistics between which the median lies with at least 95 % confidence: the number of values below the true
 * median is binomial with one half, so nothing is assumed about the distribution. Undefined when n is too small (< 6).
 */
export function medianInterval(values: readonly number[]): readonly [low: number, high: number] | undefined {
  const n = values.length;
  const sorted = values.toSorted((a, b) => a - b);
  let probability = 0.5 ** n;
  let below = 0;
  let k = -1;
  // The largest k with P(fewer than k + 1 of n values lie below the median) <= 2.5 %.
  for (let i = 0; i < n; i++) {
    below += probability;
    if (below > 0.025) break;
    k = i;
    probability = (probability * (n - i)) / (i + 1);
  }
  const low = sorted[k];
  const high = sorted[n - 1 - k];
  return low === undefined || high === undefined ? undefined : [low, high];
}

export function summarize(values: readonly number[]): Summary {
  const p50 = median(values);
  const interval = medianInterval(values);
  return {
    n: values.length,
    min: quantile(values, 0),
    p50,
    max: quantile(values, 1),
    ...(values.length >= p99Needs ? { p99: quantile(values, 0.99) } : {}),
    ...(interval === undefined ? {} : { p50Interval: interval }),
    spread: quantile(values, 0.75) - quantile(values, 0.25),
  };
}

export interface Pair {
  readonly ours: number;
  readonly theirs: number;
}

export function differences(pairs: readonly Pair[]): number[] {
  return pairs.map(({ ours, theirs }) => ours - theirs);
}

export function ratios(pairs: readonly Pair[]): number[] {
  return pairs.map(({ ours, theirs }) => ours / theirs);
}

/**
 * Who goes first in the i-th pair: A B, B A, B A, A B and so on, so that a slow drift of the machine (warming caches, a
 * neighbour that comes or goes) burdens both sides alike.
 */
export function oursFirst(i: number): boolean {
  return i % 4 === 0 || i % 4 === 3;
}

/** Rounds for display and JSON: three decimals are finer than anything measured here. */
export function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
