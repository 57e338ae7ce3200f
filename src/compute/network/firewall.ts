/**
 * The nftables ruleset of this host, as one text that replaces our own tables in one transaction: a packet sees the old rules or
 * the new ones, and connections that are tracked keep their translation. Tables of others are never touched.
 */
import type { NetworkPlan } from "./plan.ts";

export const tableName = "vstation";

/** Everything for `nft -f`: the table is emptied and made anew in the same transaction. */
export function firewallRules(plan: NetworkPlan): string {
  const bridges = plan.subnets.map((s) => `"${s.bridge}"`).join(", ");
  return [
    `table inet ${tableName}`,
    `delete table inet ${tableName}`,
    `table inet ${tableName} {`,
    `\tchain postrouting {`,
    `\t\ttype nat hook postrouting priority srcnat; policy accept;`,
    ...plan.subnets.map((subnet) => {
      const own = [subnet.cidr, ...plan.direct, "224.0.0.0/4", "255.255.255.255/32"];
      return `\t\tip saddr ${subnet.cidr} ${own.map((cidr) => `ip daddr != ${cidr}`).join(" ")} masquerade`;
    }),
    `\t}`,
    // A host is no server for its guests, beyond addresses, names and an answer to ping.
    ...(plan.subnets.length === 0
      ? []
      : [
          `\tchain input {`,
          `\t\ttype filter hook input priority filter; policy accept;`,
          `\t\tiifname != { ${bridges} } accept`,
          `\t\tct state established,related accept`,
          `\t\tudp dport { 53, 67 } accept`,
          `\t\ttcp dport 53 accept`,
          `\t\tmeta l4proto icmp accept`,
          `\t\tdrop`,
          `\t}`,
        ]),
    `}`,
    ``,
  ].join("\n");
}
