/**
 * The one loop behind every wait of the CLI. Level-triggered: what is waited for is looked at when the wait begins, whenever the event
 * stream begins anew, at each change that concerns it, and every few seconds in any case. So a change that got lost shows at the next
 * look, no order of breaks can hang the wait, and the deadline ends it; what was accepted goes on without us.
 *
 * One look at a time, in the order of their causes: an old picture never comes after a newer one.
 */
import type { NativeClient } from "../api/native/client.ts";
import { followChanges } from "../api/native/follow.ts";
import type { ChangeEventWire } from "../api/native/resources.ts";
import { Failure, isFailure } from "../lib/errors.ts";

export interface Wait {
  /** True when there is nothing more to wait for. Given a change, it may look at that thing alone. */
  look: (signal: AbortSignal, change?: ChangeEventWire) => Promise<boolean>;
  concerns: (change: ChangeEventWire) => boolean;
  /** Between two looks that nothing causes. */
  everyMs: number;
  timeoutMs: number;
  signal: AbortSignal;
  onBreak?: ((error: unknown) => void) | undefined;
  /** Says what had not come about at the deadline. */
  late: () => string;
}

/** Out of reach is waited out. Throws `timeout` at the deadline, and whatever else a look throws. */
export async function waitUntil(client: NativeClient, wait: Wait): Promise<void> {
  const stop = new AbortController();
  const signal = AbortSignal.any([wait.signal, AbortSignal.timeout(wait.timeoutMs), stop.signal]);
  let done = false;
  let failed: unknown;
  let looking = Promise.resolve();

  const lookOnce = async (change?: ChangeEventWire): Promise<void> => {
    if (signal.aborted) return;
    try {
      done = await wait.look(signal, change);
    } catch (error) {
      if (signal.aborted) return;
      if (isFailure(error, "unavailable", "timeout")) return wait.onBreak?.(error);
      failed = error;
    }
    if (done || failed !== undefined) stop.abort();
  };
  const look = (change?: ChangeEventWire): Promise<void> => (looking = looking.then(() => lookOnce(change)));

  await look();
  const timer = setInterval(() => void look(), wait.everyMs);
  try {
    const { onBreak } = wait;
    for await (const item of followChanges(client, { signal, ...(onBreak === undefined ? {} : { onBreak }) })) {
      if (item.is === "live") void look();
      else if (wait.concerns(item.event)) void look(item.event);
    }
  } finally {
    clearInterval(timer);
    await looking;
  }
  if (failed !== undefined) throw failed;
  wait.signal.throwIfAborted();
  if (done) return;
  const seconds = Math.round(wait.timeoutMs / 1000);
  throw new Failure("timeout", "DeadlineExceeded", `${wait.late()} after ${seconds} s`);
}
