/** Snapshots as rows; one belongs to its account and outlives its disk. In the order of locks they come after disks. */
import { sql } from "kysely";
import type { SnapshotRef } from "../../api/agent-storage.ts";
import type { AccountId, DiskId, SnapshotId } from "../../lib/ids.ts";
import type { Reader, Tx } from "./database.ts";
import type { SnapshotRow } from "./schema.ts";
import { toJson } from "./json.ts";
import { anyOf, listPage, ownedBy, type Slice } from "./listing.ts";

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
  page: Slice | null,
): Promise<{ total: number; items: SnapshotRow[] }> {
  return listPage(
    db,
    {
      columns: sql<SnapshotRow>`s.*`,
      from: sql`snapshot s`,
      where: [
        sql`s.deleted_at is null`,
        ...ownedBy("s", filter.accountId ?? "any"),
        ...anyOf([
          ["s.id", filter.ids],
          ["s.name", filter.names],
          ["s.disk_id", filter.diskIds],
          ["s.disk_usage", filter.usages],
          ["s.state", filter.states],
          ["s.zone", filter.zones],
        ]),
      ],
      order: sql`s.created_at desc, s.id`,
    },
    page,
  );
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
