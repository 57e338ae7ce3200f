/**
 * Anti-spoofing, where a frame leaves a guest and where one would reach it: a table of the bridge family.
 *
 * From a tap comes only what its owner may say: its MAC, its address, ARP that speaks for itself, and a client's DHCP request. No
 * other protocol (IPv6 among them), no DHCP server, nothing for the host's own stack. To a tap goes only what is for its address.
 * A tap that is not known yet may say nothing: so the order in which a guest and its entries come does not matter.
 */
import { tapPatterns } from "../names.ts";
import type { GuestNic } from "../plan.ts";
import { setOf, type NftTable } from "./table.ts";

export const bridgeTable = "vstation";

export function tapTable(nics: readonly GuestNic[]): NftTable {
  const taps = tapPatterns.map((pattern) => `"${pattern}"`).join(", ");
  return {
    family: "bridge",
    name: bridgeTable,
    sets: new Map([
      [
        "macs",
        setOf(
          "ifname . ether_addr",
          nics.map(({ tap, mac }) => `"${tap}" . ${mac}`),
        ),
      ],
      [
        "sources",
        setOf(
          "ifname . ether_addr . ipv4_addr",
          nics.map(({ tap, mac, ip }) => `"${tap}" . ${mac} . ${ip}`),
        ),
      ],
      [
        "targets",
        setOf(
          "ifname . ipv4_addr",
          nics.map(({ tap, ip }) => `"${tap}" . ${ip}`),
        ),
      ],
    ]),
    chains: new Map([
      [
        "prerouting",
        {
          // Before the bridge learns who is where, and before frames pass the IP rules.
          hook: "type filter hook prerouting priority -300 ; policy accept ;",
          rules: [`iifname { ${taps} } jump from-tap`],
        },
      ],
      [
        "from-tap",
        {
          hook: null,
          rules: [
            "iifname . ether saddr != @macs drop",
            "iifname . arp saddr ether . arp saddr ip @sources accept",
            // Asking whether an address is free: about nobody.
            "arp saddr ip 0.0.0.0 iifname . arp saddr ether @macs accept",
            "ether type ip udp sport 67 drop",
            "iifname . ether saddr . ip saddr @sources accept",
            "ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept",
            "drop",
          ],
        },
      ],
      [
        "input",
        {
          // The host has no address on a subnet's bridge; whoever sends to the bridge itself wants to get past its router.
          hook: "type filter hook input priority 0 ; policy accept ;",
          rules: [`iifname { ${taps}, "rp-*", "vx-*" } drop`],
        },
      ],
      [
        "forward",
        {
          hook: "type filter hook forward priority 0 ; policy accept ;",
          rules: [`oifname { ${taps} } jump to-tap`],
        },
      ],
      [
        "to-tap",
        {
          hook: null,
          rules: [
            "ether type arp accept",
            "oifname . ip daddr @targets accept",
            'iifname "rp-*" ip daddr 255.255.255.255 udp sport 67 udp dport 68 accept',
            "drop",
          ],
        },
      ],
    ]),
  };
}
