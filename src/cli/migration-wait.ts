/** Following the move of a guest to its end with one live line: phase, per cent, what remains, how fast the guest changes its memory. */
import type { MigrationWire } from "../api/native/migrations.ts";
import type { MigrationId } from "../lib/ids.ts";
import { nextStep } from "./advice.ts";
import type { Context } from "./context.ts";
import { outOfReach, ProgressLine } from "./progress-line.ts";
import { printable } from "./table.ts";
import { waitUntil } from "./until.ts";

const slowLookMs = 5_000;

/**
 * The move when it is decided where its guest goes on; where another try follows on one that came to nothing, that one's. Throws
 * `timeout` when that takes too long.
 */
export async function waitForMigration(
  context: Context,
  first: MigrationId,
  timeoutMs: number,
): Promise<MigrationWire> {
  const { client, io } = context;
  let id = first;
  const line = new ProgressLine(context);
  let latest: MigrationWire | undefined;
  try {
    await waitUntil(client, {
      signal: io.signal,
      timeoutMs,
      everyMs: slowLookMs,
      onBreak: () => line.rewrite(outOfReach),
      concerns: ({ subjectId }) => subjectId === id || subjectId === latest?.operationId,
      look: async (signal) => {
        latest = await client.call("migrationGet", { params: { id } }, { signal });
        // Elsewhere than on a terminal each line stays, so only what is not mere progress gets one.
        line.show(io.errIsTty ? progressText(latest) : `${latest.instanceId} migrate: ${stepText(latest)}`);
        const next = latest.request?.next ?? null;
        if (next === null) return isDecided(latest);
        context.say(printable(`${latest.instanceId}: ${errorText(latest)}; it is tried again`));
        id = next;
        return false;
      },
      late: () => `${id} had not ended`,
    });
  } finally {
    line.end();
  }
  if (latest === undefined) throw new Error("a wait ended well without a look");
  const { instanceId, error, source } = latest;
  if (error !== null) {
    context.say(printable(`${instanceId}: it was not moved: ${errorText(latest)}`));
    const next = nextStep(error.code);
    if (next !== undefined) context.say(`  next: ${next}`);
  } else {
    context.say(`${instanceId}: it runs on ${latest.targetHostId ?? "?"}${pauseText(source)} after ${line.seconds} s`);
  }
  return latest;
}

function isDecided({ state }: MigrationWire): boolean {
  return state === "SUCCEEDED" || state === "FAILED";
}

function errorText({ error }: MigrationWire): string {
  return error === null ? "" : `${error.message} (${error.code})`;
}

/** The phase, and within it the step where there are such. */
export function stepText(migration: MigrationWire): string {
  const { phase, cancelling, source, target } = migration;
  const words = cancelling ? `${phase}, called off` : phase;
  if (phase === "queued") return `${words}${queuedText(migration)}`;
  if (phase === "fetching" && source?.is === "feeding" && source.broken) {
    return `${words}: the rest of its memory does not come over at present`;
  }
  if (phase !== "preparing") return words;
  if (target?.is === "preparing") return `${words}: ${target.step}`;
  return source?.is === "waiting" ? `${words}: ${source.step}` : words;
}

/** One whose turn has not come, and nothing else, says no more than that. */
function queuedText({ request }: MigrationWire): string {
  if (request === null) return "";
  const { attempt, tries, waitsFor } = request;
  const which = attempt === 1 ? "" : `, try ${attempt} of ${tries}`;
  return `${which}${waitsFor === null ? "" : `: ${waitsFor.message}`}`;
}

/** As {@link stepText}, and how far the copy is. What one waits for comes first: of a line on a terminal the end may be cut. */
export function progressText(migration: MigrationWire): string {
  const { source } = migration;
  if (source?.is === "feeding") {
    const left = source.remainingBytes === null ? "" : ` ${mib(source.remainingBytes)} remain at its former host`;
    return `${stepText(migration)}${left}`;
  }
  const progress = source?.is === "copying" ? source.progress : null;
  if (progress === null) return stepText(migration);
  const { disks } = progress;
  if (disks !== undefined && progress.totalBytes === 0) {
    const done = Math.floor((1 - disks.remainingBytes / Math.max(1, disks.totalBytes)) * 100);
    return `${stepText(migration)} disks ${done} %, ${mib(disks.remainingBytes)} remain`;
  }
  const { totalBytes, remainingBytes, dirtyBytesPerSecond, bytesPerSecond, throttlePercent, limitMs } = progress;
  const percent = totalBytes === 0 ? 0 : Math.floor((1 - Math.min(1, remainingBytes / totalBytes)) * 100);
  const parts = [`${percent} %`, `${mib(remainingBytes)} left`, `dirty ${mib(dirtyBytesPerSecond)}/s`];
  if (throttlePercent > 0) parts.push(`slowed ${throttlePercent} %`);
  if (bytesPerSecond > 0) {
    const pauseMs = Math.ceil((remainingBytes / bytesPerSecond) * 1_000);
    parts.push(`pause ${duration(pauseMs)} of ${duration(limitMs)}`);
  }
  parts.push(`sent ${mib(bytesPerSecond)}/s`);
  if (disks !== undefined) parts.push(`disks ${mib(disks.remainingBytes)} left`);
  return `${stepText(migration)} ${parts.join(", ")}`;
}

function pauseText(source: MigrationWire["source"]): string {
  return source?.is === "left" && source.pauseMs !== null ? `, paused for ${Math.round(source.pauseMs)} ms,` : "";
}

/** By which policy guests go, and to what a pause may grow where it may. */
export function policyText({ policy, ceilingMs }: Pick<MigrationWire, "policy" | "ceilingMs">): string {
  return ceilingMs === null ? policy : `${policy}, paused for ${ceilingMs} ms at most`;
}

/** Of a pause. */
export function duration(ms: number): string {
  return ms < 10_000 ? `${Math.ceil(ms)} ms` : `${Math.round(ms / 1_000)} s`;
}

export function mib(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}
