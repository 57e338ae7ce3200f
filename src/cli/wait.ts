/**
 * Following operations to their end, with a progress line.
 *
 * Level-triggered: at the start, whenever the event stream begins anew, and at each change of one of the operations, the
 * operation itself is read. A change that got lost shows at the next slow look; no order of breaks can hang the wait, and
 * the deadline ends it in any case: what was accepted goes on without us.
 */
import type { NativeClient } from "../api/native/client.ts";
import { followChanges } from "../api/native/follow.ts";
import type { OperationWire } from "../api/native/resources.ts";
import { Failure, isFailure } from "../lib/errors.ts";
import type { OperationId } from "../lib/ids.ts";

export interface WaitOptions {
  signal: AbortSignal;
  timeoutMs: number;
  /** Called with each new picture of an operation. */
  onUpdate?: (operation: OperationWire) => void;
  onBreak?: (error: unknown) => void;
}

const slowLookMs = 10_000;

export function ended(operation: OperationWire): boolean {
  return operation.state === "SUCCEEDED" || operation.state === "FAILED";
}

/** The operations, in the order given, when all have ended. Throws `timeout` when that takes too long. */
export async function waitForOperations(
  client: NativeClient,
  ids: readonly OperationId[],
  options: WaitOptions,
): Promise<OperationWire[]> {
  const seen = new Map<OperationId, OperationWire>();
  const open = new Set<OperationId>(ids);
  const stop = new AbortController();
  const deadline = AbortSignal.timeout(options.timeoutMs);
  const signal = AbortSignal.any([options.signal, deadline, stop.signal]);

  const look = async (which: Iterable<OperationId>): Promise<void> => {
    for (const id of [...which]) {
      if (!open.has(id)) continue;
      const operation = await client.call("operationGet", { params: { id } }, { signal });
      seen.set(id, operation);
      options.onUpdate?.(operation);
      if (ended(operation)) open.delete(id);
    }
    if (open.size === 0) stop.abort();
  };

  let failed: unknown;
  let looking = Promise.resolve();
  const lookSoon = (which: Iterable<OperationId>): Promise<void> => {
    looking = looking
      .then(() => look(which))
      .catch((error: unknown) => {
        // Out of reach is waited out, as the stream is; anything else ends the wait.
        if (signal.aborted || isFailure(error, "unavailable", "timeout")) return;
        failed = error;
        stop.abort();
      });
    return looking;
  };

  await lookSoon(open);
  const timer = setInterval(() => void lookSoon(open), slowLookMs);
  try {
    if (open.size > 0 && failed === undefined) {
      const follow = { signal, ...(options.onBreak === undefined ? {} : { onBreak: options.onBreak }) };
      for await (const item of followChanges(client, follow)) {
        if (item.is === "live") void lookSoon(open);
        else if (item.event.subject === "operation") void lookSoon([item.event.subjectId as OperationId]);
      }
    }
  } finally {
    clearInterval(timer);
    await looking;
  }
  if (failed !== undefined) throw failed;
  options.signal.throwIfAborted();
  if (open.size > 0) {
    const what = [...open].join(", ");
    throw new Failure(
      "timeout",
      "DeadlineExceeded",
      `${what} had not ended after ${Math.round(options.timeoutMs / 1000)} s`,
    );
  }
  return ids.map((id) => seen.get(id)).filter((operation) => operation !== undefined);
}
