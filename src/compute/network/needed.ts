/**
 * What this host's instances need of the network: all that VStation names, and of what it does not name any more whatever an
 * instance that lies here still uses. Bookkeeping cuts no guest off. Pure.
 */
import type { WantedNetwork } from "../wanted/store.ts";
import type { GuestNic } from "./plan.ts";

export function neededNetwork(before: WantedNetwork, wanted: WantedNetwork, nics: readonly GuestNic[]): WantedNetwork {
  const used = new Set<string>(nics.flatMap(({ subnetId, groups }) => [subnetId, ...groups]));
  const subnets = merged(before.subnets, wanted.subnets, used);
  return {
    subnets,
    vpcs: merged(before.vpcs, wanted.vpcs, new Set<string>(subnets.map(({ vpcId }) => vpcId))),
    securityGroups: merged(before.securityGroups, wanted.securityGroups, used),
  };
}

function merged<T extends { readonly id: string }>(
  before: readonly T[],
  wanted: readonly T[],
  used: ReadonlySet<string>,
): T[] {
  const named = new Set(wanted.map(({ id }) => id));
  return [...wanted, ...before.filter(({ id }) => used.has(id) && !named.has(id))];
}
