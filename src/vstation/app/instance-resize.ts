/**
 * ResetInstancesType: another type for an instance, on the host where it lies. Its disk is there, so a host without room for the new
 * type is a refusal (`InsufficientCapacity`), and nothing was changed.
 *
 * Accepted, the type is changed in one transaction with what is ordered: one that was off stays off and is of the new type at its
 * next start; one that runs goes down in its own order (hard after a minute) and comes up as the new type, under one operation.
 * What can race: anything that changes its state or type between the first look and the row lock; so the verdict is made again under
 * the lock, and that one counts.
 */
import { operationLimit } from "../../core/deadlines.ts";
import { failure } from "../../core/failure-codes.ts";
import { instanceType, type InstanceType } from "../../core/instance-types.ts";
import { plainPromise, type Promised } from "../../core/machine.ts";
import { orderedAtRest } from "../../core/order.ts";
import { roomOf } from "../../core/placement.ts";
import { decideChange } from "../../core/request-queue.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { newId, type InstanceId, type OperationId } from "../../lib/ids.ts";
import type { AnyCaller } from "../cloud.ts";
import type { Tx } from "../store/database.ts";
import { instanceResizeRow } from "../store/instance-modify.ts";
import { instanceSave, operationInsert, type LockedInstance, type NewOperation } from "../store/instances.ts";
import { quotaLimits } from "../store/quotas.ts";
import type { AppContext } from "./context.ts";
import { denied, lockAll, situationOf } from "./instance-power.ts";

export async function instanceResize(
  context: AppContext,
  caller: AnyCaller,
  id: InstanceId,
  to: { instanceType: string; mayStop: boolean },
): Promise<OperationId[]> {
  const { store, placer, folder } = context;
  const type = instanceType(to.instanceType);
  if (type === undefined) throw failure("InstanceTypeUnknown", `there is no instance type ${to.instanceType}`);
  const look = async (tx: Tx): Promise<LockedInstance> => {
    const [one] = await lockAll(tx, caller, [id]);
    if (one === undefined)
      throw failure("InstanceNotFound", `there is no instance ${id}`, { detail: { instanceId: id } });
    return one;
  };
  const first = await store.transaction(look);
  if (!isAccepted(first, type, to.mayStop)) return openOperation(first);
  const { row } = first;
  const size = { vcpus: type.vcpus, memoryMiB: type.memoryGiB * 1024, diskGiB: row.disk_gib };
  const promised = promiseOf(type, row.machine ?? plainPromise);
  const [image, limits] = await Promise.all([
    folder.find(row.image_id),
    store.read((db) => quotaLimits(db, row.account_id)),
  ]);
  const minimumMiB = image?.manifest.minMemoryMiB ?? 0;
  if (size.memoryMiB < minimumMiB) {
    throw failure("MemoryTooSmall", `image ${row.image_id} needs ${minimumMiB} MiB of memory`, {
      detail: { minimumMiB },
    });
  }
  if (limits === undefined) throw failure("AccountNotFound", "the account was deleted");
  const room = roomOf(size, promised);
  return placer.resize(id, row.account_id, room, limits, async (tx, fence) => {
    const one = await look(tx);
    if (!isAccepted(one, type, to.mayStop)) return openOperation(one);
    await fence();
    crashPoint("app.resize.fenced");
    await instanceResizeRow(tx, id, {
      instance_type: type.name,
      vcpus: size.vcpus,
      memory_mib: size.memoryMiB,
      machine: promised,
    });
    return order(tx, caller, one, type);
  });
}

function isAccepted(one: LockedInstance, type: InstanceType, mayStop: boolean): boolean {
  const { row } = one;
  const verdict = decideChange("resize", situationOf(one), { changes: row.instance_type !== type.name, mayStop });
  if (verdict.is === "deny") throw denied(row.id, { action: "resize" }, verdict);
  return verdict.is === "accept";
}

function openOperation({ facts }: LockedInstance): OperationId[] {
  return facts.operation === null ? [] : [facts.operation.id];
}

/** Second threads that were to stay idle stay so, where the new type owns its cores too. */
function promiseOf(type: InstanceType, before: Promised): Promised {
  const keeps = type.promised.cpu === "dedicated" && before.cpu === "dedicated";
  return keeps ? { ...type.promised, threadsPerCore: before.threadsPerCore } : type.promised;
}

async function order(
  tx: Tx,
  caller: AnyCaller,
  { row, facts }: LockedInstance,
  type: InstanceType,
): Promise<OperationId[]> {
  const now = Date.now();
  const runs = facts.power.is === "running";
  const how = runs ? "soft_first" : null;
  const deadline = now + operationLimit("instance.resize", how);
  const next = { ...facts, ...orderedAtRest(runs) };
  const operation: NewOperation = {
    id: newId("operation"),
    kind: "instance.resize",
    instance_id: row.id,
    account_id: row.account_id,
    request_id: caller.requestId,
    how,
    deadline,
    failed: null,
    steps: [{ name: "accepted", note: `${row.instance_type} to ${type.name}` }],
  };
  await instanceSave(tx, [{ row, facts: next, dueAt: deadline, order: true, deleted: false }]);
  await operationInsert(tx, [operation], now);
  crashPoint("app.resize.ordered");
  tx.wake.event("instance", row.id);
  tx.wake.instance(row.id);
  return [operation.id];
}
