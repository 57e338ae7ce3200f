/**
 * Disks as rows. Who changes one holds its row lock; in the order of locks disks come after instances (core truth: which machine a
 * disk is in is said by that instance's host) and before accounts, the zone and hosts.
 */
import { sql } from "kysely";
import type { DiskRef } from "../../api/agent-storage.ts";
import { diskState, type DiskState, type DiskType, type DiskUsage } from "../../core/disk.ts";
import type { AccountId, DiskId, HostId, InstanceId, SnapshotId } from "../../lib/ids.ts";
import type { Reader, Tx } from "./database.ts";
import { hostSilenceSeconds } from "./instances.ts";
import { jobBegin } from "./jobs.ts";
import { toJson } from "./json.ts";
import { anyOf, listPage, ownedBy, type Slice } from "./listing.ts";
import type { DiskRow } from "./schema.ts";

export interface DiskFilter {
  ids?: readonly DiskId[];
  accountId?: AccountId;
  names?: readonly string[];
  usages?: readonly DiskUsage[];
  types?: readonly DiskType[];
  states?: readonly DiskState[];
  instanceIds?: readonly InstanceId[];
  attached?: boolean;
  zones?: readonly string[];
  snapshotIds?: readonly SnapshotId[];
}

export interface DiskRead {
  row: DiskRow;
  state: DiskState;
  snapshots: number;
  snapshotGiB: number;
  /** Of the job that puts a snapshot into it. */
  percent: number | null;
}

/** {@link diskState} in SQL, so that filters and pages are made where the rows are. */
export const diskStateExpression = sql<DiskState>`
  case d.work ->> 'is'
    when 'attach' then 'ATTACHING'
    when 'detach' then 'DETACHING'
    when 'resize' then 'EXPANDING'
    when 'apply' then case when (d.work ->> 'first')::boolean then 'DUMPING' else 'ROLLBACKING' end
    else case when d.instance_id is null then 'UNATTACHED' else 'ATTACHED' end end`;

/** Oldest first. */
export async function diskList(
  db: Reader,
  filter: DiskFilter,
  page: Slice | null,
): Promise<{ total: number; items: DiskRead[] }> {
  const { total, items } = await listPage(
    db,
    {
      columns: sql<DiskRow & { snapshots: number; snapshot_gib: number; percent: number | null }>`d.*,
        (select count(*)::int from snapshot s where s.disk_id = d.id and s.deleted_at is null) as snapshots,
        (select coalesce(sum(s.size_gib), 0)::int from snapshot s where s.disk_id = d.id and s.deleted_at is null)
          as snapshot_gib,
        (select (j.seen ->> 'percent')::int from host_job j where j.id = d.work ->> 'jobId') as percent`,
      from: sql`disk d`,
      where: [
        sql`d.deleted_at is null`,
        ...ownedBy("d", filter.accountId ?? "any"),
        ...anyOf([
          ["d.id", filter.ids],
          ["d.name", filter.names],
          ["d.usage", filter.usages],
          ["d.disk_type", filter.types],
          ["d.instance_id", filter.instanceIds],
          ["d.zone", filter.zones],
          ["d.snapshot_id", filter.snapshotIds],
        ]),
        ...(filter.attached === undefined ? [] : [sql`(d.instance_id is not null) = ${filter.attached}`]),
        ...(filter.states === undefined ? [] : [sql`${diskStateExpression} = any(${[...filter.states]})`]),
      ],
      order: sql`d.created_at, d.id`,
    },
    page,
  );
  return {
    total,
    items: items.map(({ snapshots, snapshot_gib: snapshotGiB, percent, ...row }) => ({
      row,
      state: diskState(row.work, row.instance_id !== null),
      snapshots,
      snapshotGiB,
      percent,
    })),
  };
}

/** Locks live disks in the order of their ids; instances that matter must be locked before. */
export async function diskLock(tx: Tx, ids: readonly DiskId[], accountId?: AccountId): Promise<DiskRow[]> {
  if (ids.length === 0) return [];
  let query = tx.db
    .selectFrom("disk")
    .selectAll()
    .where("id", "in", [...ids])
    .where("deleted_at", "is", null)
    .orderBy("id")
    .forUpdate();
  if (accountId !== undefined) query = query.where("account_id", "=", accountId);
  return query.execute();
}

/** The live disks of instances, read without a lock. */
export async function disksOf(db: Reader, instanceIds: readonly InstanceId[]): Promise<DiskRow[]> {
  if (instanceIds.length === 0) return [];
  return db
    .selectFrom("disk")
    .selectAll()
    .where("instance_id", "in", [...instanceIds])
    .where("deleted_at", "is", null)
    .orderBy("usage", "desc")
    .orderBy("slot")
    .execute();
}

export type NewDisk = Omit<DiskRow, "made" | "generation" | "problem" | "deleted_at">;

export async function diskInsert(tx: Tx, disks: readonly NewDisk[]): Promise<void> {
  if (disks.length === 0) return;
  const rows = disks.map((disk) => ({ ...disk, made: false, generation: 0 }));
  await sql`
    insert into disk select * from jsonb_populate_recordset(null::disk, ${toJson(rows)})`.execute(tx.db);
  for (const { id } of disks) tx.wake.event("disk", id);
}

export type DiskColumns = Partial<
  Pick<
    DiskRow,
    | "name"
    | "size_gib"
    | "limit_bytes"
    | "limit_iops"
    | "instance_id"
    | "slot"
    | "delete_with_instance"
    | "host_id"
    | "made"
    | "generation"
    | "due_at"
    | "problem"
    | "deleted_at"
    | "work"
  >
>;

/** Writes a locked disk; work that is begun or over is looked at by the storage reconciler. */
export async function diskSave(tx: Tx, id: DiskId, { work, ...columns }: DiskColumns): Promise<void> {
  const set = work === undefined ? columns : { ...columns, work: work === null ? null : toJson(work) };
  await tx.db
    .updateTable("disk")
    .set(set as never)
    .where("id", "=", id)
    .execute();
  tx.wake.event("disk", id);
  tx.wake.storage = true;
}

/** Disks that something is under way with. */
export async function disksUnsettled(
  db: Reader,
  zone: string,
): Promise<{ id: DiskId; instanceId: InstanceId | null }[]> {
  const rows = await db
    .selectFrom("disk")
    .select(["id", "instance_id"])
    .where("zone", "=", zone)
    .where("work", "is not", null)
    .where("deleted_at", "is", null)
    .orderBy("id")
    .execute();
  return rows.map(({ id, instance_id }) => ({ id, instanceId: instance_id }));
}

export function diskRef(row: DiskRow): DiskRef {
  return {
    id: row.id,
    driver: row.driver,
    usage: row.usage === "SYSTEM_DISK" ? "system" : "data",
    sizeGiB: row.size_gib,
    made: row.made,
    instanceId: row.instance_id,
  };
}

/** A host of the zone for work in the shared folder: one that is connected, if any is. */
export async function anyHost(db: Reader, zone: string): Promise<HostId | undefined> {
  const { rows } = await sql<{ id: HostId }>`
    select id from host where zone = ${zone} and removed_at is null
    order by (session is not null and seen_at > now() - make_interval(secs => ${hostSilenceSeconds})) desc, random()
    limit 1`.execute(db);
  return rows[0]?.id;
}

/** The disk is over: its row stays as history, its file is removed by a job (on `at`, if given) where there may be one. */
export async function diskEnd(tx: Tx, row: DiskRow, at?: HostId): Promise<void> {
  const deleted = { deleted_at: new Date(), instance_id: null, slot: null, work: null };
  await diskSave(tx, row.id, deleted);
  // A local system disk lies in its instance's folder and goes with that.
  const local = row.usage === "DATA_DISK" ? row.host_id : null;
  const hostId = at ?? (row.driver === "shared" ? await anyHost(tx.db, row.zone) : local);
  if (hostId === null || hostId === undefined) return;
  const disk = { ...diskRef(row), instanceId: null };
  await jobBegin(tx, { zone: row.zone, hostId, subject: row.id, spec: { kind: "disk.delete", disk } });
}

/** Ended instances let go of their disks: those that go with them are ended, the others are free. Instances must be locked. */
export async function disksRelease(tx: Tx, instanceIds: readonly InstanceId[]): Promise<void> {
  const ids = (await disksOf(tx.db, instanceIds)).map(({ id }) => id);
  for (const row of await diskLock(tx, ids)) {
    if (row.usage === "SYSTEM_DISK" || row.delete_with_instance) await diskEnd(tx, row);
    else await diskSave(tx, row.id, { instance_id: null, slot: null, work: null, due_at: null });
  }
}

/** Their instances left a host without ever having run: what local disks were made there is removed, they are made anew elsewhere. */
export async function disksLeaveHost(tx: Tx, instanceIds: readonly InstanceId[]): Promise<void> {
  const ids = (await disksOf(tx.db, instanceIds)).map(({ id }) => id);
  for (const row of await diskLock(tx, ids)) {
    if (row.usage !== "DATA_DISK" || row.driver !== "local" || row.host_id === null || row.made) continue;
    const disk = { ...diskRef(row), instanceId: null };
    const job = { zone: row.zone, hostId: row.host_id, subject: row.id, spec: { kind: "disk.delete" as const, disk } };
    await jobBegin(tx, job);
    await diskSave(tx, row.id, { host_id: null });
  }
}
