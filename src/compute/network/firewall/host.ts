/**
 * The host's own table: security groups where frames cross a subnet's bridge, and the way between routers and the outside.
 *
 * A bridge's IPv4 frames pass these hooks because it says so (nf_call_iptables, for our bridges only); what is seen there is the
 * bridge and the addresses, not the tap. That is enough, because anti-spoofing (taps.ts) has made the address as good as the tap.
 * The chains that decide end with a verdict for their own hook: a frame between two guests of one host passes the sender's
 * rules and then the receiver's.
 *
 * What a guest cannot do without is not asked of its groups: address, names, and the metadata service.
 */
import type { Peer, WantedSecurityGroup } from "../../../api/agent.ts";
import type { SecurityGroupId, SubnetId, VpcId } from "../../../lib/ids.ts";
import { metadataAddresses, transitRange } from "../names.ts";
import type { GuestNic, NetworkPlan } from "../plan.ts";
import { groupChain, membersName, profileChain, profileName, type Side } from "./groups.ts";
import { mapOf, setOf, type NftChain, type NftSet, type NftTable } from "./table.ts";

export const hostTableName = "vstation";

export interface FilterInput {
  readonly plan: NetworkPlan;
  readonly groups: readonly WantedSecurityGroup[];
  readonly peers: readonly Peer[];
  readonly nics: readonly GuestNic[];
}

export function hostTable(input: FilterInput): NftTable {
  const { plan } = input;
  const chains = new Map<string, NftChain>(baseChains());
  const sets = new Map<string, NftSet>();
  const zones = plan.subnets.map(({ bridge, zone }) => [`"${bridge}"`, String(zone)] as const);
  sets.set("zones", { ...mapOf("ifname : mark", zones), declaration: "typeof iifname : ct zone ;" });
  const gateways = plan.subnets.map(({ bridge, gateway }) => `"${bridge}" . ${gateway.split("/")[0] ?? ""}`);
  sets.set("gateways", setOf("ifname . ipv4_addr", gateways));
  addGroups(input, chains, sets);
  return { family: "inet", name: hostTableName, sets, chains };
}

function baseChains(): [string, NftChain][] {
  const metadata = metadataAddresses.join(", ");
  return [
    [
      "zones",
      {
        hook: "type filter hook prerouting priority -300 ; policy accept ;",
        rules: ["ct zone set iifname map @zones"],
      },
    ],
    [
      "guest-out",
      {
        hook: "type filter hook forward priority -10 ; policy accept ;",
        rules: [
          "iifname . ip daddr @gateways udp dport { 53, 67 } accept",
          "iifname . ip daddr @gateways tcp dport 53 accept",
          `ip daddr { ${metadata} } tcp dport 80 accept`,
          "iifname . ip saddr vmap @senders",
        ],
      },
    ],
    [
      "guest-in",
      {
        hook: "type filter hook forward priority -5 ; policy accept ;",
        rules: ["iifname . ip saddr @gateways udp sport 67 udp dport 68 accept", "iifname . ip daddr vmap @receivers"],
      },
    ],
    [
      "routers",
      {
        // Routers reach the outside, and each other's elastic addresses, but not each other.
        hook: "type filter hook forward priority 0 ; policy accept ;",
        rules: ['iifname != "up-*" accept', "ct state established,related accept", `ip daddr ${transitRange} drop`],
      },
    ],
    [
      "input",
      {
        // A host is no server for its guests.
        hook: "type filter hook input priority 0 ; policy accept ;",
        rules: ['iifname != "up-*" accept', "ct state established,related accept", "drop"],
      },
    ],
    [
      "postrouting",
      {
        hook: "type nat hook postrouting priority 100 ; policy accept ;",
        rules: [`ip saddr ${transitRange} oifname != "up-*" masquerade`],
      },
    ],
  ];
}

/** Chains of the groups that NICs here have, sets of the members that their rules name, and who is asked what. */
function addGroups(input: FilterInput, chains: Map<string, NftChain>, sets: Map<string, NftSet>): void {
  const { plan, peers, nics } = input;
  const known = new Map(input.groups.map((group) => [group.id, group]));
  const vpcOf = new Map(plan.vpcs.flatMap((vpc) => vpc.subnets.map((subnet) => [subnet.id, vpc.id] as const)));
  const bridgeOf = new Map(plan.subnets.map(({ id, bridge }) => [id, bridge]));
  const verdicts: Record<Side, [string, string][]> = { in: [], out: [] };
  const members = membership(peers, nics, vpcOf);
  for (const { subnetId, ip, groups } of nics) {
    const vpc = vpcOf.get(subnetId);
    const bridge = bridgeOf.get(subnetId);
    if (vpc === undefined || bridge === undefined) continue;
    for (const side of ["in", "out"] as const) {
      const profile = profileName(side, vpc, groups);
      verdicts[side].push([`"${bridge}" . ${ip}`, `jump ${profile}`]);
      if (chains.has(profile)) continue;
      chains.set(profile, profileChain(side, vpc, groups, known));
      for (const group of groups.flatMap((id) => known.get(id) ?? [])) {
        chains.set(...groupChain(side, vpc, group));
        for (const { peer } of side === "in" ? group.ingress : group.egress) {
          if (!("groupId" in peer)) continue;
          const name = membersName(vpc, peer.groupId);
          sets.set(name, setOf("ipv4_addr", members.get(name) ?? []));
        }
      }
    }
  }
  sets.set("senders", mapOf("ifname . ipv4_addr : verdict", verdicts.out));
  sets.set("receivers", mapOf("ifname . ipv4_addr : verdict", verdicts.in));
}

/** By the set's name: the addresses of a group's members in a VPC, those on this host included even before VStation says where they are. */
function membership(
  peers: readonly Peer[],
  nics: readonly GuestNic[],
  vpcOf: ReadonlyMap<SubnetId, VpcId>,
): Map<string, Set<string>> {
  const members = new Map<string, Set<string>>();
  const add = (subnet: SubnetId, ip: string, groups: readonly SecurityGroupId[]): void => {
    const vpc = vpcOf.get(subnet);
    if (vpc === undefined) return;
    for (const group of groups) {
      const name = membersName(vpc, group);
      let set = members.get(name);
      if (set === undefined) members.set(name, (set = new Set()));
      set.add(ip);
    }
  };
  for (const { subnetId, ip, groupIds, vtep } of peers) if (vtep !== null) add(subnetId, ip, groupIds);
  for (const { subnetId, ip, groups } of nics) add(subnetId, ip, groups);
  return members;
}
