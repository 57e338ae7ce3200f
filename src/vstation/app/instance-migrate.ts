/**
 * A running guest to another host, asked for by an operator (core/migration says how it then goes). One transaction accepts it, takes
 * room at the target, and tells both hosts of their halves; a refusal changed nothing. Where its turn has not come
 * (core/migration/queue.ts), only the request is written: it waits, and the queue (reconciler/migration-queue.ts) begins it.
 */
import { failure } from "../../core/failure-codes.ts";
import { defaultCeilingMs, pauseGrows, type MigrationPolicy } from "../../core/migration/policy.ts";
import type { QueuedMove } from "../../core/migration/queue.ts";
import { targetsToAvoid } from "../../core/migration/retry.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import type { Failure } from "../../lib/errors.ts";
import { newId, type HostId, type InstanceId } from "../../lib/ids.ts";
import type { Migrations } from "../cloud/migrations.ts";
import { turnOf } from "../placement/turn.ts";
import type { Reader } from "../store/database.ts";
import type { InstanceRow } from "../store/schema.ts";
import {
  requestInsert,
  requestLock,
  requestOpen,
  requestTakeOver,
  triesOf,
  type OpenRequest,
  type QueuedRequest,
} from "../store/migration-queue.ts";
import { isAsDrained } from "../store/host-drain.ts";
import { networkHoldOf } from "../store/network-hosts.ts";
import type { AppContext } from "./context.ts";
import { lookAgain, lookFirst, orderMigration, policyObjections } from "./migration-begin.ts";

export function instanceMigrate({ store, placer, config }: AppContext): Migrations["begin"] {
  return async (caller, instanceId, { to, policy, ceilingMs, tries }) => {
    const plan = planOf(policy, ceilingMs);
    const { row, before, avoid, dataDiskGiB } = await store.transaction(async (tx) => {
      const looked = await lookFirst(tx, caller, config.zone, instanceId, to);
      for (const found of await policyObjections(tx.db, instanceId, policy)) throw found;
      const waiting = await requestOpen(tx.db, instanceId);
      const tried = waiting === undefined ? [] : await triesOf(tx.db, waiting.id);
      return { ...looked, before: waiting, avoid: targetsToAvoid(tried) };
    });
    const other = otherWish(before, to);
    if (other !== null) throw other;
    const id = before?.migration_id ?? newId("migration");
    const turn = (db: Reader) => turnOf(db, config.zone, config.migration.limits, asked(row, id, to));
    const move = { id, instanceId, groupId: row.group_id, to, avoid, dataDiskGiB };
    return placer.migrate(move, turn, async (tx, fence, target) => {
      const one = await lookAgain(tx, caller, instanceId, dataDiskGiB);
      if (one.row.group_id !== row.group_id) throw askAgain(instanceId);
      const waiting = await requestLock(tx, instanceId);
      if (waiting?.migration_id !== before?.migration_id) throw askAgain(instanceId);
      // Both hosts are to have its networks, as they are then; see store/network-hosts.ts.
      await networkHoldOf(tx, [instanceId]);
      await fence();
      crashPoint("app.migrate.fenced");
      const ask = { to_host: to, ...plan, tries, caller_request: caller.requestId };
      const requestId = waiting?.id ?? id;
      if (waiting !== undefined) await requestTakeOver(tx, waiting, ask);
      else {
        const { zone, host_id: source } = one.row;
        if (source === null) throw new Error("a running instance is on no host");
        const about = { zone, instance_id: instanceId, source_host: source, migration_id: id };
        await requestInsert(tx, [{ ...about, ...ask, asked_by: "operator" }]);
      }
      const attempt = waiting?.attempt ?? 1;
      const operationId =
        target === null ? null : await orderMigration(tx, caller, one, { id, target, requestId, attempt, plan });
      crashPoint("app.migrate.ordered");
      return { migrationId: id, operationId };
    });
  };
}

/** A ceiling is meant for something, or nobody would have asked for it. */
export function planOf(
  policy: MigrationPolicy,
  ceilingMs: number | null,
): { policy: MigrationPolicy; ceiling_ms: number } {
  if (ceilingMs !== null && !pauseGrows(policy)) {
    const message = `a ceiling is for the policy finish alone: by ${policy} the pause is never allowed to grow`;
    throw failure("InvalidParameter", message, { detail: { parameter: "ceilingMs" } });
  }
  return { policy, ceiling_ms: ceilingMs ?? defaultCeilingMs };
}

/** A try whose time has come. Throws as {@link instanceMigrate} does; false: it waits on, or is not there any more. */
export function migrationTry({ store, placer, config }: Pick<AppContext, "store" | "placer" | "config">) {
  return async ({ row: request, move }: QueuedRequest, avoid: readonly HostId[]): Promise<boolean> => {
    const { instance_id: instanceId, migration_id: id, to_host: to } = request;
    const caller = { accountId: "any" as const, requestId: request.caller_request };
    const { row, dataDiskGiB } = await store.transaction(async (tx) => {
      const looked = await lookFirst(tx, caller, config.zone, instanceId, to);
      for (const found of await policyObjections(tx.db, instanceId, request.policy)) throw found;
      return looked;
    });
    const turn = (db: Reader) => turnOf(db, config.zone, config.migration.limits, move);
    const about = { id, instanceId, groupId: row.group_id, to, avoid, dataDiskGiB };
    return placer.migrate(about, turn, async (tx, fence, target) => {
      if (target === null) return false;
      const one = await lookAgain(tx, caller, instanceId, dataDiskGiB);
      if (one.row.group_id !== row.group_id) throw askAgain(instanceId);
      const locked = await requestLock(tx, instanceId);
      if (locked?.migration_id !== id || locked.begun) throw askAgain(instanceId);
      // Called off, or wished in another way, since the queue was read.
      if (locked.asked_by === "drain" && !(await isAsDrained(tx.db, locked))) throw askAgain(instanceId);
      await networkHoldOf(tx, [instanceId]);
      await fence();
      crashPoint("queue.try.fenced");
      const { id: requestId, attempt, policy, ceiling_ms } = locked;
      await orderMigration(tx, caller, one, { id, target, requestId, attempt, plan: { policy, ceiling_ms } });
      crashPoint("queue.try.ordered");
      return true;
    });
  };
}

function asked(row: InstanceRow, id: QueuedMove["id"], to: HostId | null): QueuedMove {
  if (row.host_id === null) throw new Error("a running instance is on no host");
  const ask = { to, by: "operator" as const, memoryMiB: row.memory_mib, observed: null, strikes: 0 };
  return { id, source: row.host_id, ...ask, notBefore: 0, askedAt: Date.now() };
}

/** A drain's, or the same asked again, is taken over; another wish of an operator stands, and is what is refused for. */
export function otherWish(waiting: OpenRequest | undefined, to: HostId | null): Failure | null {
  if (waiting === undefined || waiting.asked_by === "drain" || waiting.to_host === to) return null;
  const { migration_id: migrationId, instance_id: instanceId, to_host: other } = waiting;
  const where = other === null ? "to whichever host fits" : `to ${other}`;
  const message = `instance ${instanceId} waits to be moved ${where} (${migrationId}); call that off first`;
  return failure("MigrationQueued", message, { detail: { migrationId } });
}

function askAgain(instanceId: InstanceId): Error {
  const message = `another request to move instance ${instanceId} came in between; ask again`;
  return failure("MigrationQueued", message, { detail: { migrationId: null } });
}
