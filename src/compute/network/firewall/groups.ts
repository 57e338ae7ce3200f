/**
 * Security groups as chains. Two chains for each group and VPC (in and out), whose rules decide in their order; and for each list
 * of groups that a NIC has, two chains that ask its groups one after the other and drop what none of them decides.
 *
 * Stateful by direction and not by state alone: replies pass, but what comes in the direction in which a connection was begun is
 * asked of the rules each time. So a rule that closes a port closes it for connections that are there, too, while those
 * that are still admitted notice nothing.
 */
import type { SecurityRule, WantedSecurityGroup } from "../../../api/agent.ts";
import type { SecurityGroupId, VpcId } from "../../../lib/ids.ts";
import { tail } from "../names.ts";
import type { NftChain } from "./table.ts";

export type Side = "in" | "out";

/** Members of a group within a VPC: a set of addresses. */
export const membersName = (vpc: VpcId, group: SecurityGroupId): string => `members.${tail(vpc)}.${tail(group)}`;

const groupName = (side: Side, vpc: VpcId, group: SecurityGroupId): string => `${side}.${tail(vpc)}.${tail(group)}`;

/** The chain for a NIC with these groups. */
export const profileName = (side: Side, vpc: VpcId, groups: readonly SecurityGroupId[]): string =>
  ["nic", side, tail(vpc), groups.map(tail).join("_")].join(".");

export function profileChain(
  side: Side,
  vpc: VpcId,
  groups: readonly SecurityGroupId[],
  known: ReadonlyMap<SecurityGroupId, WantedSecurityGroup>,
): NftChain {
  return {
    hook: null,
    rules: [
      "ct state vmap { invalid : drop, related : accept }",
      "ct state established ct direction reply accept",
      // A group that nobody has described admits nothing.
      ...groups.filter((group) => known.has(group)).map((group) => `jump ${groupName(side, vpc, group)}`),
      "drop",
    ],
  };
}

export function groupChain(
  side: Side,
  vpc: VpcId,
  group: WantedSecurityGroup,
): readonly [name: string, chain: NftChain] {
  const rules = (side === "in" ? group.ingress : group.egress).map((rule) => ruleText(side, vpc, rule));
  return [groupName(side, vpc, group.id), { hook: null, rules }];
}

function ruleText(side: Side, vpc: VpcId, rule: SecurityRule): string {
  return [...peer(side, vpc, rule), ...what(rule), rule.action].join(" ");
}

function peer(side: Side, vpc: VpcId, rule: SecurityRule): string[] {
  const other = side === "in" ? "ip saddr" : "ip daddr";
  if ("groupId" in rule.peer) return [`${other} @${membersName(vpc, rule.peer.groupId)}`];
  return rule.peer.cidr.endsWith("/0") ? [] : [`${other} ${rule.peer.cidr}`];
}

function what({ protocol, ports }: SecurityRule): string[] {
  if (protocol === "all") return [];
  if (ports === null || (protocol !== "tcp" && protocol !== "udp")) return [`meta l4proto ${protocol}`];
  return [`${protocol} dport { ${disjoint(ports).join(", ")} }`];
}

/** nftables refuses ranges that overlap. */
function disjoint(ranges: readonly { from: number; to: number }[]): string[] {
  const merged: { from: number; to: number }[] = [];
  for (const { from, to } of ranges.toSorted((a, b) => a.from - b.from)) {
    const last = merged.at(-1);
    if (last !== undefined && from <= last.to + 1) last.to = Math.max(last.to, to);
    else merged.push({ from, to });
  }
  return merged.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`));
}
