/**
 * A new system disk (CVM calls it ResetInstance): the instance gets a new system disk, made from an image, and keeps its id, addresses, data disks and place. One
 * transaction ends the former disk, writes what the next start is to be made of, and orders the guest off; when its host has
 * confirmed that, the reconciler orders the start (core/reconcile.ts). A guest is never moved from one disk to the other: as long
 * as it runs, it runs on the former one.
 */
import { operationLimit } from "../../core/deadlines.ts";
import { failure } from "../../core/failure-codes.ts";
import type { ImageManifest } from "../../core/image-manifest.ts";
import { isHostname } from "../../core/names.ts";
import { ordered } from "../../core/order.ts";
import { newId, type AccountId, type ImageId, type InstanceId, type KeyId, type OperationId } from "../../lib/ids.ts";
import type { AnyCaller, InstanceReinstallRequest } from "../cloud.ts";
import type { Tx } from "../store/database.ts";
import { diskEnd, diskInsert, diskLock, disksOf } from "../store/disks.ts";
import { instanceSave, operationInsert, type LockedInstance } from "../store/instances.ts";
import { keyList, type KeyRead } from "../store/keys.ts";
import type { DiskRow } from "../store/schema.ts";
import type { AppContext } from "./context.ts";
import { imageFind } from "./images.ts";
import { refuseBusy } from "./disk-checks.ts";
import { denied, lockAll, verdictOn } from "./instance-power.ts";

export async function instanceReinstall(
  context: AppContext,
  caller: AnyCaller,
  id: InstanceId,
  request: InstanceReinstallRequest,
): Promise<OperationId> {
  const { store, placer } = context;
  const image = await imageFor(context, caller, id, request.imageId);
  const done = await store.transaction(async (tx) => {
    const [one] = await lockAll(tx, caller, [id]);
    if (one === undefined) throw failure("InstanceNotFound", `there is no instance ${id}`);
    refuseState(one);
    return await reinstall(tx, caller, one, request, image);
  });
  placer.setDisk(id, done.roomGiB);
  return done.operationId;
}

function refuseState(one: LockedInstance): void {
  const verdict = verdictOn(one, { action: "reinstall" });
  if (verdict.is === "accept") return;
  if (verdict.is === "deny") throw denied(one.row.id, { action: "reinstall" }, verdict);
  // Another one is under way, perhaps to another image: this one is not what that one does.
  const detail = { operation: "instance.reinstall", instanceId: one.row.id };
  throw failure("OperationInProgress", `instance ${one.row.id} is being given another system disk`, { detail });
}

async function reinstall(
  tx: Tx,
  caller: AnyCaller,
  { row, facts }: LockedInstance,
  request: InstanceReinstallRequest,
  image: UsableImage,
): Promise<{ operationId: OperationId; roomGiB: number }> {
  const former = await systemDiskOf(tx, row.id);
  await refuseBusy(tx, former, "replaced");
  const sizeGiB = sizeOf(image, former, request.systemDiskGiB);
  const diskId = newId("disk");
  await diskEnd(tx, former, former.driver === "shared" ? (row.host_id ?? undefined) : undefined);
  const { id: _id, made: _made, generation: _generation, problem: _problem, deleted_at: _deletedAt, ...kept } = former;
  await diskInsert(tx, [{ ...kept, id: diskId, size_gib: sizeGiB, work: null, due_at: null, created_at: new Date() }]);
  const roomGiB = former.driver === "local" ? sizeGiB : 0;
  const keys = request.keyIds === null ? null : await keysOf(tx, row.account_id, request.keyIds);
  if (request.hostname !== null && !isHostname(request.hostname)) {
    throw failure("InvalidParameter", "that is no host name", { detail: { parameter: "hostname" } });
  }
  await tx.db
    .updateTable("instance")
    .set({
      image_id: image.id,
      disk_id: diskId,
      disk_gib: roomGiB,
      ...(request.hostname === null ? {} : { hostname: request.hostname }),
      ...(request.userData === null ? {} : { user_data: request.userData }),
      ...(keys === null ? {} : { public_keys: JSON.stringify(keys.map(({ publicKey }) => publicKey)) as never }),
    })
    .where("id", "=", row.id)
    .execute();
  if (keys !== null) await writeKeys(tx, row.id, keys);

  const now = Date.now();
  const deadline = now + operationLimit("instance.reinstall", null);
  const operationId = newId("operation");
  const next = { ...facts, ...ordered(facts, { action: "reinstall" }) };
  await instanceSave(tx, [{ row, facts: next, dueAt: deadline, order: true, deleted: false }]);
  await operationInsert(
    tx,
    [
      {
        id: operationId,
        kind: "instance.reinstall",
        instance_id: row.id,
        account_id: row.account_id,
        request_id: caller.requestId,
        how: null,
        deadline,
        failed: null,
        steps: [{ name: "accepted", note: `a new system disk ${diskId} from ${image.id}` }],
      },
    ],
    now,
  );
  tx.wake.event("instance", row.id);
  tx.wake.instance(row.id);
  tx.wake.capacity = true;
  return { operationId, roomGiB };
}

/** Any image that RunInstances would take for the account. */
async function imageFor(
  context: AppContext,
  caller: AnyCaller,
  instanceId: InstanceId,
  asked: ImageId | null,
): Promise<UsableImage> {
  const owner = caller.accountId;
  const row = await context.store.read((db) =>
    db
      .selectFrom("instance")
      .select(["account_id", "image_id"])
      .where("id", "=", instanceId)
      .where("deleted_at", "is", null)
      .executeTakeFirst(),
  );
  if (row === undefined || (owner !== "any" && row.account_id !== owner)) {
    throw failure("InstanceNotFound", `there is no instance ${instanceId}`, { detail: { instanceId } });
  }
  const id = asked ?? row.image_id;
  const image = await imageFind(context, row.account_id, id);
  if (image === undefined) throw failure("ImageNotFound", `there is no image ${id}`);
  const { manifest } = image;
  if (manifest !== null) return { id, manifest };
  throw failure("ImageNotUsable", `image ${id} is ${image.state}: no instance can start from it`, {
    detail: { state: image.state },
  });
}

interface UsableImage {
  id: ImageId;
  manifest: ImageManifest;
}

async function systemDiskOf(tx: Tx, instanceId: InstanceId): Promise<DiskRow> {
  const found = (await disksOf(tx.db, [instanceId])).find(({ usage }) => usage === "SYSTEM_DISK");
  const [row] = found === undefined ? [] : await diskLock(tx, [found.id]);
  if (row === undefined) throw failure("DiskNotFound", `instance ${instanceId} has no system disk`);
  return row;
}

/** The system disk becomes no smaller: what its owner has paid for in room stays. */
function sizeOf({ id, manifest }: UsableImage, former: DiskRow, asked: number | null): number {
  const minimumGiB = Math.max(former.size_gib, manifest.disk.virtualSizeGiB);
  if (asked === null) return minimumGiB;
  if (asked >= minimumGiB) return asked;
  const message = `the system disk from image ${id} needs at least ${minimumGiB} GiB here`;
  throw failure("SystemDiskTooSmall", message, { detail: { minimumGiB } });
}

async function keysOf(tx: Tx, accountId: AccountId, ids: readonly KeyId[]): Promise<KeyRead[]> {
  if (ids.length === 0) return [];
  const { items } = await keyList(tx.db, accountId, { ids }, null);
  if (items.length < new Set(ids).size) {
    throw failure("KeyNotFound", "at least one of the key pairs does not exist");
  }
  return [...new Set(ids)].flatMap((id) => items.find((key) => key.id === id) ?? []);
}

async function writeKeys(tx: Tx, instanceId: InstanceId, keys: readonly KeyRead[]): Promise<void> {
  await tx.db.deleteFrom("instance_key").where("instance_id", "=", instanceId).execute();
  const rows = keys.map(({ id }, position) => ({ instance_id: instanceId, key_id: id, position }));
  if (rows.length > 0) await tx.db.insertInto("instance_key").values(rows).execute();
}
