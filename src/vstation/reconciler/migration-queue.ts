/**
 * The queue of moves: asks for those that draining hosts need, and begins what waits when its turn has come (core/migration/queue.ts).
 * What it begins is claimed and committed by the placer, one at a time, and how it ends is written by the reconciler of migrations; this
 * one only looks, begins, and says what stands in the way. Only the holder of the zone's lease runs one; another one that still thinks
 * so is refused by the lease's epoch.
 */
import { defaultTries, isNotRunning, refusalOf, targetsToAvoid } from "../../core/migration/retry.ts";
import { movesToBegin, type MoveLimits } from "../../core/migration/queue.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { isFailure, type Failure } from "../../lib/errors.ts";
import type { HostId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { logRetry, type Store } from "../store/database.ts";
import { anyDraining, drainAsk, drainIsDue } from "../store/host-drain.ts";
import { instanceLock } from "../store/instances.ts";
import {
  flightsOpen,
  requestEnd,
  requestHold,
  requestLock,
  requestsWaiting,
  triesOf,
  type QueuedRequest,
} from "../store/migration-queue.ts";
import { Nudged } from "./nudged.ts";

export interface MigrationQueueOptions {
  readonly store: Store;
  readonly zone: string;
  readonly limits: MoveLimits;
  readonly log: Log;
  /** Begins one; see app/instance-migrate.ts. False: it waits on. */
  readonly begin: (request: QueuedRequest, avoid: readonly HostId[]) => Promise<boolean>;
}

/** What passes by itself is looked at again after so long; what somebody has to change, less often. */
const passingMs = 2_000;
const blockedMs = 20_000;
/**
 * For so long an operator's own request waits for what refuses it. A drain waits for as long as it is wished; but what its policy does not
 * allow nothing changes but another policy, with which it is asked for anew.
 */
const patienceMs = 15 * 60_000;
/** One that has waited for its turn since it was refused last is refused anew. */
const breakMs = 60_000;

export function migrationQueue(options: MigrationQueueOptions): Nudged {
  return new Nudged({ log: options.log, doing: "looking after the queue of migrations", pass: () => pass(options) });
}

async function pass({ store, zone, limits, log, begin }: MigrationQueueOptions): Promise<boolean> {
  if (await store.read((db) => drainIsDue(db, zone))) {
    await store.transaction((tx) => drainAsk(tx, zone, defaultTries));
    crashPoint("queue.drain.asked");
  }
  const waiting = await store.read((db) => requestsWaiting(db, zone));
  const flights = waiting.length === 0 ? [] : await store.read((db) => flightsOpen(db, zone));
  const byId = new Map(waiting.map((one) => [one.move.id, one]));
  const moves = waiting.map(({ move }) => move);
  for (const { id } of movesToBegin(moves, flights, limits, Date.now())) {
    const request = byId.get(id);
    if (request === undefined) continue;
    try {
      const tried = await store.read((db) => triesOf(db, request.row.id));
      await begin(request, targetsToAvoid(tried));
    } catch (error) {
      // One that cannot be begun must not keep the others from it.
      if (isRefusal(error)) await refused(store, request, error);
      else logRetry(log, error, `beginning ${id} failed`);
    }
  }
  return waiting.length > 0 || (await store.read((db) => anyDraining(db, zone)));
}

/** It says something of the move, and not of this program's own way to the database or of its lease. */
function isRefusal(error: unknown): error is Failure {
  return isFailure(error) && (error.code === "HostUnreachable" || !isFailure(error, "unavailable"));
}

/** Nothing was begun. */
async function refused(
  store: Store,
  { row: request, move }: QueuedRequest,
  { code, message }: { code: string; message: string },
): Promise<void> {
  await store.transaction(async (tx) => {
    await instanceLock(tx, [request.instance_id]);
    const locked = await requestLock(tx, request.instance_id);
    if (locked?.migration_id !== move.id || locked.begun) return;
    const isDrain = locked.asked_by === "drain";
    // Asked for anew at once it would be refused anew at once: see host-drain.ts for the guest that does not run any more.
    const passes = refusalOf(code) !== "blocked" || (isDrain && isNotRunning(code));
    const since = refusedSince(locked, Date.now());
    const isPatient = isDrain && code !== "MigrationPolicyUnavailable";
    const waits = isPatient || (passes && Date.now() < since.getTime() + patienceMs);
    if (waits) await requestHold(tx, locked, { code, message, since, afterMs: passes ? passingMs : blockedMs });
    else await requestEnd(tx, locked, { code, message });
  });
  crashPoint("queue.refused.written");
}

/** Its time in the queue is not counted: there is no refusal in that. Exported for its test. */
export function refusedSince(
  { refused_at, not_before }: Pick<QueuedRequest["row"], "refused_at" | "not_before">,
  now: number,
): Date {
  const isInARow = refused_at !== null && now < not_before.getTime() + breakMs;
  return isInARow ? refused_at : new Date(now);
}
