/**
 * What links, namespaces and addresses of ours are called. Interface names have 15 characters at most; the eight after the dash of
 * an id are what is unique in it.
 */
import type { InstanceId, SubnetId, VpcId } from "../../lib/ids.ts";

/** The part of an id that is its own. */
export const tail = (id: string): string => id.slice(id.indexOf("-") + 1);

export const bridgeName = (id: SubnetId): string => `br-${tail(id)}`;
export const vxlanName = (id: SubnetId): string => `vx-${tail(id)}`;
/** The bridge's port towards the router, and the router's end of that cable. */
export const portName = (id: SubnetId): string => `rp-${tail(id)}`;
export const gateName = (id: SubnetId): string => `gw-${tail(id)}`;
export const tapName = (id: InstanceId, index: number): string => `t${index}-${tail(id)}`;
/** As many NICs as an instance can have. */
export const tapPatterns: readonly string[] = Array.from({ length: 8 }, (_, index) => `t${index}-*`);

export const namespacePrefix = "vstation-";
export const namespaceName = (id: VpcId): string => `${namespacePrefix}${tail(id)}`;
/** Where `ip netns` keeps its namespaces. */
export const namespaceFile = (name: string): string => `/run/netns/${name}`;
/** The host's end of a VPC's way out; the other end, in the namespace, is `uplink`. */
export const uplinkName = (id: VpcId): string => `up-${tail(id)}`;
export const uplinkInside = "uplink";

/** Links of ours carry this alias; nothing without it is ever changed or removed. */
export const linkAlias = "vstation";

/** What links carry as alias, proxy entries and routes carry as protocol. */
export const ourProtocol = 118;

/** Both are the metadata service, in every VPC. */
export const metadataAddresses: readonly string[] = ["169.254.0.23", "169.254.169.254"];

/** Between a host and its routers: a pair of addresses for each slot. */
export const transitRange = "169.254.192.0/18";
export const slotCount = 8192;

/** The pair of a slot: the host's end and the router's. */
export function transitOf(slot: number): { host: string; router: string } {
  const address = (last: number): string => `169.254.${192 + (last >> 8)}.${last & 255}`;
  return { host: address(2 * slot), router: address(2 * slot + 1) };
}

export function prefixLength(cidr: string): number {
  return Number(cidr.slice(cidr.indexOf("/") + 1));
}
