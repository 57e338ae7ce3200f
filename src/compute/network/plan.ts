/**
 * What this host's network should be, derived from what VStation wants: pure data, compared with what is there by diff.ts (the
 * host's own namespace) and router.ts (a VPC's).
 *
 *   guest's tap ── br-SUBNET ── vx-SUBNET ··· the same subnet on other hosts
 *                      │ rp-SUBNET
 *   ───────────────────┼──────────────────────────────────────── namespace vstation-VPC: the router
 *                      │ gw-SUBNET (the gateway's address and MAC)      uplink ── up-VPC ── the host's own way out
 *
 * Each subnet is one bridge and one VXLAN device on every host. Each VPC is one namespace on every host: a router between the
 * VPC's subnets and towards the outside, with the same addresses and MACs everywhere, so a guest's gateway is always its own
 * host. What is in a namespace knows nothing of another's addresses; two VPCs may use the same ranges.
 *
 * Nothing floods and nothing learns between hosts: the VXLAN device has no default destination, learning is off, and every address
 * of the subnet that lives elsewhere has three entries here, made from `peers`: the VXLAN device's (MAC -> host), the bridge's
 * (MAC -> VXLAN port), and a neighbour entry (IP -> MAC) from which the bridge answers ARP itself (neigh_suppress), the
 * router's questions included.
 */
import type { InstanceSpec, Peer, WantedSubnet } from "../../api/agent.ts";
import type { InstanceId, SecurityGroupId, SubnetId, VpcId } from "../../lib/ids.ts";
import type { WantedNetwork } from "../wanted/store.ts";
import type { Place } from "./places.ts";
import {
  bridgeName,
  gateName,
  namespaceName,
  portName,
  prefixLength,
  tapName,
  transitOf,
  uplinkName,
  vxlanName,
} from "./names.ts";

export interface SubnetPlan {
  readonly id: SubnetId;
  readonly namespace: string;
  readonly bridge: string;
  /** The bridge's own, which no packet is ever sent to. */
  readonly bridgeMac: string;
  readonly vxlan: string;
  readonly port: string;
  readonly gate: string;
  readonly vni: number;
  readonly mtu: number;
  readonly gateway: string;
  readonly gatewayMac: string;
  readonly cidr: string;
  readonly egress: WantedSubnet["egress"];
  /** Upstream name servers; empty: the host's. */
  readonly dns: readonly string[];
  /** Tracked connections of one subnet are told from another's that has the same addresses. */
  readonly zone: number;
  /** By MAC: where it lives, and which address it answers for. */
  readonly remote: ReadonlyMap<string, { readonly vtep: string; readonly ip: string }>;
  /** A guest has left from here, and what still comes for it by VXLAN goes back out there. */
  readonly forwards: boolean;
}

export interface VpcPlan {
  readonly id: VpcId;
  readonly namespace: string;
  readonly uplink: string;
  readonly transit: { readonly host: string; readonly router: string };
  readonly cidrs: readonly string[];
  readonly domain: string;
  readonly subnets: readonly SubnetPlan[];
  /** Elastic addresses of instances on this host, or on their way to it, -> their own: what the router translates. */
  readonly elastic: ReadonlyMap<string, string>;
  /** Those of instances that are here: what the host answers for on the underlay. */
  readonly answered: ReadonlySet<string>;
}

export interface NetworkPlan {
  readonly underlay: { readonly address: string; readonly device: string };
  readonly vpcs: readonly VpcPlan[];
  readonly subnets: readonly SubnetPlan[];
}

/** One NIC of an instance on this host. */
export interface GuestNic {
  readonly instance: InstanceId;
  readonly index: number;
  readonly tap: string;
  readonly mac: string;
  readonly ip: string;
  readonly subnetId: SubnetId;
  readonly groups: readonly SecurityGroupId[];
  readonly elasticIp: string | null;
  readonly place: Place;
}

export function guestNics(
  guests: Iterable<readonly [InstanceId, InstanceSpec]>,
  places: ReadonlyMap<InstanceId, Place>,
): GuestNic[] {
  return [...guests].flatMap(([instance, spec]) =>
    spec.nics.map((nic, index) => ({
      instance,
      index,
      tap: tapName(instance, index),
      mac: nic.mac.toLowerCase(),
      ip: nic.ip,
      subnetId: nic.subnetId,
      groups: nic.securityGroupIds,
      elasticIp: nic.elasticIp,
      place: places.get(instance) ?? { is: "here" },
    })),
  );
}

export interface PlanInput {
  readonly network: WantedNetwork;
  readonly peers: readonly Peer[];
  readonly nics: readonly GuestNic[];
  readonly slots: ReadonlyMap<string, number>;
  readonly underlay: { readonly address: string; readonly device: string };
}

export function planNetwork(input: PlanInput): NetworkPlan {
  const { network, nics, slots, underlay } = input;
  const remote = remoteBySubnet(input);
  const forwards = new Set(nics.flatMap(({ place, subnetId }) => (place.is === "gone" ? [subnetId] : [])));
  const vpcs = network.vpcs
    .map((vpc): VpcPlan => {
      const subnets = network.subnets
        .filter((subnet) => subnet.vpcId === vpc.id)
        .map((subnet) => ({
          ...planSubnet(subnet, slots.get(subnet.id) ?? 0, remote.get(subnet.id) ?? new Map()),
          forwards: forwards.has(subnet.id),
        }))
        .toSorted((a, b) => a.id.localeCompare(b.id));
      const ids = new Set(subnets.map(({ id }) => id));
      const elastic = nics.flatMap(({ ip, elasticIp, subnetId, place }) =>
        elasticIp !== null && ids.has(subnetId) && place.is !== "gone" ? [{ elasticIp, ip, place }] : [],
      );
      return {
        id: vpc.id,
        namespace: namespaceName(vpc.id),
        uplink: uplinkName(vpc.id),
        transit: transitOf(slots.get(vpc.id) ?? 0),
        cidrs: vpc.cidrs,
        domain: vpc.domain,
        subnets,
        elastic: new Map(
          elastic.map(({ elasticIp, ip }) => [elasticIp, ip] as const).toSorted(([a], [b]) => a.localeCompare(b)),
        ),
        answered: new Set(elastic.flatMap(({ elasticIp, place }) => (place.is === "coming" ? [] : [elasticIp]))),
      };
    })
    .filter(({ subnets }) => subnets.length > 0)
    .toSorted((a, b) => a.id.localeCompare(b.id));
  return { underlay, vpcs, subnets: vpcs.flatMap(({ subnets }) => subnets) };
}

function remoteBySubnet({
  peers,
  nics,
  underlay,
}: PlanInput): Map<SubnetId, Map<string, { vtep: string; ip: string }>> {
  const all = new Map<SubnetId, Map<string, { vtep: string; ip: string }>>();
  const of = (subnetId: SubnetId): Map<string, { vtep: string; ip: string }> => {
    let remote = all.get(subnetId);
    if (remote === undefined) all.set(subnetId, (remote = new Map()));
    return remote;
  };
  for (const { subnetId, mac, ip, vtep } of peers) {
    if (vtep !== null && vtep !== underlay.address) of(subnetId).set(mac.toLowerCase(), { vtep, ip });
  }
  // Of one that moves this host knows more than its peers say yet.
  for (const { subnetId, mac, ip, place } of nics) {
    if (place.is === "arrived") of(subnetId).delete(mac);
    if (place.is === "gone") of(subnetId).set(mac, { vtep: place.vtep, ip });
  }
  return all;
}

function planSubnet(subnet: WantedSubnet, slot: number, remote: SubnetPlan["remote"]): Omit<SubnetPlan, "forwards"> {
  return {
    id: subnet.id,
    namespace: namespaceName(subnet.vpcId),
    bridge: bridgeName(subnet.id),
    bridgeMac: `0e:76:73:00:${hex(slot >> 8)}:${hex(slot & 255)}`,
    vxlan: vxlanName(subnet.id),
    port: portName(subnet.id),
    gate: gateName(subnet.id),
    vni: subnet.vni,
    mtu: subnet.mtu,
    gateway: `${subnet.gateway}/${prefixLength(subnet.cidr)}`,
    gatewayMac: subnet.gatewayMac.toLowerCase(),
    cidr: subnet.cidr,
    egress: subnet.egress,
    dns: subnet.dns.filter((server) => server !== subnet.gateway),
    zone: slot,
    remote,
  };
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
