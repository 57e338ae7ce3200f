/** Whether a move may begin now, beside the others of its zone (core/migration/queue.ts); asked in the placer's turn, so that it stays true. */
import { fullTargets, movesToBegin, type MoveLimits, type QueuedMove } from "../../core/migration/queue.ts";
import type { HostId } from "../../lib/ids.ts";
import type { Reader } from "../store/database.ts";
import { flightsOpen, requestsWaiting } from "../store/migration-queue.ts";

/** `full`: hosts that can be nobody's target now. */
export type Turn = { readonly is: "later" } | { readonly is: "now"; readonly full: readonly HostId[] };

/** `move`: as it waits, or as it would. */
export async function turnOf(db: Reader, zone: string, limits: MoveLimits, move: QueuedMove): Promise<Turn> {
  const waiting = (await requestsWaiting(db, zone)).map((one) => one.move).filter(({ id }) => id !== move.id);
  const flights = await flightsOpen(db, zone);
  const begin = movesToBegin([...waiting, move], flights, limits, Date.now());
  if (!begin.some(({ id }) => id === move.id)) return { is: "later" };
  return { is: "now", full: fullTargets(flights, limits, move.memoryMiB) };
}
