/**
 * Another address for an instance, in its own or in another subnet and VPC of its account (CVM calls it ModifyInstancesVpcAttribute). Its elastic address,
 * security groups, MAC and host stay. Accepted, the address is promised in one transaction with what is ordered: one that was off
 * stays off; one that runs goes down in its own order (hard after a minute) and comes up there, under one operation. When it changes
 * hands is the reconciler's to say (core/reconcile.ts).
 *
 * What can race: anything that changes state or address between the first look and the row lock; so the verdict is made again under the
 * lock, and that one counts.
 */
import { operationLimit } from "../../core/deadlines.ts";
import { failure } from "../../core/failure-codes.ts";
import { orderedAtRest } from "../../core/order.ts";
import { decideChange } from "../../core/request-queue.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { newId, type InstanceId, type OperationId } from "../../lib/ids.ts";
import type { Caller, InstanceRenumberRequest } from "../cloud.ts";
import { violatedConstraint, type Tx } from "../store/database.ts";
import { addressPromise } from "../store/instance-address.ts";
import { instanceSave, operationInsert, type LockedInstance, type NewOperation } from "../store/instances.ts";
import { networkHold } from "../store/network-hosts.ts";
import type { SubnetRow } from "../store/schema-network.ts";
import type { AppContext } from "./context.ts";
import { checkAddresses, subnetOf, throwNetworkGone } from "./instance-network.ts";
import { denied, lockAll, situationOf } from "./instance-power.ts";

export async function instanceRenumber(
  context: AppContext,
  caller: Caller,
  ids: readonly InstanceId[],
  request: InstanceRenumberRequest,
): Promise<OperationId[]> {
  const { store, placer } = context;
  const subnet = await subnetOf(context, caller, request);
  checkAddresses(subnet, { addresses: request.addresses, count: ids.length });
  const asked = new Map(ids.map((id, index) => [id, request.addresses?.[index] ?? null]));
  const isAccepted = (one: LockedInstance): boolean =>
    judge(one, subnet, asked.get(one.row.id) ?? null, request.mayStop);
  const first = await store.transaction((tx) => lockAll(tx, caller, ids));
  const changing = first.filter(isAccepted).map(({ row }) => row.id);
  if (changing.length === 0) return openOperations(ids, first);
  try {
    return await placer.readdress(
      subnet,
      changing.map((id) => asked.get(id) ?? null),
      async (tx, fence, ips) => {
        const free = new Map(changing.map((id, index) => [id, ips[index]]));
        const locked = await lockAll(tx, caller, ids);
        const accepted = locked.filter(isAccepted);
        const promised = new Map(accepted.map(({ row }) => [row.id, addressFor(row.id, free)]));
        await networkHold(tx, [subnet.vpc_id], []);
        await addressPromise(tx, await fence(), subnet, promised);
        crashPoint("app.renumber.promised");
        const operations = await order(tx, caller, accepted, {
          noteOf: (id) => `${promised.get(id)} in ${subnet.id}`,
          keepHostname: request.keepHostname,
        });
        return { used: new Set(promised.values()), result: openOperations(ids, locked, operations) };
      },
    );
  } catch (error) {
    throwNetworkGone(violatedConstraint(error), { subnet, securityGroupIds: [] });
    throw error;
  }
}

/** Whoever asks for the address that it has, or is promised, or for any where it is, is told yes, and nothing is done. */
function judge(one: LockedInstance, subnet: SubnetRow, ip: string | null, mayStop: boolean): boolean {
  const { row, otherAddress } = one;
  const at = otherAddress?.is === "next" ? otherAddress : { subnetId: row.subnet_id, ip: row.ip };
  const changes = at.subnetId !== subnet.id || (ip !== null && at.ip !== ip);
  const verdict = decideChange("renumber", situationOf(one), { changes, mayStop });
  if (verdict.is === "deny") throw denied(row.id, { action: "renumber" }, verdict);
  // Its host has yet to let go of the former one.
  if (verdict.is === "accept" && otherAddress !== null) throw changed(row.id);
  return verdict.is === "accept";
}

function changed(instanceId: InstanceId): Error {
  return failure("OperationInProgress", `the address of instance ${instanceId} is being changed`, {
    detail: { operation: "instance.renumber", instanceId },
  });
}

/** Between the two looks it came to need one. */
function addressFor(id: InstanceId, free: ReadonlyMap<InstanceId, string | undefined>): string {
  const ip = free.get(id);
  if (ip === undefined) throw changed(id);
  return ip;
}

function openOperations(
  ids: readonly InstanceId[],
  locked: readonly LockedInstance[],
  fresh: ReadonlyMap<InstanceId, OperationId> = new Map(),
): OperationId[] {
  const open = new Map(locked.map(({ row, facts }) => [row.id, fresh.get(row.id) ?? facts.operation?.id]));
  return ids.flatMap((id) => open.get(id) ?? []);
}

async function order(
  tx: Tx,
  caller: Caller,
  accepted: readonly LockedInstance[],
  { noteOf, keepHostname }: { noteOf: (id: InstanceId) => string; keepHostname: boolean },
): Promise<Map<InstanceId, OperationId>> {
  const now = Date.now();
  const operations = accepted.map(({ row, facts }): NewOperation => {
    const how = facts.power.is === "running" ? "soft_first" : null;
    return {
      id: newId("operation"),
      kind: "instance.renumber",
      instance_id: row.id,
      account_id: row.account_id,
      request_id: caller.requestId,
      how,
      deadline: now + operationLimit("instance.renumber", how),
      failed: null,
      steps: [{ name: "accepted", note: `${row.ip} in ${row.subnet_id} to ${noteOf(row.id)}` }],
    };
  });
  await instanceSave(
    tx,
    accepted.map(({ row, facts }) => ({
      row,
      facts: { ...facts, ...orderedAtRest(facts.power.is === "running") },
      dueAt: now + operationLimit("instance.renumber", null),
      order: true,
      deleted: false,
    })),
  );
  await operationInsert(tx, operations, now);
  for (const { row } of accepted) {
    if (!keepHostname) await tx.db.updateTable("instance").set({ hostname: row.id }).where("id", "=", row.id).execute();
    tx.wake.event("instance", row.id);
    tx.wake.instance(row.id);
  }
  return new Map(operations.map(({ id, instance_id }) => [instance_id, id]));
}
