/** Changes of an instance's attributes: all or nothing over the ids; the host hears of those it shows or hands to the guest. */
import { failure } from "../../core/failure-codes.ts";
import { isAllowed } from "../../core/request-queue.ts";
import { unreachable } from "../../lib/errors.ts";
import type { InstanceId } from "../../lib/ids.ts";
import type { AnyCaller, InstanceChange } from "../cloud.ts";
import type { Store } from "../store/database.ts";
import { instanceModifyRows, type InstanceColumns } from "../store/instance-modify.ts";
import { peersBump } from "../store/network-hosts.ts";
import { lockAll, restart, stateOf } from "./instance-power.ts";

export async function instanceModify(
  store: Store,
  caller: AnyCaller,
  ids: readonly InstanceId[],
  change: InstanceChange,
): Promise<void> {
  await store.transaction(async (tx) => {
    const locked = await lockAll(tx, caller, ids);
    for (const one of locked) {
      const state = stateOf(one);
      if (isAllowed("modify", state)) continue;
      throw failure("WrongState", `instance ${one.row.id} is ${state}: it cannot be changed now`, {
        detail: { state, action: "modify", instanceId: one.row.id },
      });
    }
    const { columns, hostHears } = columnsOf(change);
    const rows = locked.map(({ row }) => row);
    // By its host name it is found in its VPC, on every host. The zone's row before the hosts' rows, as everywhere.
    if (change.kind === "hostname") await peersBump(tx, rows);
    await instanceModifyRows(tx, rows, columns, hostHears);
    if (change.kind === "hostname" && change.restart) {
      await restart(
        tx,
        caller,
        locked.filter((one) => stateOf(one) === "RUNNING"),
      );
    }
  });
}

function columnsOf(change: InstanceChange): { columns: InstanceColumns; hostHears: boolean } {
  switch (change.kind) {
    case "name":
      return { columns: { name: change.name }, hostHears: true };
    case "hostname":
      return { columns: { hostname: change.hostname }, hostHears: true };
    case "userData":
      return { columns: { user_data: change.userData }, hostHears: true };
    case "terminationProtection":
      return { columns: { termination_protection: change.on }, hostHears: false };
    case "restartPolicy":
      return { columns: { restart_policy: change.policy }, hostHears: false };
    default:
      return unreachable(change);
  }
}
