/** Security groups and their rules: the thin part between the wire and the use cases, which call rules policies. */
import type {
  SecurityGroupRulesWire,
  SecurityGroupWire,
  SecurityRuleRequest,
  SecurityRuleWire,
} from "../../../api/native/security-groups.ts";
import type { Policy } from "../../../core/security-policy.ts";
import type { SecurityGroupId } from "../../../lib/ids.ts";
import type { AnyCaller } from "../../cloud.ts";
import type { PolicySet, SecurityGroups, SecurityGroupView } from "../../cloud/network.ts";
import { defined, narrowed, oneOf, type Calls } from "../call.ts";

export const securityCalls: Calls<
  | "securityGroupList"
  | "securityGroupGet"
  | "securityGroupCreate"
  | "securityGroupModify"
  | "securityGroupAddRules"
  | "securityGroupRemoveRules"
  | "securityGroupDelete"
> = {
  async securityGroupList({ cloud }, { query, operator }) {
    const { total, items } = await cloud.network.securityGroups.list(operator, ...narrowed(query));
    return { total, securityGroups: items.map(groupAnswer) };
  },

  async securityGroupGet({ cloud }, { params, operator }) {
    return rulesAnswer(cloud.network.securityGroups, operator, params.id);
  },

  async securityGroupCreate({ cloud }, { request, owner }) {
    return groupAnswer(await cloud.network.securityGroups.create(owner, request));
  },

  async securityGroupModify({ cloud }, { params: { id }, request, operator }) {
    const { securityGroups } = cloud.network;
    await securityGroups.modify(operator, id, defined(request));
    return groupAnswer(await oneOf("securityGroup", id, securityGroups, operator));
  },

  async securityGroupAddRules({ cloud }, { params: { id }, request, operator }) {
    const { direction, rules, position, version } = request;
    const { securityGroups } = cloud.network;
    await securityGroups.addPolicies(operator, id, { direction, policies: rules.map(policyOf), position, version });
    return rulesAnswer(securityGroups, operator, id);
  },

  async securityGroupRemoveRules({ cloud }, { params: { id }, request, operator }) {
    const { direction, rules, version } = request;
    const { securityGroups } = cloud.network;
    await securityGroups.removePolicies(operator, id, {
      direction,
      which: { policies: rules.map(policyOf) },
      version,
    });
    return rulesAnswer(securityGroups, operator, id);
  },

  async securityGroupDelete({ cloud }, { params, operator }) {
    await cloud.network.securityGroups.delete(operator, params.id);
    return {};
  },
};

function policyOf({ peer, ...rule }: SecurityRuleRequest): Policy {
  return { ...rule, peer: "cidr" in peer ? peer : { groupId: peer.securityGroupId } };
}

function ruleAnswer(policy: PolicySet["ingress"][number]): SecurityRuleWire {
  const { action, protocol, ports, peer, description, modifiedAt } = policy;
  return {
    action,
    protocol,
    ports: ports === null ? null : ports.map(({ from, to }) => ({ from, to })),
    peer: "cidr" in peer ? { cidr: peer.cidr } : { securityGroupId: peer.groupId },
    description,
    modifiedAt: modifiedAt.toISOString(),
  };
}

function groupAnswer(view: SecurityGroupView): SecurityGroupWire {
  const { id, accountId, name, description, isDefault, tags, createdAt, updatedAt } = view;
  return {
    id,
    accountId,
    name,
    description,
    isDefault,
    tags: { ...tags },
    createdAt: createdAt.toISOString(),
    updatedAt: updatedAt.toISOString(),
  };
}

async function rulesAnswer(
  groups: SecurityGroups,
  caller: AnyCaller,
  id: SecurityGroupId,
): Promise<SecurityGroupRulesWire> {
  const view = await oneOf("securityGroup", id, groups, caller);
  const { version, ingress, egress } = await groups.policies(caller, id);
  const [uses] = await groups.uses(caller, [id]);
  return {
    ...groupAnswer(view),
    version,
    ingress: ingress.map(ruleAnswer),
    egress: egress.map(ruleAnswer),
    uses: { instances: uses?.instances ?? 0, groups: uses?.groups ?? 0 },
  };
}
