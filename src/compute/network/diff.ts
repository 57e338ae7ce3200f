/**
 * The commands that turn what the host's own namespace has into what is wanted: pure, empty when both agree, so it may run at any
 * time. It handles, too, what an earlier release left: a bridge that is the gateway itself.
 *
 * Guests must not notice: a bridge with the right name is repaired attribute by attribute, never made anew, because making it anew
 * drops every tap from it. Only a VXLAN device whose identity (VNI, local address, device) is wrong is replaced: it holds no
 * guest; and a cable to a router that is not there any more.
 */
import type { ActualLink, ActualNetwork } from "./actual.ts";
import { linkAlias, ourProtocol, uplinkInside } from "./names.ts";
import type { NetworkPlan, SubnetPlan, VpcPlan } from "./plan.ts";

export interface NetworkCommands {
  /** Lines for `ip -batch`, in order. */
  readonly ip: readonly string[];
  /** Lines for `bridge -batch`, after them. */
  readonly bridge: readonly string[];
  /** Elastic addresses that are this host's only now. */
  readonly arrived: readonly string[];
}

/** `inside`: the links in each namespace; one that is not named was not read, and is taken to be right. */
export function diffNetwork(
  plan: NetworkPlan,
  actual: ActualNetwork,
  inside: ReadonlyMap<string, ReadonlySet<string>>,
): NetworkCommands {
  const ip: string[] = [];
  const bridge: string[] = [];
  const arrived: string[] = [];
  const wanted = new Set(
    plan.subnets.flatMap((s) => [s.bridge, s.vxlan, s.port]).concat(plan.vpcs.map((v) => v.uplink)),
  );
  // A guest still hangs on a network that nobody knows: then every link that is not wanted is left as it is.
  if (!holdsStranger(plan, actual)) {
    for (const link of actual.links.values()) if (!wanted.has(link.name)) ip.push(`link del dev ${link.name}`);
  }
  for (const vpc of plan.vpcs) uplink(vpc, actual.links.get(vpc.uplink), inside.get(vpc.namespace), ip);
  for (const subnet of plan.subnets) {
    bridgeLink(subnet, actual.links.get(subnet.bridge), ip);
    const fresh = vxlanLink(plan, subnet, actual.links.get(subnet.vxlan), ip, bridge);
    portLink(subnet, actual, inside.get(subnet.namespace), ip, bridge);
    entries(subnet, actual, fresh, ip, bridge);
  }
  elastic(plan, actual, ip, arrived);
  return { ip, bridge, arrived };
}

/** A bridge of ours that is not wanted and has a guest's tap: bookkeeping cuts no guest off. */
export function holdsStranger(plan: NetworkPlan, actual: ActualNetwork): boolean {
  const bridges = new Set(plan.subnets.map(({ bridge }) => bridge));
  return [...actual.inUse].some((name) => actual.links.has(name) && !bridges.has(name));
}

function bridgeLink(subnet: SubnetPlan, is: ActualLink | undefined, ip: string[]): void {
  const name = subnet.bridge;
  if (is === undefined) {
    ip.push(
      `link add name ${name} address ${subnet.bridgeMac} mtu ${subnet.mtu} type bridge stp_state 0 mcast_snooping 0 nf_call_iptables 1`,
      `link set dev ${name} alias ${linkAlias}`,
      `link set dev ${name} addrgenmode none`,
    );
  } else {
    if (is.mac !== subnet.bridgeMac) ip.push(`link set dev ${name} address ${subnet.bridgeMac}`);
    if (is.mtu !== subnet.mtu) ip.push(`link set dev ${name} mtu ${subnet.mtu}`);
    if (!is.filtered) ip.push(`link set dev ${name} type bridge nf_call_iptables 1`);
    for (const address of is.addresses) ip.push(`addr del ${address} dev ${name}`);
  }
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
  if ((joined && is?.port?.hairpin === true) !== subnet.forwards) {
    bridge.push(`link set dev ${name} hairpin ${subnet.forwards ? "on" : "off"}`);
  }
  if (!same || !is.up) ip.push(`link set dev ${name} up`);
  return !same;
}

/** The cable from a bridge to its router; cut and made anew where its other end is not in the router. */
function portLink(
  subnet: SubnetPlan,
  actual: ActualNetwork,
  inside: ReadonlySet<string> | undefined,
  ip: string[],
  bridge: string[],
): void {
  const { port: name, gate, mtu, gatewayMac, namespace } = subnet;
  const is = actual.links.get(name);
  const whole = is !== undefined && (inside === undefined || inside.has(gate));
  if (!whole) {
    if (is) ip.push(`link del dev ${name}`);
    ip.push(
      `link add name ${name} mtu ${mtu} type veth peer name ${gate} address ${gatewayMac} mtu ${mtu} netns ${namespace}`,
      `link set dev ${name} alias ${linkAlias}`,
      `link set dev ${name} addrgenmode none`,
    );
  } else if (is.mtu !== mtu) {
    ip.push(`link set dev ${name} mtu ${mtu}`);
  }
  const joined = whole && is.master === subnet.bridge;
  if (!joined) ip.push(`link set dev ${name} master ${subnet.bridge}`);
  if (!whole || !is.up) ip.push(`link set dev ${name} up`);
  const macs = joined ? (actual.ports.get(name) ?? new Set<string>()) : new Set<string>();
  if (!macs.has(gatewayMac)) bridge.push(`fdb replace ${gatewayMac} dev ${name} master static`);
  for (const mac of macs) if (mac !== gatewayMac) bridge.push(`fdb del ${mac} dev ${name} master`);
}

function uplink(vpc: VpcPlan, is: ActualLink | undefined, inside: ReadonlySet<string> | undefined, ip: string[]): void {
  const { uplink: name, namespace } = vpc;
  const address = `${vpc.transit.host}/31`;
  const whole = is !== undefined && (inside === undefined || inside.has(uplinkInside));
  if (!whole) {
    if (is) ip.push(`link del dev ${name}`);
    ip.push(
      `link add name ${name} type veth peer name ${uplinkInside} netns ${namespace}`,
      `link set dev ${name} alias ${linkAlias}`,
      `link set dev ${name} addrgenmode none`,
    );
  }
  const addresses = whole ? is.addresses : [];
  for (const other of addresses) if (other !== address) ip.push(`addr del ${other} dev ${name}`);
  if (!addresses.includes(address)) ip.push(`addr add ${address} dev ${name}`);
  if (!whole || !is.up) ip.push(`link set dev ${name} up`);
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

/**
 * Elastic addresses: the host routes them to their VPC's router, which translates, and answers for them on the underlay. A route
 * into a link that goes away goes with it.
 */
function elastic(plan: NetworkPlan, actual: ActualNetwork, ip: string[], arrived: string[]): void {
  const { device } = plan.underlay;
  const wanted = new Map(plan.vpcs.flatMap((vpc) => [...vpc.answered].map((address) => [address, vpc] as const)));
  for (const { uplink: link } of plan.vpcs) {
    for (const address of actual.routes.get(link) ?? []) {
      if (wanted.get(address)?.uplink !== link) ip.push(`route del ${address}/32 dev ${link}`);
    }
  }
  for (const address of actual.proxied) if (!wanted.has(address)) ip.push(`neigh del proxy ${address} dev ${device}`);
  for (const [address, vpc] of wanted) {
    if (!(actual.routes.get(vpc.uplink)?.has(address) ?? false)) {
      ip.push(`route replace ${address}/32 via ${vpc.transit.router} dev ${vpc.uplink}`);
    }
    if (actual.proxied.has(address)) continue;
    ip.push(`neigh add proxy ${address} dev ${device} protocol ${ourProtocol}`);
    arrived.push(address);
  }
}
