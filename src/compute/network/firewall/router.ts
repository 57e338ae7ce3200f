/**
 * A router's table, in its VPC's namespace: what its guests may ask of it, and translation on the way out. Inside the VPC
 * nothing is translated, and nothing tracked: who may talk to whom is decided at the guests' bridges (host.ts).
 *
 * The connections that are tracked here keep their translation over a replacement of the table.
 */
import { ipToNumber } from "../../../core/addresses.ts";
import { metadataAddresses, prefixLength, uplinkInside } from "../names.ts";
import type { VpcPlan } from "../plan.ts";
import { mapOf, setOf, type NftTable } from "./table.ts";

export function routerTable(vpc: VpcPlan): NftTable {
  const inside = outermost([...vpc.cidrs, ...vpc.subnets.map(({ cidr }) => cidr)]).join(", ");
  const up = `"${uplinkInside}"`;
  const metadata = metadataAddresses.join(", ");
  return {
    family: "inet",
    name: "vstation",
    sets: new Map([
      ["arrivals", mapOf("ipv4_addr : ipv4_addr", vpc.elastic)],
      [
        "departures",
        mapOf(
          "ipv4_addr : ipv4_addr",
          [...vpc.elastic].map(([elastic, own]) => [own, elastic] as const),
        ),
      ],
      ["elastic", setOf("ipv4_addr", vpc.elastic.values())],
      [
        "routed",
        setOf(
          "ifname",
          vpc.subnets.filter(({ egress }) => egress === "host").map(({ gate }) => `"${gate}"`),
        ),
      ],
    ]),
    chains: new Map([
      [
        "raw",
        {
          hook: "type filter hook prerouting priority -300 ; policy accept ;",
          rules: [`iifname "gw-*" ip saddr { ${inside} } ip daddr { ${inside} } fib daddr type != local notrack`],
        },
      ],
      [
        "prerouting",
        {
          hook: "type nat hook prerouting priority -100 ; policy accept ;",
          rules: [`iifname ${up} dnat ip to ip daddr map @arrivals`],
        },
      ],
      [
        "forward",
        {
          hook: "type filter hook forward priority 0 ; policy accept ;",
          rules: [
            `iifname != ${up} oifname != ${up} accept`,
            "ct state established,related accept",
            // From outside only what was translated: routers of one host share no range that could be guessed.
            `iifname ${up} ct status dnat accept`,
            `iifname ${up} drop`,
            "iifname != @routed ip saddr != @elastic drop",
          ],
        },
      ],
      [
        "input",
        {
          hook: "type filter hook input priority 0 ; policy accept ;",
          rules: [
            'iifname "lo" accept',
            "ct state established,related accept",
            `iifname ${up} drop`,
            "udp dport { 53, 67 } accept",
            "tcp dport 53 accept",
            `ip daddr { ${metadata} } tcp dport 80 accept`,
            "meta l4proto icmp accept",
            "drop",
          ],
        },
      ],
      [
        "postrouting",
        {
          hook: "type nat hook postrouting priority 100 ; policy accept ;",
          rules: [`oifname ${up} snat ip to ip saddr map @departures`, `oifname ${up} masquerade`],
        },
      ],
    ]),
  };
}

/** Without those that lie within another: nftables refuses ranges that overlap. */
function outermost(cidrs: readonly string[]): string[] {
  const kept: string[] = [];
  for (const cidr of cidrs.toSorted((a, b) => prefixLength(a) - prefixLength(b))) {
    if (!kept.some((wider) => contains(wider, cidr))) kept.push(cidr);
  }
  return kept;
}

function contains(wider: string, cidr: string): boolean {
  const size = 2 ** (32 - prefixLength(wider));
  const block = (text: string): number => Math.floor(ipToNumber(text.split("/")[0] ?? "") / size);
  return block(wider) === block(cidr);
}
