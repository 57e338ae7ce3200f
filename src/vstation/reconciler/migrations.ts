/**
 * Brings moves of running guests to their end: reads the whole of one under its row locks (its instance first), takes one step by the
 * pure rule (core/migration/migration.ts) and writes it in the same transaction. It alone writes where the instance is afterwards and how
 * the operation ends.
 *
 * Like the reconciler of disks it takes no input but "look now", asks SQL at each pass what is open, and only that; with nothing open a
 * pass is one small query, and none is made unless something was announced. Only the holder of the zone's lease runs one; the row
 * locks keep it right. The two halves go their way without it.
 */
import {
  isOverFor,
  reconcileMigration,
  wishFor,
  type Migration,
  type MigrationDecision,
} from "../../core/migration/migration.ts";
import { afterFailure } from "../../core/migration/retry.ts";
import type { Step } from "../../core/wanted.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import type { InstanceId, MigrationId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { Placer } from "../placement/placer.ts";
import type { Store, Tx } from "../store/database.ts";
import {
  migrationLock,
  migrationMove,
  migrationsOpen,
  migrationTell,
  type LockedMigration,
  type MigrationTold,
} from "../store/guest-migrations.ts";
import { instanceLock, operationSave, stepInsert, type LockedInstance } from "../store/instances.ts";
import { requestAgain, requestEnd, requestLock } from "../store/migration-queue.ts";
import type { MigrationRow } from "../store/schema-migration.ts";
import { alone, Nudged } from "./nudged.ts";

interface MigrationReconcilerOptions {
  readonly store: Store;
  readonly placer: Placer;
  readonly zone: string;
  readonly log: Log;
}

/** Deadlines are looked after as often as {@link Nudged} looks again while anything is open. */
export function migrationReconciler(options: MigrationReconcilerOptions): Nudged {
  return new Nudged({ log: options.log, doing: "looking after migrations", pass: () => pass(options) });
}

/** True while anything is open. */
async function pass({ store, placer, zone, log }: MigrationReconcilerOptions): Promise<boolean> {
  const open = await store.read((db) => migrationsOpen(db, zone));
  for (const { id, instanceId } of open) {
    await alone(log, id, async () => {
      const done = await store.transaction((tx) => settle(tx, id, instanceId, Date.now()));
      if (done === undefined) return;
      crashPoint("reconciler.migration.committed");
      // What follows in memory; it is read from SQL by whoever takes the lease after us.
      const { source_host: source, target_host: target } = done.row;
      if (done.moved) placer.moved(id, { source, target });
      if (done.free) placer.endMove(id);
    });
  }
  return open.length > 0;
}

/** One step; undefined: nothing of it is open any more. */
async function settle(
  tx: Tx,
  id: MigrationId,
  instanceId: InstanceId,
  now: number,
): Promise<{ row: MigrationRow; moved: boolean; free: boolean } | undefined> {
  // An instance may have been ended at the target before the source has let go of it.
  const [instance] = await instanceLock(tx, [instanceId]);
  const locked = await migrationLock(tx, id);
  if (locked === undefined) return undefined;
  const { row } = locked;
  const operation = instance?.facts.operation?.id === row.operation_id ? instance.facts.operation : null;
  const facts = factsOf(locked, operation === null);
  const decision = reconcileMigration(facts, now);
  if (decision.move) await migrationMove(tx, row);
  const wish = decision.cancel ? "cancel" : row.wish;
  const after = {
    ...facts,
    ...{ wish, moved: facts.moved || decision.move, ended: facts.ended || decision.end !== null },
  };
  const over = isOverFor({ ...after, over: decision.over });
  const told = { ...wishFor(after), source_over: over.source, target_over: over.target };
  if (!isTold(row, told)) await migrationTell(tx, row, told);
  if (operation !== null) await writeOperation(tx, operation, decision, facts, now);
  if (decision.end !== null) {
    if (row.request_id !== null) await requestAfter(tx, row, decision.end);
    // Whatever its host says of it counts again.
    tx.wake.instance(instanceId);
    tx.wake.event("instance", instanceId);
  }
  // What follows from this step is decided by the next look.
  if (decision.move || decision.end !== null || decision.cancel) tx.wake.migrations = true;
  const free = decision.over || (over.target && !after.moved);
  if (decision.over || (free && !row.target_over)) tx.wake.capacity = true;
  crashPoint("reconciler.migration.written");
  return { row, moved: decision.move, free };
}

/** What becomes of the request that this was a try of. */
async function requestAfter(
  tx: Tx,
  { instance_id, request_id, attempt }: MigrationRow,
  end: NonNullable<MigrationDecision["end"]>,
): Promise<void> {
  const request = await requestLock(tx, instance_id);
  if (request === undefined || request.id !== request_id) return;
  if (end.as === "SUCCEEDED") return requestEnd(tx, request, null);
  const { code, message } = end;
  const next = afterFailure({ code, attempt }, { tries: request.tries, to: request.to_host }, Math.random());
  if (next.again) await requestAgain(tx, request, { code, message, ...next });
  else await requestEnd(tx, request, { code, message });
  crashPoint("queue.try.failed");
}

function factsOf({ row, sourceConnected, sourceSeenAt, targetConnected }: LockedMigration, ended: boolean): Migration {
  return {
    wish: row.wish,
    deadline: row.deadline.getTime(),
    moved: row.moved,
    ended,
    source: row.seen_source,
    target: row.seen_target,
    sourceLink: sourceConnected ? "connected" : "unreachable",
    sourceSeenAt,
    targetLink: targetConnected ? "connected" : "unreachable",
  };
}

function isTold(row: MigrationRow, told: MigrationTold): boolean {
  const before: MigrationTold = row;
  return (Object.keys(told) as (keyof MigrationTold)[]).every((key) => before[key] === told[key]);
}

type Operation = NonNullable<LockedInstance["facts"]["operation"]>;

async function writeOperation(
  tx: Tx,
  operation: Operation,
  { end, step }: ReturnType<typeof reconcileMigration>,
  { source, target }: Migration,
  now: number,
): Promise<void> {
  const { id, deadline, state, lastStep } = operation;
  const taken = state === "PENDING" && (source !== null || target !== null);
  const error = end?.as === "FAILED" ? { code: end.code, message: end.message } : null;
  if (end !== null || taken) await operationSave(tx, [{ id, state: end?.as ?? "RUNNING", deadline, error }]);
  if (end === null && !isSame(lastStep, step)) {
    await stepInsert(tx, [{ operationId: id, ...step }], now);
    tx.wake.event("operation", id);
  }
}

function isSame(last: Step | null, step: Step): boolean {
  return last?.name === step.name && last.note === step.note;
}
