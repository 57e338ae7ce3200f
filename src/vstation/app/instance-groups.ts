/**
 * Puts instances into a disaster-recover group or takes them out of theirs, where they are: nothing is moved for it. An instance
 * whose host has as many members already is refused.
 */
import { failure } from "../../core/failure-codes.ts";
import type { GroupId, InstanceId } from "../../lib/ids.ts";
import type { Caller, Groups } from "../cloud.ts";
import { violatedConstraint } from "../store/database.ts";
import { groupList, groupUpdate, instancesRegroup } from "../store/groups.ts";
import type { AppContext } from "./context.ts";
import { lockAll } from "./instance-power.ts";

export function instanceGroups({ store, placer }: AppContext): Pick<Groups, "modify" | "put" | "takeOut"> {
  const find = async (caller: Caller, id: GroupId) => {
    const { items } = await store.read((db) => groupList(db, caller.accountId, { ids: [id] }, null));
    if (items[0] === undefined) throw groupNotFound();
    return items[0];
  };
  const regroup = (caller: Caller, ids: readonly InstanceId[], group: { id: GroupId; affinity: number } | null) =>
    placer.regroup(ids, group, () =>
      store.transaction(async (tx) => {
        await lockAll(tx, caller, ids);
        await instancesRegroup(tx, ids, group?.id ?? null);
      }),
    );
  return {
    async modify(caller, id, { name, affinity }) {
      const now = await find(caller, id);
      if (affinity !== undefined && affinity < now.affinity) {
        throw failure("InvalidParameter", `the group's affinity is ${now.affinity}: members may share hosts already`, {
          detail: { parameter: "affinity" },
        });
      }
      const change = { ...(name === undefined ? {} : { name }), ...(affinity === undefined ? {} : { affinity }) };
      if (!(await store.read((db) => groupUpdate(db, caller.accountId, id, change)))) throw groupNotFound();
    },
    async put(caller, ids, groupId) {
      const group = await find(caller, groupId);
      try {
        await regroup(caller, ids, { id: groupId, affinity: group.affinity });
      } catch (error) {
        if (violatedConstraint(error) === "instance_group_id_fkey") throw groupNotFound();
        throw error;
      }
    },
    async takeOut(caller, ids, groupIds) {
      const members = new Set<InstanceId>();
      for (const id of groupIds) for (const member of (await find(caller, id)).instanceIds) members.add(member);
      await store.transaction((tx) => lockAll(tx, caller, ids));
      const leaving = ids.filter((id) => members.has(id));
      if (leaving.length > 0) await regroup(caller, leaving, null);
    },
  };
}

function groupNotFound(): Error {
  return failure("GroupNotFound", "the disaster-recover group does not exist");
}
