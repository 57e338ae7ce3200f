/**
 * What a move by a policy would come to: the prediction of an unaided copy (prediction.ts), and where that does not become small enough by
 * itself, what the policy has left (policy.ts). Pure.
 *
 * By how much a guest writes less when its processors rest nobody knows before; so for what slows it, the rate is named at which it would do.
 */
import { longerPauseMs, longestFetchMs, mayFetch, pauseGrows, type Plan } from "./policy.ts";
import {
  caution,
  copied,
  predict,
  shortestRoundMs,
  type Prediction,
  type PredictionInput,
  type Verdict,
} from "./prediction.ts";

export type Outcome =
  | Verdict
  /** It may be paused for longer than is aimed at, up to the `limitMs` of the forecast, and need not be slowed. */
  | { readonly is: "pause" }
  /** It goes on at the target, and fetches the rest there in so long. */
  | { readonly is: "fetch"; readonly fetchMs: number }
  /** It would have to fetch for longer than it may: it has to come down to this rate by itself. */
  | { readonly is: "fetch_too_long"; readonly fetchMs: number; readonly bytesPerSecond: number };

export interface Forecast extends Omit<Prediction, "verdict"> {
  readonly verdict: Outcome;
}

/** `input.limitMs`: the pause that is aimed at. null: over a link of nothing. */
export function forecast(input: PredictionInput, plan: Pick<Plan, "policy" | "ceilingMs">): Forecast | null {
  const unaided = predict(input);
  if (unaided === null || unaided.verdict.is === "converges") return unaided;
  const { curve, linkBytesPerSecond: link, fixedMs } = input;
  const { bytesPerSecond } = unaided.verdict;
  const written = { ...curve, bytesPerSecond: caution * curve.bytesPerSecond };
  const needMs = shortestRoundMs(written, link);
  // Where no pass comes closer.
  const stalled = (limitMs: number) => {
    const { leftBytes, ...times } = copied(written, { ...input, limitMs });
    return { ...times, leftMs: (1000 * leftBytes) / link };
  };
  if (mayFetch(plan.policy)) {
    const { leftMs: fetchMs, ...times } = stalled(longerPauseMs(needMs, input.limitMs, { ceilingMs: Infinity }));
    if (fetchMs > longestFetchMs) return { ...unaided, verdict: { is: "fetch_too_long", fetchMs, bytesPerSecond } };
    return { ...input, ...times, verdict: { is: "fetch", fetchMs }, pauseMs: fixedMs };
  }
  if (!pauseGrows(plan.policy)) return unaided;
  const widest = predict({ ...input, limitMs: plan.ceilingMs });
  if (widest?.verdict.is !== "converges") return widest;
  const limitMs = longerPauseMs(needMs, input.limitMs, plan);
  const { leftMs, ...times } = stalled(limitMs);
  return { ...input, limitMs, ...times, verdict: { is: "pause" }, pauseMs: fixedMs + leftMs };
}
