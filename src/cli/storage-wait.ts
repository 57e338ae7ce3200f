/**
 * Waiting until disks and snapshots are at rest, with a progress line. Level-triggered: they are read at the start, at each change of
 * one of them, and every few seconds in any case; the deadline ends the wait, and what was accepted goes on without us.
 */
import { followChanges } from "../api/native/follow.ts";
import { Failure, isFailure } from "../lib/errors.ts";
import { Progress } from "./progress-line.ts";
import type { Context } from "./context.ts";

/** What one look found: null = at rest; else what is under way, in words. */
export interface Look {
  readonly underWay: string | null;
}

const lookEveryMs = 2_000;

export async function untilAtRest(
  context: Context,
  what: string,
  ids: readonly string[],
  look: () => Promise<Look>,
  timeoutMs: number,
): Promise<void> {
  const stop = new AbortController();
  const deadline = AbortSignal.timeout(timeoutMs);
  const signal = AbortSignal.any([context.io.signal, deadline, stop.signal]);
  const progress = new Progress(context);
  let atRest = false;
  let failed: unknown;
  const lookNow = async (): Promise<void> => {
    try {
      const { underWay } = await look();
      atRest = underWay === null;
      if (underWay !== null) progress.show(`${what}: ${underWay}`);
      else stop.abort();
    } catch (error) {
      // Out of reach is waited out; anything else ends the wait.
      if (signal.aborted || isFailure(error, "unavailable", "timeout")) return;
      failed = error;
      stop.abort();
    }
  };
  await lookNow();
  const timer = setInterval(() => void lookNow(), lookEveryMs);
  try {
    if (!stop.signal.aborted) {
      for await (const item of followChanges(context.client, { signal })) {
        if (item.is === "live" || ids.includes(item.event.subjectId)) await lookNow();
      }
    }
  } finally {
    clearInterval(timer);
    progress.end();
  }
  if (failed !== undefined) throw failed;
  context.io.signal.throwIfAborted();
  if (atRest) return;
  throw new Failure(
    "timeout",
    "DeadlineExceeded",
    `${what} had not come about after ${Math.round(timeoutMs / 1000)} s`,
  );
}
