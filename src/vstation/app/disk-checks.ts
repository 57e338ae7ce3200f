/** What the use cases of disks and of snapshots look at alike, under the row locks. */
import { diskState } from "../../core/disk.ts";
import { failure } from "../../core/failure-codes.ts";
import type { Failure } from "../../lib/errors.ts";
import type { AccountId, DiskId } from "../../lib/ids.ts";
import type { AnyCaller } from "../cloud.ts";
import type { Tx } from "../store/database.ts";
import { diskLock } from "../store/disks.ts";
import type { DiskRow } from "../store/schema.ts";
import { snapshotList } from "../store/snapshots.ts";

export function ownerOf(caller: AnyCaller): { accountId?: AccountId } {
  return caller.accountId === "any" ? {} : { accountId: caller.accountId };
}

/** Locks every disk of the call; one that is not the caller's own is not found. */
export async function lockDisks(tx: Tx, caller: AnyCaller, ids: readonly DiskId[]): Promise<DiskRow[]> {
  const wanted = [...new Set(ids)];
  const rows = await diskLock(tx, wanted, ownerOf(caller).accountId);
  const found = new Set(rows.map(({ id }) => id));
  const missing = wanted.find((id) => !found.has(id));
  if (missing !== undefined) throw diskIsGone(missing);
  return rows;
}

/** Nothing else is under way with the disk, and no snapshot is being made of it. */
export async function refuseBusy(tx: Tx, row: DiskRow, toBe: string): Promise<void> {
  const busy = await busyWith(tx, row, toBe);
  if (busy !== null) throw busy;
}

/** null: with nothing. */
export async function busyWith(tx: Tx, row: DiskRow, toBe: string): Promise<Failure | null> {
  if (row.work !== null) return diskIsBusy(row.id, toBe, diskState(row.work, row.instance_id !== null));
  const making = await snapshotList(tx.db, { diskIds: [row.id], states: ["CREATING"] }, null);
  return making.total > 0 ? diskIsBusy(row.id, toBe, `being copied into snapshot ${making.items[0]?.id ?? ""}`) : null;
}

export function diskIsBusy(diskId: DiskId, toBe: string, how = "changing"): Failure {
  return failure("DiskBusy", `disk ${diskId} is ${how} and cannot be ${toBe} now; ask again when that is over`, {
    detail: { diskId },
  });
}

export function diskIsGone(diskId: DiskId): Error {
  return failure("DiskNotFound", `there is no disk ${diskId}`, { detail: { diskId } });
}
