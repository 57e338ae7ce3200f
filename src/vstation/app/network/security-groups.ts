/**
 * Security groups. A change of policies is made under the group's lock, for the version that the caller saw if it names one, and is
 * told to every host that has a member, in the same transaction.
 */
import { failure } from "../../../core/failure-codes.ts";
import { networkLimits } from "../../../core/network-limits.ts";
import {
  findPolicies,
  hasDuplicate,
  insertPolicies,
  removePolicies,
  type Policy,
  type PolicyDirection,
} from "../../../core/security-policy.ts";
import { newId, type InstanceId, type SecurityGroupId } from "../../../lib/ids.ts";
import type { AnyCaller } from "../../cloud.ts";
import type { PolicySet, SecurityGroups, SecurityGroupView } from "../../cloud/network.ts";
import type { Tx } from "../../store/database.ts";
import { groupHostsBump } from "../../store/network-hosts.ts";
import { quotaTake } from "../../store/quotas.ts";
import {
  groupsOfInstances,
  policiesRead,
  policiesWrite,
  securityGroupDelete,
  securityGroupInsert,
  securityGroupList,
  securityGroupLock,
  securityGroupModify,
  securityGroupNotFound,
  securityGroupsCheck,
  securityGroupUses,
  versionRaise,
} from "../../store/security-groups.ts";
import type { AppContext } from "../context.ts";
import { tooManyGroups } from "../instance-network.ts";
import { inUse, isDefault, onViolation } from "./failures.ts";
import { groupsChange } from "./instance-groups.ts";

type Timed = PolicySet["ingress"][number];

export function securityGroups({ store }: AppContext): SecurityGroups {
  const one = async (caller: AnyCaller, id: SecurityGroupId): Promise<SecurityGroupView> => {
    const { items } = await store.read((db) => securityGroupList(db, caller.accountId, { ids: [id] }, null));
    return items[0] ?? Promise.reject(securityGroupNotFound(id));
  };

  /** Changes policies of some directions; `change` makes the new list of one from the present one. */
  const changePolicies = (
    caller: AnyCaller,
    id: SecurityGroupId,
    version: number | null,
    changes: Partial<Record<PolicyDirection, (present: Timed[]) => readonly (Policy & { modifiedAt?: Date })[]>>,
    named: readonly Policy[] = [],
  ): Promise<void> =>
    onViolation(
      () =>
        store.transaction(async (tx) => {
          const group = await securityGroupLock(tx, caller.accountId, id);
          if (version !== null && version !== group.version) {
            throw failure("PolicyVersionMismatch", `security group ${id} is at version ${group.version} now`, {
              detail: { version: group.version },
            });
          }
          await peersCheck(tx, group.accountId, named);
          const present = await policiesRead(tx.db, id);
          for (const direction of ["ingress", "egress"] as const) {
            const policies = changes[direction]?.(present?.[direction] ?? []);
            if (policies === undefined) continue;
            checkPolicies(policies);
            await peersCheck(tx, group.accountId, policies);
            await policiesWrite(tx, id, direction, policies);
          }
          await versionRaise(tx, id);
          await groupHostsBump(tx, id);
        }),
      () => failure("SecurityGroupNotFound", "a group that a policy names does not exist any more"),
    );

  return {
    async create(caller, { name, description, tags }) {
      const { accountId } = caller;
      const id = newId("securityGroup");
      await store.transaction(async (tx) => {
        await quotaTake(tx, accountId, { securityGroups: 1 });
        await securityGroupInsert(tx, { id, accountId, name, description, isDefault: false, tags });
      });
      return one(caller, id);
    },
    list: (caller, query, page) => store.read((db) => securityGroupList(db, caller.accountId, query, page)),
    modify: (caller, id, change) =>
      store.transaction(async (tx) => {
        await securityGroupLock(tx, caller.accountId, id);
        await securityGroupModify(tx, id, change);
      }),
    delete: (caller, id) =>
      onViolation(
        () =>
          store.transaction(async (tx) => {
            const group = await securityGroupLock(tx, caller.accountId, id);
            if (group.isDefault) throw isDefault("securityGroup", `the default security group ${id} stays`);
            await securityGroupDelete(tx, id);
          }),
        () => inUse("securityGroup", `an instance is in security group ${id}, or another group's policy names it`),
      ),
    uses: (caller, ids) => store.read((db) => securityGroupUses(db, caller.accountId, ids)),
    policies: (caller, id) =>
      store.read(async (db) => {
        await securityGroupsCheck(db, caller.accountId, [id]);
        return (await policiesRead(db, id)) ?? Promise.reject(securityGroupNotFound(id));
      }),
    addPolicies: (caller, id, { direction, policies, position, version }) =>
      changePolicies(caller, id, version, {
        [direction]: (present: Timed[]) => insertPolicies<Policy>(present, policies, position ?? present.length),
      }),
    replacePolicies: (caller, id, { ingress, egress, version }) =>
      changePolicies(caller, id, version, { ingress: () => ingress, egress: () => egress }),
    removePolicies: (caller, id, { direction, which, version }) =>
      changePolicies(
        caller,
        id,
        version,
        {
          [direction]: (present: Timed[]) => {
            const positions = "positions" in which ? which.positions : findPolicies(present, which.policies);
            const left = positions === undefined ? undefined : removePolicies(present, positions);
            if (left === undefined) {
              throw failure("PolicyNotFound", `security group ${id} does not have one of these policies`);
            }
            return left;
          },
        },
        "policies" in which ? which.policies : [],
      ),
    setGroups: (caller, instanceIds, ids) => changeGroups(caller, instanceIds, ids, () => ids),
    attach: (caller, instanceIds, ids) => changeGroups(caller, instanceIds, ids, (present) => [...present, ...ids]),
    detach: (caller, instanceIds, ids) =>
      changeGroups(caller, instanceIds, ids, (present) => present.filter((id) => !ids.includes(id))),
  };

  /** `named` must be groups of the instances' own account. */
  function changeGroups(
    caller: AnyCaller,
    instanceIds: readonly InstanceId[],
    named: readonly SecurityGroupId[],
    next: (present: readonly SecurityGroupId[]) => readonly SecurityGroupId[],
  ): Promise<void> {
    return onViolation(
      () =>
        store.transaction((tx) =>
          groupsChange(tx, caller, instanceIds, named, async (locked) => {
            const present = await groupsOfInstances(tx.db, locked);
            return new Map(
              [...present].map(([instanceId, groups]) => {
                const ids = [...new Set(next(groups))];
                if (ids.length > networkLimits.groupsPerInstance) throw tooManyGroups();
                if (ids.length === 0) {
                  throw failure("LastSecurityGroup", `instance ${instanceId} must be in one security group at least`, {
                    detail: { instanceId },
                  });
                }
                return [instanceId, ids];
              }),
            );
          }),
        ),
      () => failure("SecurityGroupNotFound", "one of the groups does not exist any more"),
    );
  }
}

function checkPolicies(policies: readonly Policy[]): void {
  const limit = networkLimits.policiesPerDirection;
  if (policies.length > limit) {
    throw failure("QuotaExceeded", `a security group may have ${limit} policies in one direction`, {
      detail: { quota: "policiesPerDirection", limit },
    });
  }
  if (hasDuplicate(policies)) throw failure("PolicyDuplicate", "the group would have the same policy twice");
}

/** Groups that policies name are of the group's own account. */
async function peersCheck(
  tx: Tx,
  accountId: Parameters<typeof securityGroupsCheck>[1],
  policies: readonly Policy[],
): Promise<void> {
  const named = policies.flatMap(({ peer }) => ("groupId" in peer ? [peer.groupId] : []));
  await securityGroupsCheck(tx.db, accountId, [...new Set(named)]);
}
