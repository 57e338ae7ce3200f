/** Following operations to their end; until.ts has the loop, progress.ts shows it. */
import type { NativeClient } from "../api/native/client.ts";
import type { OperationWire } from "../api/native/resources.ts";
import type { OperationId } from "../lib/ids.ts";
import { waitUntil } from "./until.ts";

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
  { signal, timeoutMs, onUpdate, onBreak }: WaitOptions,
): Promise<OperationWire[]> {
  const seen = new Map<OperationId, OperationWire>();
  const open = new Set<OperationId>(ids);
  await waitUntil(client, {
    signal,
    timeoutMs,
    everyMs: slowLookMs,
    onBreak,
    concerns: ({ subjectId }) => open.has(subjectId as OperationId),
    look: async (lookSignal, change) => {
      for (const id of [...open]) {
        if (change !== undefined && change.subjectId !== id) continue;
        const operation = await client.call("operationGet", { params: { id } }, { signal: lookSignal });
        seen.set(id, operation);
        onUpdate?.(operation);
        if (ended(operation)) open.delete(id);
      }
      return open.size === 0;
    },
    late: () => `${[...open].join(", ")} had not ended`,
  });
  return ids.map((id) => seen.get(id)).filter((operation) => operation !== undefined);
}
