/** Disaster-recover groups: sets of instances that must not share a host beyond the group's affinity. */
import { failure } from "../../core/failure-codes.ts";
import { newId, type GroupId } from "../../lib/ids.ts";
import type { Groups, GroupView } from "../cloud.ts";
import { clientTokenFind, requestHash } from "../store/client-tokens.ts";
import { violatedConstraint } from "../store/database.ts";
import { groupDelete, groupInsert, groupList, type GroupRead } from "../store/groups.ts";
import { quotaTake } from "../store/quotas.ts";
import { instanceGroups } from "./instance-groups.ts";
import type { AppContext } from "./context.ts";

const action = "CreateDisasterRecoverGroup";

export function groups(context: AppContext): Groups {
  const { store } = context;
  return {
    async create(caller, { name, type, affinity, clientToken }) {
      const { accountId } = caller;
      const hash = requestHash({ name, type, affinity });
      const id = newId("group");
      const made = async (): Promise<GroupId> =>
        store.transaction(async (tx) => {
          if (clientToken !== null) {
            const answer = await clientTokenFind(tx.db, accountId, action, clientToken, hash);
            if (answer !== undefined) return (answer as { id: GroupId }).id;
          }
          await quotaTake(tx, accountId, { groups: 1 });
          const token = clientToken === null ? null : { accountId, action, token: clientToken, hash, answer: { id } };
          await groupInsert(tx, { id, accountId, name, type, affinity }, token);
          return id;
        });
      // Two with one token at once: the second finds the first one's answer.
      const madeId = await made().catch((error: unknown) => {
        if (violatedConstraint(error) === "client_token_pkey") return made();
        throw error;
      });
      const { items } = await store.read((db) => groupList(db, accountId, { ids: [madeId] }, null));
      const found = items[0];
      if (found === undefined) throw failure("GroupNotFound", "the group was deleted again meanwhile");
      return groupView(found);
    },
    async list(caller, query, page) {
      const { total, items } = await store.read((db) => groupList(db, caller.accountId, query, page));
      return { total, items: items.map(groupView) };
    },
    ...instanceGroups(context),
    async delete(caller, ids) {
      try {
        await store.transaction(async (tx) => {
          const { items } = await groupList(tx.db, caller.accountId, { ids }, null);
          if (items.length < new Set(ids).size)
            throw failure("GroupNotFound", "at least one of the groups does not exist");
          const instanceIds = items.flatMap((group) => group.instanceIds);
          if (instanceIds.length > 0) throw notEmpty(instanceIds);
          await groupDelete(tx, caller.accountId, ids);
        });
      } catch (error) {
        if (violatedConstraint(error) !== "instance_group_id_fkey") throw error;
        throw notEmpty([]);
      }
    },
  };
}

function notEmpty(instanceIds: readonly string[]): Error {
  return failure("GroupNotEmpty", "one of the groups still has instances", { detail: { instanceIds } });
}

function groupView({ hosts, ...group }: GroupRead): GroupView {
  return { ...group, capacity: hosts * group.affinity };
}
