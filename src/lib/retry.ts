/** Waiting: sleeping with an abort signal, back-off with jitter, and deadlines that name what they waited for. */
import { setTimeout as delay } from "node:timers/promises";
import { Failure } from "./errors.ts";

/** Resolves after `ms`; rejects with the signal's reason when it aborts. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  await delay(ms, undefined, signal ? { signal } : undefined);
}

/**
 * Delay in ms before attempt `n` (0 = first retry): doubles from `base` up to `ceiling`, then takes a random share between a
 * half and the whole of it, so that a thousand agents that lost one server do not come back in one instant.
 */
export function backoff(n: number, base: number, ceiling: number, random: () => number = Math.random): number {
  const whole = Math.min(ceiling, base * 2 ** Math.min(n, 30));
  return whole / 2 + (whole / 2) * random();
}

/** Rejects with a `timeout` Failure when `work` has not settled after `ms`; the work itself goes on: its outcome is unknown. */
export async function within<T>(ms: number, what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Failure("timeout", "DeadlineExceeded", `${what}: no answer within ${ms} ms`)),
      ms,
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
