/**
 * The commands that turn what the kernel has into what is wanted: pure, empty when both agree, so it may run at any time.
 *
 * Guests must not notice: a bridge with the right name is repaired attribute by attribute, never made anew, because making it anew
 * drops every tap from it. Only a VXLAN device whose identity (VNI, local address, device) is wrong is replaced: it holds no guest.
 */
import type { ActualLink, ActualNetwork } from "./actual.ts";
import { linkAlias, type NetworkPlan, type SubnetPlan } from "./plan.ts";

export interface NetworkCommands {
  /** Lines for `ip -batch`, in order. */
  readonly ip: readonly string[];
  /** Lines for `bridge -batch`, after them. */
  readonly bridge: readonly string[];
}

export function diffNetwork(plan: NetworkPlan, actual: ActualNetwork): NetworkCommands {
  const ip: string[] = [];
  const bridge: string[] = [];
  const wantedLinks = new Set(plan.subnets.flatMap((s) => [s.bridge, s.vxlan]));
  for (const link of actual.links.values()) {
    if (!wantedLinks.has(link.name)) ip.push(`link del dev ${link.name}`);
  }
  for (const subnet of plan.subnets) {
    bridgeLink(subnet, actual.links.get(subnet.bridge), ip);
    const fresh = vxlanLink(plan, subnet, actual.links.get(subnet.vxlan), ip, bridge);
    entries(subnet, actual, fresh, ip, bridge);
  }
  return { ip, bridge };
}

function bridgeLink(subnet: SubnetPlan, is: ActualLink | undefined, ip: string[]): void {
  const name = subnet.bridge;
  if (is === undefined) {
    ip.push(
      `link add name ${name} address ${subnet.mac} mtu ${subnet.mtu} type bridge stp_state 0 mcast_snooping 0`,
      `link set dev ${name} alias ${linkAlias}`,
      `link set dev ${name} addrgenmode none`,
    );
  } else {
    if (is.mac !== subnet.mac) ip.push(`link set dev ${name} address ${subnet.mac}`);
    if (is.mtu !== subnet.mtu) ip.push(`link set dev ${name} mtu ${subnet.mtu}`);
    for (const address of is.addresses) if (address !== subnet.address) ip.push(`addr del ${address} dev ${name}`);
  }
  if (!is?.addresses.includes(subnet.address)) ip.push(`addr add ${subnet.address} dev ${name}`);
  if (!is?.up) ip.push(`link set dev ${name} up`);
}

/** True if the device is new, with no entry in it. */
function vxlanLink(
  plan: NetworkPlan,
  subnet: SubnetPlan,
  is: ActualLink | undefined,
  ip: string[],
  bridge: string[],
): boolean {
  const name = subnet.vxlan;
  const { address, device } = plan.underlay;
  const same =
    is !== undefined &&
    is.vxlan !== null &&
    is.vxlan.id === subnet.vni &&
    is.vxlan.local === address &&
    is.vxlan.device === device &&
    !is.vxlan.learning;
  if (!same) {
    if (is) ip.push(`link del dev ${name}`);
    ip.push(
      `link add name ${name} mtu ${subnet.mtu} type vxlan id ${subnet.vni} local ${address} dev ${device} dstport 4789 nolearning`,
      `link set dev ${name} alias ${linkAlias}`,
      `link set dev ${name} addrgenmode none`,
    );
  } else if (is.mtu !== subnet.mtu) {
    ip.push(`link set dev ${name} mtu ${subnet.mtu}`);
  }
  const joined = same && is.master === subnet.bridge;
  if (!joined) ip.push(`link set dev ${name} master ${subnet.bridge}`);
  if (!joined || is?.port?.learning !== false || !is.port.neighSuppress) {
    bridge.push(`link set dev ${name} learning off neigh_suppress on`);
  }
  if (!same || !is.up) ip.push(`link set dev ${name} up`);
  return !same;
}

function entries(subnet: SubnetPlan, actual: ActualNetwork, fresh: boolean, ip: string[], bridge: string[]): void {
  const { vxlan } = subnet;
  const tunnels = fresh ? new Map<string, string>() : (actual.tunnels.get(vxlan) ?? new Map<string, string>());
  const ports = fresh ? new Set<string>() : (actual.ports.get(vxlan) ?? new Set<string>());
  const neighbours = actual.neighbours.get(subnet.bridge) ?? new Map<string, string>();
  for (const [mac, vtep] of tunnels) {
    if (subnet.remote.get(mac)?.vtep !== vtep) bridge.push(`fdb del ${mac} dev ${vxlan} dst ${vtep} self`);
  }
  for (const mac of ports) if (!subnet.remote.has(mac)) bridge.push(`fdb del ${mac} dev ${vxlan} master`);
  const byIp = new Map([...subnet.remote].map(([mac, { ip: address }]) => [address, mac]));
  for (const address of neighbours.keys()) {
    if (!byIp.has(address)) ip.push(`neigh del ${address} dev ${subnet.bridge}`);
  }
  for (const [mac, { vtep }] of subnet.remote) {
    if (tunnels.get(mac) !== vtep) bridge.push(`fdb replace ${mac} dev ${vxlan} dst ${vtep} self permanent`);
    if (!ports.has(mac)) bridge.push(`fdb replace ${mac} dev ${vxlan} master static`);
  }
  for (const [address, mac] of byIp) {
    if (neighbours.get(address) !== mac) {
      ip.push(`neigh replace ${address} lladdr ${mac} dev ${subnet.bridge} nud permanent`);
    }
  }
}
