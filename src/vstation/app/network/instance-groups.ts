/**
 * Which groups instances are in, changed while they run. Two kinds of hosts hear of it: those that the instances lie on, because their
 * rules change, and all others, because a rule may mean the members of a group wherever they are.
 */
import { failure } from "../../../core/failure-codes.ts";
import { isAllowed } from "../../../core/request-queue.ts";
import type { InstanceId, SecurityGroupId } from "../../../lib/ids.ts";
import type { AnyCaller } from "../../cloud.ts";
import type { Tx } from "../../store/database.ts";
import { instanceModifyRows } from "../../store/instance-modify.ts";
import type { LockedInstance } from "../../store/instances.ts";
import { peersBump } from "../../store/network-hosts.ts";
import { groupsOfInstancesWrite, securityGroupsCheck } from "../../store/security-groups.ts";
import { lockAll, stateOf } from "../instance-power.ts";

/** Locks the instances of a change of their network; refuses one that is on its way out, or not there yet. */
export async function lockForNetwork(tx: Tx, caller: AnyCaller, ids: readonly InstanceId[]): Promise<LockedInstance[]> {
  const locked = await lockAll(tx, caller, ids);
  for (const one of locked) {
    const state = stateOf(one);
    if (isAllowed("modify", state)) continue;
    throw failure("WrongState", `instance ${one.row.id} is ${state}: its network cannot be changed now`, {
      detail: { state, action: "modify", instanceId: one.row.id },
    });
  }
  return locked;
}

/** `named` must be groups of the instances' own account; `next` says in which groups each of the locked instances is to be. */
export async function groupsChange(
  tx: Tx,
  caller: AnyCaller,
  ids: readonly InstanceId[],
  named: readonly SecurityGroupId[],
  next: (locked: InstanceId[]) => Promise<ReadonlyMap<InstanceId, readonly SecurityGroupId[]>>,
): Promise<void> {
  const locked = await lockForNetwork(tx, caller, ids);
  const rows = locked.map(({ row }) => row);
  for (const accountId of new Set(rows.map((row) => row.account_id)))
    await securityGroupsCheck(tx.db, accountId, named);
  await groupsOfInstancesWrite(tx, await next(rows.map((row) => row.id)));
  // The zone's row before the hosts' rows, as everywhere; see store/instances.ts.
  await peersBump(tx, rows);
  await instanceModifyRows(tx, rows, {}, true);
}
