/** Names of a VPC's instances, as lines of a hosts file: pure. */
import type { Peer } from "../../api/agent.ts";
import { isHostname } from "../../core/names.ts";
import type { VpcPlan } from "./plan.ts";

/** Each name under the VPC's suffix, and by itself where it has no dot: what a guest in the VPC may type. */
export function hostsFile(vpc: VpcPlan, peers: readonly Peer[]): string {
  const subnets = new Set(vpc.subnets.map(({ id }) => id));
  const lines = new Set<string>();
  for (const { subnetId, ip, name, vtep } of peers) {
    if (vtep === null || name === null || !subnets.has(subnetId) || !isHostname(name)) continue;
    const lower = name.toLowerCase();
    lines.add(`${ip} ${lower}.${vpc.domain}${lower.includes(".") ? "" : ` ${lower}`}\n`);
  }
  return [...lines].toSorted().join("");
}
