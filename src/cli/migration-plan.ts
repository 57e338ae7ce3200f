/** What a move would come to, as people read it. */
import type { MigrationPlanWire } from "../api/native/migrations.ts";
import { longestFetchMs, pauseGrows, slowsBy, type MigrationPolicy } from "../core/migration/policy.ts";
import { caution } from "../core/migration/prediction.ts";
import { unreachable } from "../lib/errors.ts";
import { facts } from "./table.ts";

/** `policy`: what the plan was asked for with. */
export function planText(plan: MigrationPlanWire, policy: MigrationPolicy): string {
  const { chosen, refusals, memoryBytes, imageHere, postcopy, link, samples, prediction } = plan;
  const why = chosen === "asked" ? "asked for" : "of the hosts that can take it, the one left with the least room";
  const told = facts([
    ["instance", plan.instanceId],
    ["from", plan.sourceHostId],
    ["to", plan.targetHostId === null ? null : `${plan.targetHostId} (${why})`],
    ["memory to send", memoryBytes === null ? null : mib(memoryBytes)],
    ["its image", imageHere === null ? null : imageHere ? "is at the target" : "is fetched to the target first"],
    ["post-copy", postcopy === null ? null : postcopy ? "possible at the target" : "not possible at the target"],
    ["link", link === null ? null : `${mib(link.bytesPerSecond)}/s, round trip ${link.roundTripMs.toFixed(2)} ms`],
    ["writes", samples === null ? null : samples.map(({ ms, bytes }) => `${mib(bytes)} in ${seconds(ms)}`).join(", ")],
    ["that is", prediction === null ? null : curveText(prediction.curve)],
    ["expected", prediction === null ? null : expectedText(prediction, policy)],
  ]);
  return refusals.length === 0
    ? `${told}nothing speaks against it; nothing was changed\n`
    : `${told}refused:\n${refusals.map(({ code, message }) => `  ${message} (${code})\n`).join("")}`;
}

type Foretold = NonNullable<MigrationPlanWire["prediction"]>;

function curveText({ bytesPerSecond, workingSetBytes }: Foretold["curve"]): string {
  if (bytesPerSecond === 0) return "it writes next to nothing";
  return `${mib(bytesPerSecond)}/s to ${mib(workingSetBytes)} of its memory`;
}

type Times = Pick<Foretold, "curve" | "verdict" | "copyMs" | "rounds" | "pauseMs">;

/** What is expected, and on what it depends. */
export function expectedText({ curve, verdict, copyMs, rounds, pauseMs }: Times, policy: MigrationPolicy): string {
  const times = rounds === 1 ? "1 round" : `${rounds} rounds`;
  // Where the pause may grow to that it does so last, when slowing the guest was not enough.
  const about = verdict.is === "brake" && pauseGrows(policy) ? "at most" : "about";
  const paused = `paused for ${about} ${Math.round(pauseMs)} ms`;
  const copied = `copied in ${seconds(copyMs)} by ${times}`;
  switch (verdict.is) {
    case "converges":
      return `${copied}, then ${paused}`;
    case "brake":
      return `${brakeText(verdict.bytesPerSecond, curve, policy)}: ${copied}, then ${paused}`;
    case "pause":
      return `${copied}, then ${paused}, which the ceiling allows; shorter where slowing it helps, which is tried first`;
    case "fetch":
      return `${copied}, then it goes on at the target, ${paused}, and the rest is fetched in ${seconds(verdict.fetchMs)}`;
    case "fetch_too_long": {
      const why = `the rest would take ${seconds(verdict.fetchMs)} to be fetched, and with more than ${longestFetchMs / 1_000} s it does not go on at the target`;
      return `${quietText(verdict.bytesPerSecond)}: ${copied}, then ${paused}; else it stays: ${why}`;
    }
    default:
      return unreachable(verdict);
  }
}

function brakeText(bytesPerSecond: number, curve: Times["curve"], policy: MigrationPolicy): string {
  const most = slowsBy(policy);
  if (most === 0) return `${quietText(bytesPerSecond)} (--policy throttle or finish slows it to that)`;
  const needed = Math.ceil(100 * (1 - bytesPerSecond / (caution * curve.bytesPerSecond)));
  const held = `when it is slowed to ${rateText(bytesPerSecond)}`;
  return needed <= most ? held : `${held}, by ${needed} %, which is more than the ${most} % of --policy ${policy}`;
}

function quietText(bytesPerSecond: number): string {
  return `only in a quiet time, with at most ${rateText(bytesPerSecond)}`;
}

function rateText(bytesPerSecond: number): string {
  return `${mib(bytesPerSecond)}/s of writes`;
}

export function mib(bytes: number): string {
  const amount = bytes / 2 ** 20;
  return `${amount < 10 && amount > 0 ? amount.toFixed(1) : Math.round(amount)} MiB`;
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
