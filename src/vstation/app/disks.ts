/**
 * The use cases of disks: checks under the row locks, one transaction each. What they order is brought about by the disk's host and
 * ended by the storage reconciler (reconciler/storage.ts); until then the disk's state says what is under way, and anything else
 * is refused.
 */
import { diskState, diskWorkMs, driverOf } from "../../core/disk.ts";
import { failure } from "../../core/failure-codes.ts";
import { newId, type DiskId, type InstanceId } from "../../lib/ids.ts";
import type { AnyCaller, Caller } from "../cloud.ts";
import type { DiskChange, DiskCreateRequest, Disks, DiskView } from "../cloud-storage.ts";
import { clientTokenFind, requestHash } from "../store/client-tokens.ts";
import { violatedConstraint, type Tx } from "../store/database.ts";
import { diskEnd, diskInsert, diskList, diskLock, diskSave, disksOf, type DiskRead } from "../store/disks.ts";
import { jobEnd } from "../store/jobs.ts";
import { instanceModifyRows } from "../store/instance-modify.ts";
import type { LockedInstance } from "../store/instances.ts";
import { quotaTake } from "../store/quotas.ts";
import type { DiskRow } from "../store/schema.ts";
import { snapshotList } from "../store/snapshots.ts";
import type { AppContext } from "./context.ts";
import { diskIsBusy, diskIsGone, lockDisks, ownerOf, refuseBusy } from "./disk-checks.ts";
import { lockAll, refuseMoving, stateOf } from "./instance-power.ts";
import { beginApply } from "./snapshots.ts";

const slots = 21;
const createAction = "CreateDisks";

export function disks(context: AppContext): Disks {
  const { store } = context;
  return {
    create: (caller, request) => create(context, caller, request),
    async list(caller, query, page) {
      const { total, items } = await store.read((db) => diskList(db, { ...query, ...ownerOf(caller) }, page));
      return { total, items: items.map(diskView) };
    },
    attach: (caller, ids, instanceId, deleteWithInstance) =>
      store.transaction((tx) => attach(tx, caller, ids, instanceId, deleteWithInstance)),
    detach: (caller, ids, instanceId) => store.transaction((tx) => detach(tx, caller, ids, instanceId)),
    async resize(caller, id, sizeGiB) {
      const resized = await store.transaction((tx) => resize(tx, caller, id, sizeGiB));
      if (resized.instanceId !== null) context.placer.setDisk(resized.instanceId, resized.roomGiB);
    },
    modify: (caller, ids, change) => store.transaction((tx) => modify(tx, caller, ids, change)),
    delete: (caller, ids) => store.transaction((tx) => remove(tx, caller, ids)),
  };
}

export function diskView({ row, state, snapshots, snapshotGiB, percent }: DiskRead): DiskView {
  return {
    id: row.id,
    accountId: row.account_id,
    name: row.name,
    zone: row.zone,
    usage: row.usage,
    type: row.disk_type,
    driver: row.driver,
    sizeGiB: row.size_gib,
    limits: { bytes: row.limit_bytes, iops: row.limit_iops },
    state,
    instanceId: row.instance_id,
    deleteWithInstance: row.delete_with_instance,
    percent,
    snapshots: { count: snapshots, sizeGiB: snapshotGiB },
    fromSnapshotId: row.snapshot_id,
    problem: row.problem,
    tags: row.tags,
    createdAt: row.created_at,
  };
}

/* ---------------------------------------------------------------- create */

async function create(context: AppContext, caller: Caller, request: DiskCreateRequest): Promise<DiskId[]> {
  const { clientToken, ...identity } = request;
  const hash = requestHash(identity);
  const once = (): Promise<DiskId[]> =>
    context.store.transaction(async (tx) => {
      if (clientToken !== null) {
        const answer = await clientTokenFind(tx.db, caller.accountId, createAction, clientToken, hash);
        if (answer !== undefined) return answer as DiskId[];
      }
      const ids = await createIn(context, tx, caller, request);
      if (clientToken !== null) {
        const answer = JSON.stringify(ids);
        const row = { account_id: caller.accountId, action: createAction, token: clientToken, request_hash: hash };
        await tx.db
          .insertInto("client_token")
          .values({ ...row, answer })
          .execute();
      }
      return ids;
    });
  try {
    return await once();
  } catch (error) {
    // Two with one token at once: the second finds the first one's answer.
    if (violatedConstraint(error) === "client_token_pkey") return await once();
    throw error;
  }
}

async function createIn(context: AppContext, tx: Tx, caller: Caller, request: DiskCreateRequest): Promise<DiskId[]> {
  const { config } = context;
  const { snapshotId, count, limits } = request;
  if (request.zone !== config.zone) throw failure("ZoneUnknown", `there is no zone ${request.zone} here`);
  const found =
    snapshotId === null ? undefined : await snapshotList(tx.db, { ids: [snapshotId], ...ownerOf(caller) }, null);
  const snapshot = found?.items[0];
  if (snapshotId !== null && snapshot === undefined) {
    throw failure("SnapshotNotFound", `there is no snapshot ${snapshotId}`, { detail: { snapshotId } });
  }
  const sizeGiB = request.sizeGiB ?? snapshot?.size_gib;
  if (sizeGiB === undefined) {
    throw failure("InvalidParameter", "say how large the disk shall be", { detail: { parameter: "sizeGiB" } });
  }
  const driver = driverOf(request.type, config.sharedDir !== undefined);
  await quotaTake(tx, caller.accountId, { disks: count, diskGiB: count * sizeGiB });
  const now = new Date();
  const rows = Array.from({ length: count }, (_, index) => ({
    id: newId("disk"),
    account_id: caller.accountId,
    zone: request.zone,
    name: count === 1 ? request.name : `${request.name}-${index + 1}`,
    usage: "DATA_DISK" as const,
    disk_type: request.type,
    driver,
    size_gib: sizeGiB,
    limit_bytes: limits.bytes,
    limit_iops: limits.iops,
    instance_id: null,
    slot: null,
    delete_with_instance: false,
    host_id: null,
    work: null,
    due_at: null,
    snapshot_id: snapshotId,
    tags: request.tags,
    created_at: now,
  }));
  await diskInsert(tx, rows);
  const ids = rows.map(({ id }) => id);
  if (snapshot !== undefined) {
    for (const row of await diskLock(tx, ids)) await beginApply(tx, row, snapshot, null, true);
  }
  return ids;
}

/* ---------------------------------------------------------------- attach, detach */

async function attach(
  tx: Tx,
  caller: AnyCaller,
  ids: readonly DiskId[],
  instanceId: InstanceId,
  deleteWithInstance: boolean | null,
): Promise<void> {
  const [instance] = await lockAll(tx, caller, [instanceId]);
  if (instance === undefined) return;
  refuseInstanceState(instance, "attach");
  // Locked in the order that keeps locks free of deadlock, plugged in the order that was asked for.
  const rows = (await lockDisks(tx, caller, ids)).sort((a, b) => ids.indexOf(a.id) - ids.indexOf(b.id));
  const taken = new Set((await disksOf(tx.db, [instanceId])).flatMap(({ slot }) => (slot === null ? [] : [slot])));
  const generation = await orderDisks(tx, instance);
  for (const row of rows) {
    if (row.account_id !== instance.row.account_id) throw diskIsGone(row.id);
    await refuseBusy(tx, row, "attached");
    if (row.instance_id !== null) throw wrongState(row, "it is attached already");
    refuseElsewhere(row, instance);
    const slot = Array.from({ length: slots }, (_, at) => at).find((at) => !taken.has(at));
    if (slot === undefined) {
      throw failure("DiskSlotsExhausted", `instance ${instanceId} has ${slots} data disks, more do not fit`);
    }
    taken.add(slot);
    await diskSave(tx, row.id, {
      instance_id: instanceId,
      slot,
      host_id: row.driver === "local" ? instance.row.host_id : null,
      delete_with_instance: deleteWithInstance ?? row.delete_with_instance,
      work: { is: "attach" },
      generation,
      due_at: new Date(Date.now() + diskWorkMs),
      problem: null,
    });
  }
  tx.wake.capacity = true;
}

async function detach(tx: Tx, caller: AnyCaller, ids: readonly DiskId[], instanceId: InstanceId | null): Promise<void> {
  // Which instances have them is read first without a lock: instances are locked before disks, and then it is looked at again.
  const { items } = await diskList(tx.db, { ids, ...ownerOf(caller) }, null);
  const holders = [...new Set(items.flatMap(({ row }) => row.instance_id ?? []))];
  const locked = await lockAll(tx, caller, instanceId === null ? holders : [...holders, instanceId]);
  const rows = await lockDisks(tx, caller, ids);
  for (const instance of locked) {
    const own = rows.filter((row) => row.instance_id === instance.row.id);
    if (own.length === 0) continue;
    refuseInstanceState(instance, "detach");
    const generation = await orderDisks(tx, instance);
    for (const row of own) {
      if (row.usage === "SYSTEM_DISK") throw wrongState(row, "a system disk stays with its instance");
      await refuseBusy(tx, row, "detached");
      const due_at = new Date(Date.now() + diskWorkMs);
      await diskSave(tx, row.id, { work: { is: "detach" }, generation, due_at, problem: null });
    }
  }
  const stray = rows.find((row) => row.instance_id === null || (instanceId !== null && row.instance_id !== instanceId));
  if (stray !== undefined) {
    const message = `disk ${stray.id} is not attached${instanceId === null ? "" : ` to ${instanceId}`}`;
    throw failure("DiskNotAttached", message, { detail: { diskId: stray.id } });
  }
}

/** The host hears of the instance's disks; returns the generation of that order. */
async function orderDisks(tx: Tx, { row }: LockedInstance): Promise<number> {
  await instanceModifyRows(tx, [row], {}, true);
  const { generation } = await tx.db
    .selectFrom("instance")
    .select("generation")
    .where("id", "=", row.id)
    .executeTakeFirstOrThrow();
  return generation;
}

function refuseInstanceState(instance: LockedInstance, action: "attach" | "detach" | "resize"): void {
  refuseMoving(instance);
  const state = stateOf(instance);
  if (state === "RUNNING" || state === "STOPPED") return;
  const instanceId = instance.row.id;
  throw failure("WrongState", `instance ${instanceId} is ${state}: its disks cannot be changed now`, {
    detail: { state, action, instanceId },
  });
}

function refuseElsewhere(row: DiskRow, { row: instance }: LockedInstance): void {
  if (row.driver !== "local" || row.host_id === null || row.host_id === instance.host_id) return;
  const message =
    `disk ${row.id} lies on the storage of the host that it was first attached on, and instance ${instance.id} runs on ` +
    "another one; attach it to an instance of that host, or keep such disks in a zone with a shared folder";
  throw failure("DiskElsewhere", message, { detail: { diskId: row.id } });
}

function wrongState(row: DiskRow, why: string): Error {
  const state = diskState(row.work, row.instance_id !== null);
  return failure("DiskWrongState", `disk ${row.id}: ${why}`, { detail: { state, diskId: row.id } });
}

/* ---------------------------------------------------------------- resize, modify, delete */

async function resize(
  tx: Tx,
  caller: AnyCaller,
  id: DiskId,
  sizeGiB: number,
): Promise<{ instanceId: InstanceId | null; roomGiB: number }> {
  const { items } = await diskList(tx.db, { ids: [id], ...ownerOf(caller) }, null);
  const holder = items[0]?.row.instance_id ?? null;
  const [instance] = holder === null ? [] : await lockAll(tx, caller, [holder]);
  const [row] = await lockDisks(tx, caller, [id]);
  if (row === undefined) throw diskIsGone(id);
  await refuseBusy(tx, row, "resized");
  if (row.instance_id !== holder) throw diskIsBusy(id, "resized");
  if (sizeGiB <= row.size_gib) {
    const detail = { minimumGiB: row.size_gib + 1, diskId: id };
    throw failure("DiskTooSmall", `disk ${id} has ${row.size_gib} GiB and can only become larger`, { detail });
  }
  if (row.usage === "DATA_DISK") await quotaTake(tx, row.account_id, { diskGiB: sizeGiB - row.size_gib });
  // A disk that is in no machine is made larger before it comes into one.
  if (instance === undefined) {
    await diskSave(tx, id, { size_gib: sizeGiB, problem: null });
    return { instanceId: null, roomGiB: 0 };
  }
  refuseInstanceState(instance, "resize");
  const generation = await orderDisks(tx, instance);
  const due_at = new Date(Date.now() + diskWorkMs);
  await diskSave(tx, id, { size_gib: sizeGiB, work: { is: "resize" }, generation, due_at, problem: null });
  tx.wake.capacity = true;
  if (row.usage !== "SYSTEM_DISK" || row.driver !== "local") return { instanceId: null, roomGiB: 0 };
  await tx.db.updateTable("instance").set({ disk_gib: sizeGiB }).where("id", "=", instance.row.id).execute();
  return { instanceId: instance.row.id, roomGiB: sizeGiB };
}

async function modify(tx: Tx, caller: AnyCaller, ids: readonly DiskId[], change: DiskChange): Promise<void> {
  const { items } = await diskList(tx.db, { ids, ...ownerOf(caller) }, null);
  const holders = change.limits === undefined ? [] : [...new Set(items.flatMap(({ row }) => row.instance_id ?? []))];
  const locked = await lockAll(tx, caller, holders);
  const rows = await lockDisks(tx, caller, ids);
  for (const instance of locked) await orderDisks(tx, instance);
  const { name, deleteWithInstance, limits } = change;
  for (const row of rows) {
    if (deleteWithInstance === false && row.usage === "SYSTEM_DISK") {
      throw wrongState(row, "a system disk goes with its instance");
    }
    await diskSave(tx, row.id, {
      ...(name === undefined ? {} : { name }),
      ...(deleteWithInstance === undefined ? {} : { delete_with_instance: deleteWithInstance }),
      ...(limits?.bytes === undefined ? {} : { limit_bytes: limits.bytes }),
      ...(limits?.iops === undefined ? {} : { limit_iops: limits.iops }),
    });
  }
}

async function remove(tx: Tx, caller: AnyCaller, ids: readonly DiskId[]): Promise<void> {
  for (const row of await lockDisks(tx, caller, ids)) {
    // Its content may not even be there yet: that is no reason to keep it.
    const isFilled = row.work?.is === "apply" && row.work.first;
    if (!isFilled) await refuseBusy(tx, row, "deleted");
    if (row.instance_id !== null) throw wrongState(row, "it is attached; detach it first");
    // Removed where it is being filled: there the one ends before the other begins.
    const filler = row.work?.is === "apply" ? await jobEnd(tx, row.work.jobId) : undefined;
    await diskEnd(tx, row, filler);
  }
  tx.wake.capacity = true;
}
