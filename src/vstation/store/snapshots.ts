/** Snapshots as rows; one belongs to its account and outlives its disk. In the order of locks they come after disks. */
import { sql, type RawBuilder } from "kysely";
import type { SnapshotRef } from "../../api/agent-storage.ts";
import type { AccountId, DiskId, SnapshotId } from "../../lib/ids.ts";
import type { Reader, Tx } from "./database.ts";
import type { SnapshotRow } from "./schema.ts";
import { toJson } from "./json.ts";

export interface SnapshotFilter {
  ids?: readonly SnapshotId[];
  accountId?: AccountId;
  names?: readonly string[];
  diskIds?: readonly DiskId[];
  usages?: readonly SnapshotRow["disk_usage"][];
  states?: readonly SnapshotRow["state"][];
  zones?: readonly string[];
}

/** Newest first. */
export async function snapshotList(
  db: Reader,
  filter: SnapshotFilter,
  page: { offset: number; limit: number } | null,
): Promise<{ total: number; items: SnapshotRow[] }> {
  const where = conditionsOf(filter);
  const slice = page === null ? sql`` : sql`offset ${page.offset} limit ${page.limit}`;
  const { rows } = await sql<SnapshotRow>`
    select s.* from snapshot s where ${where} order by s.created_at desc, s.id ${slice}`.execute(db);
  const whole = page === null || (page.offset === 0 && rows.length < page.limit);
  if (whole) return { total: rows.length, items: rows };
  const count = await sql<{ total: number }>`select count(*)::int as total from snapshot s where ${where}`.execute(db);
  return { total: count.rows[0]?.total ?? 0, items: rows };
}

function conditionsOf(filter: SnapshotFilter): RawBuilder<unknown> {
  const conditions: RawBuilder<unknown>[] = [sql`s.deleted_at is null`];
  const among = (column: RawBuilder<unknown>, values: readonly string[] | undefined): void => {
    if (values !== undefined) conditions.push(sql`${column} = any(${[...values]})`);
  };
  if (filter.accountId !== undefined) conditions.push(sql`s.account_id = ${filter.accountId}`);
  among(sql`s.id`, filter.ids);
  among(sql`s.name`, filter.names);
  among(sql`s.disk_id`, filter.diskIds);
  among(sql`s.disk_usage`, filter.usages);
  among(sql`s.state`, filter.states);
  among(sql`s.zone`, filter.zones);
  return sql.join(conditions, sql` and `);
}

export async function snapshotLock(tx: Tx, ids: readonly SnapshotId[], accountId?: AccountId): Promise<SnapshotRow[]> {
  if (ids.length === 0) return [];
  let query = tx.db
    .selectFrom("snapshot")
    .selectAll()
    .where("id", "in", [...ids])
    .where("deleted_at", "is", null)
    .orderBy("id")
    .forUpdate();
  if (accountId !== undefined) query = query.where("account_id", "=", accountId);
  return query.execute();
}

type NewSnapshot = Omit<SnapshotRow, "percent" | "bytes" | "problem" | "deleted_at">;

export async function snapshotInsert(tx: Tx, snapshot: NewSnapshot): Promise<void> {
  const row = { ...snapshot, percent: 0 };
  await sql`
    insert into snapshot select * from jsonb_populate_record(null::snapshot, ${toJson(row)})`.execute(tx.db);
  tx.wake.event("snapshot", snapshot.id);
}

export async function snapshotSave(
  tx: Tx,
  id: SnapshotId,
  columns: Partial<Pick<SnapshotRow, "state" | "percent" | "bytes" | "job_id" | "problem" | "deleted_at">>,
): Promise<void> {
  await tx.db.updateTable("snapshot").set(columns).where("id", "=", id).execute();
  tx.wake.event("snapshot", id);
}

export async function snapshotsUnsettled(db: Reader, zone: string): Promise<SnapshotId[]> {
  const rows = await db
    .selectFrom("snapshot")
    .select("id")
    .where("zone", "=", zone)
    .where("state", "=", "CREATING")
    .where("deleted_at", "is", null)
    .orderBy("id")
    .execute();
  return rows.map(({ id }) => id);
}

export function snapshotRef({ id, driver }: Pick<SnapshotRow, "id" | "driver">): SnapshotRef {
  return { id, driver };
}
