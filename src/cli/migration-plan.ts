/** What a move would come to, as people read it. */
import type { MigrationPlanWire } from "../api/native/migrations.ts";
import type { MigrationPolicy } from "../core/migration/policy.ts";
import type { Verdict } from "../core/migration/prediction.ts";
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

type Times = Pick<Foretold, "verdict" | "copyMs" | "rounds" | "pauseMs">;

/** What is expected, and on what it depends. */
export function expectedText({ verdict, copyMs, rounds, pauseMs }: Times, policy: MigrationPolicy): string {
  const times = rounds === 1 ? "1 round" : `${rounds} rounds`;
  const copied = `copied in ${seconds(copyMs)} by ${times}, then paused for about ${Math.round(pauseMs)} ms`;
  return verdict.is === "converges" ? copied : `${brakeText(verdict, policy)}: ${copied}`;
}

function brakeText({ bytesPerSecond }: Verdict & { is: "brake" }, policy: MigrationPolicy): string {
  const rate = `${mib(bytesPerSecond)}/s of writes`;
  switch (policy) {
    case "throttle":
    case "finish":
      return `when it is slowed to ${rate}`;
    case "gentle":
      return `only in a quiet time, with at most ${rate} (--policy throttle or finish slows it to that)`;
    case "postcopy":
      return `in a quiet time, with at most ${rate}, or it goes on at the target before all of its memory is there`;
    default:
      return unreachable(policy);
  }
}

export function mib(bytes: number): string {
  const amount = bytes / 2 ** 20;
  return `${amount < 10 && amount > 0 ? amount.toFixed(1) : Math.round(amount)} MiB`;
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
