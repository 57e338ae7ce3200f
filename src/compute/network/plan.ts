/**
 * What this host's network should be, derived from what VStation wants: pure data, compared with what is there by diff.ts.
 *
 * Each subnet is one bridge and one VXLAN device on every host. The bridge has the gateway's address and MAC, the same on every
 * host: a guest's gateway is always its own host. Nothing floods and nothing learns between hosts: the VXLAN device has no
 * default destination, learning is off, and every address of the subnet that lives elsewhere has three entries here, made from
 * `peers`: the VXLAN device's (MAC -> host), the bridge's (MAC -> VXLAN port), and a neighbour entry (IP -> MAC) from which the
 * bridge answers ARP itself (neigh_suppress), so that no broadcast has to cross the underlay.
 */
import type { Peer, WantedSubnet } from "../../api/agent.ts";
import type { InstanceId, SubnetId } from "../../lib/ids.ts";

export interface SubnetPlan {
  readonly id: SubnetId;
  readonly bridge: string;
  readonly vxlan: string;
  readonly vni: number;
  readonly mtu: number;
  readonly mac: string;
  /** Gateway address with prefix length. */
  readonly address: string;
  readonly cidr: string;
  /** By MAC: where it lives, and which address it answers for. */
  readonly remote: ReadonlyMap<string, { readonly vtep: string; readonly ip: string }>;
}

export interface NetworkPlan {
  readonly underlay: { readonly address: string; readonly device: string };
  readonly subnets: readonly SubnetPlan[];
  /** Destinations that see guests' own addresses. */
  readonly direct: readonly string[];
}

export function planNetwork(
  subnets: readonly WantedSubnet[],
  peers: readonly Peer[],
  config: { underlayAddress: string; underlayDevice: string; direct: readonly string[] },
): NetworkPlan {
  return {
    underlay: { address: config.underlayAddress, device: config.underlayDevice },
    direct: config.direct,
    subnets: subnets
      .map((subnet) => ({
        id: subnet.id,
        bridge: bridgeName(subnet.id),
        vxlan: vxlanName(subnet.id),
        vni: subnet.vni,
        mtu: subnet.mtu,
        mac: subnet.gatewayMac.toLowerCase(),
        address: `${subnet.gateway}/${prefixLength(subnet.cidr)}`,
        cidr: subnet.cidr,
        remote: new Map(
          peers.flatMap((peer) =>
            peer.subnetId !== subnet.id || peer.vtep === null || peer.vtep === config.underlayAddress
              ? []
              : [[peer.mac.toLowerCase(), { vtep: peer.vtep, ip: peer.ip }] as const],
          ),
        ),
      }))
      .toSorted((a, b) => a.id.localeCompare(b.id)),
  };
}

/* Interface names have 15 characters at most; the eight after the dash of an id are what is unique in it. */

const tail = (id: SubnetId | InstanceId): string => id.slice(id.indexOf("-") + 1);

export function bridgeName(id: SubnetId): string {
  return `br-${tail(id)}`;
}
export function vxlanName(id: SubnetId): string {
  return `vx-${tail(id)}`;
}
export function tapName(id: InstanceId, index: number): string {
  return `t${index}-${tail(id)}`;
}
/** Links of ours carry this alias; nothing without it is ever changed or removed. */
export const linkAlias = "vstation";

export function prefixLength(cidr: string): number {
  return Number(cidr.slice(cidr.indexOf("/") + 1));
}
