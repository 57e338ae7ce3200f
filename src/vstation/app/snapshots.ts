/**
 * The use cases of snapshots. A snapshot lies in the zone's shared folder where there is one, else beside its disk on that host; it
 * is made, put back and removed by jobs on a host (store/jobs.ts), and it outlives its disk.
 */
import { failure } from "../../core/failure-codes.ts";
import { newId, type HostId, type SnapshotId } from "../../lib/ids.ts";
import type { AnyCaller } from "../cloud.ts";
import type { Snapshots, SnapshotView } from "../cloud-storage.ts";
import type { Tx } from "../store/database.ts";
import { anyHost, diskList, diskRef, diskSave } from "../store/disks.ts";
import type { LockedInstance } from "../store/instances.ts";
import { jobBegin, jobEnd } from "../store/jobs.ts";
import { quotaTake } from "../store/quotas.ts";
import type { DiskRow, SnapshotRow } from "../store/schema.ts";
import { snapshotInsert, snapshotList, snapshotLock, snapshotRef, snapshotSave } from "../store/snapshots.ts";
import type { AppContext } from "./context.ts";
import { diskIsBusy, diskIsGone, lockDisks, ownerOf, refuseBusy } from "./disk-checks.ts";
import { lockAll, refuseMoving, stateOf } from "./instance-power.ts";

export function snapshots({ store, config }: AppContext): Snapshots {
  const zoneHasShared = config.sharedDir !== undefined;
  return {
    create: (caller, request) => store.transaction((tx) => create(tx, caller, request, zoneHasShared)),
    async list(caller, query, page) {
      const { total, items } = await store.read((db) => snapshotList(db, { ...query, ...ownerOf(caller) }, page));
      return { total, items: items.map(snapshotView) };
    },
    apply: (caller, { snapshotId, diskId }) =>
      store.transaction(async (tx) => {
        const { row, instance } = await lockWithHolder(tx, caller, diskId);
        const [snapshot] = await snapshotLock(tx, [snapshotId], ownerOf(caller).accountId);
        if (snapshot === undefined || snapshot.account_id !== row.account_id) throw snapshotIsGone(snapshotId);
        await refuseBusy(tx, row, "overwritten");
        if (instance !== undefined && stateOf(instance) !== "STOPPED") {
          const detail = { state: stateOf(instance), action: "apply", instanceId: instance.row.id };
          const message = `instance ${instance.row.id} must be stopped before a snapshot is put into its disk`;
          throw failure("WrongState", message, { detail });
        }
        await beginApply(tx, row, snapshot, instance?.row.host_id ?? null, false);
      }),
    delete: (caller, ids) => store.transaction((tx) => remove(tx, caller, ids)),
  };
}

export function snapshotView(row: SnapshotRow): SnapshotView {
  return {
    id: row.id,
    accountId: row.account_id,
    name: row.name,
    zone: row.zone,
    diskId: row.disk_id,
    diskUsage: row.disk_usage,
    sizeGiB: row.size_gib,
    state: row.state,
    percent: row.percent,
    bytes: row.bytes,
    problem: row.problem,
    tags: row.tags,
    createdAt: row.created_at,
  };
}

/** The disk under its lock, and the instance that has it under that one's. */
async function lockWithHolder(
  tx: Tx,
  caller: AnyCaller,
  diskId: DiskRow["id"],
): Promise<{ row: DiskRow; instance: LockedInstance | undefined }> {
  // Read first without a lock: instances are locked before disks, and then it is looked at again.
  const { items } = await diskList(tx.db, { ids: [diskId], ...ownerOf(caller) }, null);
  const holder = items[0]?.row.instance_id ?? null;
  const [instance] = holder === null ? [] : await lockAll(tx, caller, [holder]);
  if (instance !== undefined) refuseMoving(instance);
  const [row] = await lockDisks(tx, caller, [diskId]);
  if (row === undefined) throw diskIsGone(diskId);
  if (row.instance_id !== holder) throw diskIsBusy(diskId, "used");
  return { row, instance };
}

async function create(
  tx: Tx,
  caller: AnyCaller,
  request: { diskId: DiskRow["id"]; name: string; tags: Record<string, string> },
  zoneHasShared: boolean,
): Promise<SnapshotId> {
  const { row, instance } = await lockWithHolder(tx, caller, request.diskId);
  await refuseBusy(tx, row, "copied");
  await quotaTake(tx, row.account_id, { snapshots: 1 });
  const driver = zoneHasShared ? "shared" : "local";
  const hostId = await hostOf(tx, row, instance?.row.host_id ?? null);
  const id = newId("snapshot");
  const spec = { kind: "snapshot.create" as const, disk: diskRef(row), snapshot: { id, driver } as const };
  const jobId = await jobBegin(tx, { zone: row.zone, hostId, subject: id, spec });
  await snapshotInsert(tx, {
    id,
    account_id: row.account_id,
    zone: row.zone,
    name: request.name,
    disk_id: row.id,
    disk_usage: row.usage,
    size_gib: row.size_gib,
    driver,
    host_id: driver === "local" ? hostId : null,
    state: "CREATING",
    job_id: jobId,
    tags: request.tags,
    created_at: new Date(),
  });
  return id;
}

/** Orders that a locked disk's content becomes the snapshot's. `first`: it is a new disk, which has no other content. */
export async function beginApply(
  tx: Tx,
  row: DiskRow,
  snapshot: SnapshotRow,
  instanceHost: HostId | null,
  first: boolean,
): Promise<void> {
  if (snapshot.state !== "NORMAL") {
    const message = `snapshot ${snapshot.id} is ${snapshot.state}: it cannot be used`;
    throw failure("SnapshotNotReady", message, { detail: { snapshotId: snapshot.id } });
  }
  if (row.size_gib < snapshot.size_gib) {
    const message = `snapshot ${snapshot.id} needs a disk of at least ${snapshot.size_gib} GiB`;
    throw failure("DiskTooSmall", message, { detail: { minimumGiB: snapshot.size_gib, diskId: row.id } });
  }
  const bound = snapshot.driver === "local" ? snapshot.host_id : null;
  const hostId = instanceHost ?? row.host_id ?? bound ?? (await hostOf(tx, row, null));
  if (bound !== null && bound !== hostId) {
    const message = `snapshot ${snapshot.id} lies on the storage of another host than disk ${row.id}`;
    throw failure("DiskElsewhere", message, { detail: { diskId: row.id } });
  }
  const spec = { kind: "snapshot.apply" as const, disk: diskRef(row), snapshot: snapshotRef(snapshot) };
  const jobId = await jobBegin(tx, { zone: row.zone, hostId, subject: row.id, spec });
  await diskSave(tx, row.id, {
    work: { is: "apply", jobId, snapshotId: snapshot.id, first },
    host_id: row.driver === "local" && row.usage === "DATA_DISK" ? hostId : null,
    problem: null,
    due_at: null,
  });
}

/** Where work on the disk is done: on its instance's host, where it lies, or (shared, in no machine) anywhere. */
async function hostOf(tx: Tx, row: DiskRow, instanceHost: HostId | null): Promise<HostId> {
  const host = instanceHost ?? row.host_id ?? (await anyHost(tx.db, row.zone));
  if (host === undefined) throw failure("HostUnreachable", "the zone has no host that could do it");
  return host;
}

async function remove(tx: Tx, caller: AnyCaller, ids: readonly SnapshotId[]): Promise<void> {
  const wanted = [...new Set(ids)];
  const rows = await snapshotLock(tx, wanted, ownerOf(caller).accountId);
  const missing = wanted.find((id) => !rows.some((row) => row.id === id));
  if (missing !== undefined) throw snapshotIsGone(missing);
  for (const row of rows) {
    const users = await tx.db
      .selectFrom("disk")
      .select(["id", "work"])
      .where("work", "is not", null)
      .where("deleted_at", "is", null)
      .where("zone", "=", row.zone)
      .execute();
    const user = users.find(({ work }) => work?.is === "apply" && work.snapshotId === row.id);
    if (user !== undefined) throw diskIsBusy(user.id, "left without its snapshot", "being filled from it");
    // One that is still being made is removed where it is made: there the one ends before the other begins.
    const maker = row.state === "CREATING" && row.job_id !== null ? await jobEnd(tx, row.job_id) : undefined;
    await snapshotSave(tx, row.id, { deleted_at: new Date(), job_id: null });
    const hostId = maker ?? row.host_id ?? (await anyHost(tx.db, row.zone));
    if (hostId === undefined) continue;
    const spec = { kind: "snapshot.delete" as const, snapshot: snapshotRef(row) };
    await jobBegin(tx, { zone: row.zone, hostId, subject: row.id, spec });
  }
}

function snapshotIsGone(snapshotId: SnapshotId): Error {
  return failure("SnapshotNotFound", `there is no snapshot ${snapshotId}`, { detail: { snapshotId } });
}
