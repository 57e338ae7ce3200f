/** The use cases of networks, put together. */
import type { Network } from "../../cloud/network.ts";
import type { AppContext } from "../context.ts";
import { elasticAddresses } from "./elastic-addresses.ts";
import { natGateways, routeTables } from "./routes.ts";
import { securityGroups } from "./security-groups.ts";
import { subnets } from "./subnets.ts";
import { vpcs } from "./vpcs.ts";

export function network(context: AppContext): Network {
  return {
    vpcs: vpcs(context),
    subnets: subnets(context),
    routeTables: routeTables(context),
    natGateways: natGateways(context),
    securityGroups: securityGroups(context),
    elasticAddresses: elasticAddresses(context),
  };
}
