/**
 * How a live migration will go, from what was measured before it: a pure function, so that what was foretold can be told again from its
 * figures, and compared with what came.
 *
 * A guest that writes D bytes per second to a working set of W bytes has changed S(t) = W (1 - exp(-D t / W)) different bytes after t:
 * a page that is written twice is sent once. A round over R bytes takes R/B on a link of B, and leaves S(R/B) for the next one. So the
 * rounds shrink to the fixed point R* = S(R* / B): none for D <= B, else where the working set holds the writer back. QEMU pauses the guest
 * as soon as what is left takes no longer than the limit; a guest whose R* takes longer never comes to that, and needs a brake.
 *
 * While it is copied a guest dirties more than it was measured to, by two to three times: each pass makes pages dirty again
 * that were counted once. The plan is made with {@link caution} times the measured rate.
 */
import { aimAfter } from "./aim.ts";

/** So many different bytes were written within so many milliseconds. */
export interface DirtySample {
  readonly ms: number;
  readonly bytes: number;
}

export interface DirtyCurve {
  /** D: bytes per second. */
  readonly bytesPerSecond: number;
  /** W: bytes. */
  readonly workingSetBytes: number;
}

/** How a host hands guests over. */
export interface Switchover {
  /** QEMU pauses the guest when it expects the rest to take no longer. */
  readonly limitMs: number;
  /** What a pause takes beside sending the rest. */
  readonly fixedMs: number;
}

export interface PredictionInput extends Switchover {
  /** What the first round sends. */
  readonly memoryBytes: number;
  readonly curve: DirtyCurve;
  readonly linkBytesPerSecond: number;
}

export type Verdict =
  | { readonly is: "converges" }
  /** The guest has to be held to this many dirtied bytes per second. */
  | { readonly is: "brake"; readonly bytesPerSecond: number };

export interface Prediction extends PredictionInput {
  readonly verdict: Verdict;
  /** From the first byte to the pause; with the brake on, where one is needed. */
  readonly copyMs: number;
  readonly rounds: number;
  readonly pauseMs: number;
}

/** How a guest is handed over by a host that has measured no pause yet: QEMU's limit, and what a pause takes beyond it. */
export const switchover: Switchover = { limitMs: aimAfter([]), fixedMs: 20 };

export const caution = 2;
/** A brake is planned below the most that would do: at that very rate the rounds shrink for ever. */
const brakeMargin = 0.8;
/** Rates are measured in whole MiB per second. */
const resolution = 2 ** 20;
const mostRounds = 10_000;

/** S(t): different bytes written within t seconds. */
export function dirtied({ bytesPerSecond, workingSetBytes }: DirtyCurve, seconds: number): number {
  if (bytesPerSecond <= 0 || workingSetBytes <= 0) return 0;
  return -workingSetBytes * Math.expm1((-bytesPerSecond * seconds) / workingSetBytes);
}

/**
 * The curve that fits best, by the squares of the errors, each in proportion to its sample and to what a sample can tell at all. With
 * k = D/W given, the best W is linear, so there is only k to look for. Samples that are too short to show a working set leave it at the
 * whole memory: the worst case.
 */
export function fitCurve(samples: readonly DirtySample[], memoryBytes: number): DirtyCurve {
  const seen = samples
    .filter(({ ms }) => ms > 0)
    .map(({ ms, bytes }) => {
      const weight = 1 / (bytes + (resolution * ms) / 1000);
      return { seconds: ms / 1000, weight, wanted: bytes * weight };
    });
  if (seen.every(({ wanted }) => wanted === 0)) return { bytesPerSecond: 0, workingSetBytes: 0 };
  const at = (k: number): { error: number; curve: DirtyCurve } => {
    const parts = seen.map(({ seconds, weight, wanted }) => ({ shape: -Math.expm1(-k * seconds) * weight, wanted }));
    const fitted = sum(parts.map(({ shape, wanted }) => shape * wanted)) / sum(parts.map(({ shape }) => shape * shape));
    const workingSetBytes = Math.min(fitted, memoryBytes);
    const error = sum(parts.map(({ shape, wanted }) => (workingSetBytes * shape - wanted) ** 2));
    return { error, curve: { bytesPerSecond: k * workingSetBytes, workingSetBytes } };
  };
  // From a working set that is written over in a millisecond to one that takes a day.
  let best = -5;
  for (let step = 1; step >= 1e-4; step /= 10) {
    const from = best - (step === 1 ? 0 : 10 * step);
    const to = step === 1 ? 3 : best + 10 * step;
    for (let log = from; log <= to; log += step) if (at(10 ** log).error < at(10 ** best).error) best = log;
  }
  return at(10 ** best).curve;
}

/** The largest rate at which the rounds shrink to what the limit allows: S(d) = B d, solved for D. */
export function largestRate(workingSetBytes: number, linkBytesPerSecond: number, limitMs: number): number {
  const seconds = limitMs / 1000;
  const rest = linkBytesPerSecond * seconds;
  // The whole working set goes over within the pause: however fast it is written.
  if (rest >= workingSetBytes) return Infinity;
  return (-workingSetBytes / seconds) * Math.log1p(-rest / workingSetBytes);
}

/** How long R* takes: rounds become no shorter than this; 0: they shrink to nothing. S(d) = B d, solved for d. */
export function shortestRoundMs(written: DirtyCurve, linkBytesPerSecond: number): number {
  if (written.bytesPerSecond <= linkBytesPerSecond) return 0;
  // S(d) / d goes down from D, and is below B where the whole working set has gone over.
  let [from, to] = [0, written.workingSetBytes / linkBytesPerSecond];
  for (let halved = 0; halved < 60; halved++) {
    const middle = (from + to) / 2;
    if (dirtied(written, middle) > linkBytesPerSecond * middle) from = middle;
    else to = middle;
  }
  return 1000 * to;
}

/** Total but for a link of nothing, over which nothing can be foretold: null. */
export function predict(input: PredictionInput): Prediction | null {
  const { curve, linkBytesPerSecond: link, limitMs, fixedMs } = input;
  if (link <= 0) return null;
  const planned = { ...curve, bytesPerSecond: caution * curve.bytesPerSecond };
  const most = largestRate(curve.workingSetBytes, link, limitMs);
  const converges = planned.bytesPerSecond <= brakeMargin * most;
  const verdict: Verdict = converges ? { is: "converges" } : { is: "brake", bytesPerSecond: brakeMargin * most };
  const held = converges ? planned : { ...planned, bytesPerSecond: brakeMargin * most };
  const { copyMs, rounds, leftBytes } = copied(held, input);
  return { ...input, verdict, copyMs, rounds, pauseMs: fixedMs + (1000 * leftBytes) / link };
}

/** The rounds, one by one, to where the rest goes over within the limit, of a guest that writes just so. */
export function copied(
  written: DirtyCurve,
  { memoryBytes, linkBytesPerSecond: link, limitMs }: Omit<PredictionInput, "curve" | "fixedMs">,
): { copyMs: number; rounds: number; leftBytes: number } {
  let left = memoryBytes;
  let seconds = 0;
  let rounds = 0;
  do {
    seconds += left / link;
    left = Math.min(left, dirtied(written, left / link));
    rounds++;
  } while (left / link > limitMs / 1000 && rounds < mostRounds);
  return { copyMs: 1000 * seconds, rounds, leftBytes: left };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
