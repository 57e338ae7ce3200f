/**
 * Instances under their row locks: what the request verbs and the reconciler read and write.
 *
 * Every transaction locks in one order, so that none waits for another in a circle: instances (by id), then disks, then accounts (quotas.ts),
 * then VPCs and security groups (network-hosts.ts), then the zone's row (only when addresses move), then hosts (by id).
 */
import { sql } from "kysely";
import type { Instance, Step } from "../../core/wanted.ts";
import type { AccountId, InstanceId, OperationId } from "../../lib/ids.ts";
import { hostGenerationBump, insertMany, type Tx } from "./database.ts";
import { factsOf, powerColumns, type OpenOperationRow } from "./facts.ts";
import { elasticAddressLeave } from "./elastic-addresses.ts";
import { otherAddressColumn, type HeldAddress } from "./instance-address.ts";
import type { InstanceRow, OperationTable } from "./schema.ts";
import { tagDelete } from "./tags.ts";
import { toJson } from "./json.ts";

export interface LockedInstance {
  row: InstanceRow;
  facts: Instance;
  hostConnected: boolean;
  otherAddress: HeldAddress | null;
}

/** A host that was not heard of for this long is out of reach, whatever its row says. */
export const hostSilenceSeconds = 30;

/**
 * Locks live instances in the order of their ids and reads them with their open operation. Two statements on purpose: a row
 * that had to be waited for is read anew by the second one together with what its last holder committed.
 */
export async function instanceLock(
  tx: Tx,
  ids: readonly InstanceId[],
  options: { skipLocked?: boolean; accountId?: AccountId } = {},
): Promise<LockedInstance[]> {
  if (ids.length === 0) return [];
  let lock = tx.db
    .selectFrom("instance")
    .select("id")
    .where("id", "in", [...ids])
    .where("deleted_at", "is", null)
    .orderBy("id")
    .forUpdate();
  if (options.accountId !== undefined) lock = lock.where("account_id", "=", options.accountId);
  if (options.skipLocked === true) lock = lock.skipLocked();
  const locked = (await lock.execute()).map((row) => row.id);
  if (locked.length === 0) return [];
  const { rows } = await sql<InstanceRow & LockExtra>`
    select i.*, to_jsonb(o) as open_operation,
      coalesce(h.session is not null and h.seen_at > now() - make_interval(secs => ${hostSilenceSeconds}), false) as host_connected,
      ${otherAddressColumn("i.id")} as other_address
    from instance i
    left join host h on h.id = i.host_id
    left join lateral (
      select op.id, op.kind, op.how, op.deadline, op.state, s.name as step_name, s.note as step_note
      from operation op
      left join lateral (
        select name, note from operation_step where operation_id = op.id order by id desc limit 1) s on true
      where op.instance_id = i.id and op.state in ('PENDING', 'RUNNING')) o on true
    where i.id = any(${locked})
    order by i.id`.execute(tx.db);
  return rows.map(({ open_operation: open, host_connected: hostConnected, other_address: otherAddress, ...row }) => ({
    row,
    facts: factsOf(row, otherAddress, open === null ? undefined : { ...open, deadline: new Date(open.deadline) }),
    hostConnected,
    otherAddress,
  }));
}

interface LockExtra {
  open_operation: (Omit<OpenOperationRow, "deadline"> & { deadline: string }) | null;
  host_connected: boolean;
  other_address: HeldAddress | null;
}

/** What may change on an instance after its creation; the host hears of it when `order` is set. */
export interface InstanceChangeRow {
  row: InstanceRow;
  facts: Instance;
  dueAt: number | null;
  /** Something that the host should know changed. */
  order: boolean;
  deleted: boolean;
}

const iso = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());

/** Writes locked instances back in one statement; stamps those with an order with their host's next generation. */
export async function instanceSave(tx: Tx, changed: readonly InstanceChangeRow[]): Promise<void> {
  if (changed.length === 0) return;
  const ordered = changed.flatMap(({ order, facts }) => (order && facts.hostId !== null ? [facts.hostId] : []));
  const generations = await hostGenerationBump(tx, ordered);
  const rows = changed.map(({ row, facts, dueAt, order, deleted }) => ({
    id: row.id,
    ...powerColumns(facts.power),
    incarnation: facts.incarnation,
    resets: facts.resets,
    epoch: facts.epoch,
    generation: (order && facts.hostId !== null ? generations.get(facts.hostId) : undefined) ?? facts.generation,
    host_id: facts.hostId,
    launched: facts.launched,
    running_since: iso(facts.runningSince),
    quick_ends: facts.quickEnds,
    not_before: iso(facts.notBefore),
    tried_hosts: facts.triedHosts,
    failure: facts.failure,
    due_at: iso(dueAt),
    deleted_at: deleted ? new Date().toISOString() : null,
    group_id: deleted ? null : row.group_id,
  }));
  await sql`
    update instance i set
      power = v.power, stop_how = v.stop_how, gone_for = v.gone_for, incarnation = v.incarnation, resets = v.resets,
      epoch = v.epoch, generation = v.generation, host_id = v.host_id, launched = v.launched,
      running_since = v.running_since, quick_ends = v.quick_ends, not_before = v.not_before,
      tried_hosts = v.tried_hosts, failure = nullif(v.failure, 'null'), due_at = v.due_at, deleted_at = v.deleted_at,
      group_id = v.group_id
    from jsonb_populate_recordset(null::instance, ${toJson(rows)}) v where i.id = v.id`.execute(tx.db);
}

/** Lets go of the addresses, keys, networks and tags of ended instances; their own rows stay as history. */
export async function instanceRelease(tx: Tx, zone: string, ids: readonly InstanceId[]): Promise<void> {
  if (ids.length === 0) return;
  await sql`
    with z as (update zone set peer_generation = peer_generation + 1 where name = ${zone} returning peer_generation)
    update address set released_at = clock_timestamp(), vtep = null, peer_generation = z.peer_generation
    from z where instance_id = any(${[...ids]}) and released_at is null`.execute(tx.db);
  for (const table of ["instance_key", "instance_subnet", "instance_security_group"] as const) {
    await tx.db
      .deleteFrom(table)
      .where("instance_id", "in", [...ids])
      .execute();
  }
  await elasticAddressLeave(tx, ids);
  await tagDelete(tx, ids);
  tx.wake.peers = true;
}

export interface OperationEnd {
  id: OperationId;
  state: "SUCCEEDED" | "FAILED" | "RUNNING" | "PENDING";
  deadline: number;
  error: { code: string; message: string } | null;
}

/** Advances or ends open operations; an ended one is never touched again. */
export async function operationSave(tx: Tx, ends: readonly OperationEnd[]): Promise<void> {
  if (ends.length === 0) return;
  const rows = ends.map(({ id, state, deadline, error }) => ({
    id,
    state,
    deadline: iso(deadline),
    error_code: error?.code ?? null,
    error_message: error?.message ?? null,
  }));
  await sql`
    update operation o set state = v.state, deadline = v.deadline, error_code = v.error_code,
      error_message = v.error_message,
      ended_at = case when v.state in ('SUCCEEDED', 'FAILED') then clock_timestamp() end
    from jsonb_populate_recordset(null::operation, ${toJson(rows)}) v
    where o.id = v.id and o.state in ('PENDING', 'RUNNING')`.execute(tx.db);
  for (const { id } of ends) tx.wake.event("operation", id);
}

export interface NewOperation extends Pick<
  OperationTable,
  "id" | "kind" | "instance_id" | "account_id" | "request_id"
> {
  how: OperationTable["how"];
  deadline: number;
  failed: { code: string; message: string } | null;
  steps: Step[];
}

/** Writes new operations with their first steps. The unique index refuses a second open one for the same instance. */
export async function operationInsert(tx: Tx, operations: readonly NewOperation[], at: number): Promise<void> {
  await insertMany(
    tx,
    "operation",
    operations.map(({ failed, steps: _steps, deadline, ...columns }) => ({
      ...columns,
      state: failed === null ? "PENDING" : "FAILED",
      deadline: iso(deadline),
      error_code: failed?.code ?? null,
      error_message: failed?.message ?? null,
      created_at: iso(at),
      ended_at: failed === null ? null : iso(at),
    })),
  );
  await stepInsert(
    tx,
    operations.flatMap(({ id, steps }) => steps.map((step) => ({ operationId: id, ...step }))),
    at,
  );
  for (const { id } of operations) tx.wake.event("operation", id);
}

export async function stepInsert(
  tx: Tx,
  steps: readonly ({ operationId: OperationId } & Step)[],
  at: number,
): Promise<void> {
  const rows = steps.map(({ operationId, name, note }) => ({ operation_id: operationId, at: iso(at), name, note }));
  if (rows.length === 0) return;
  await sql`
    insert into operation_step (operation_id, at, name, note)
    select operation_id, at, name, note
    from jsonb_populate_recordset(null::operation_step, ${toJson(rows)})`.execute(tx.db);
}
