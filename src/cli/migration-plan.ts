/** What a move would come to, as people read it. */
import type { MigrationPlanWire } from "../api/native/migrations.ts";
import { facts } from "./table.ts";

export function planText(plan: MigrationPlanWire): string {
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
    ["expected", prediction === null ? null : verdictText(prediction)],
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

function verdictText({ verdict, ...times }: Foretold): string {
  const needs =
    verdict.is === "brake" ? `slowed to ${mib(verdict.bytesPerSecond)}/s of writes (--policy throttle or finish) ` : "";
  return needs + timesText(times);
}

export function timesText({ copyMs, rounds, pauseMs }: Pick<Foretold, "copyMs" | "rounds" | "pauseMs">): string {
  const times = rounds === 1 ? "1 round" : `${rounds} rounds`;
  return `copied in ${seconds(copyMs)} by ${times}, then paused for about ${Math.round(pauseMs)} ms`;
}

export function mib(bytes: number): string {
  const amount = bytes / 2 ** 20;
  return `${amount < 10 && amount > 0 ? amount.toFixed(1) : Math.round(amount)} MiB`;
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
