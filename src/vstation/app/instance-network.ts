/** Which subnet and which groups an instance is to get, and whether the addresses that it asks for are ones it may have. */
import { ipToNumber, usableRange } from "../../core/addresses.ts";
import { failure } from "../../core/failure-codes.ts";
import { networkLimits } from "../../core/network-limits.ts";
import type { SecurityGroupId } from "../../lib/ids.ts";
import type { Caller, InstanceRunRequest } from "../cloud.ts";
import type { SubnetRow } from "../store/schema-network.ts";
import { defaultSubnet } from "../store/network-seed.ts";
import { securityGroupDefault, securityGroupDefaultFind, securityGroupsCheck } from "../store/security-groups.ts";
import { subnetFind, subnetNotFound } from "../store/subnets.ts";
import { vpcList, vpcNotFound } from "../store/vpcs.ts";
import type { AppContext } from "./context.ts";

export interface InstanceNetwork {
  subnet: SubnetRow;
  securityGroupIds: SecurityGroupId[];
}

type Asked = Pick<InstanceRunRequest, "network" | "addresses" | "securityGroupIds" | "count">;

export async function networkOf(context: AppContext, caller: Caller, request: Asked): Promise<InstanceNetwork> {
  const [subnet, securityGroupIds] = await Promise.all([
    subnetOf(context, caller, request),
    groupsOf(context, caller, request),
  ]);
  checkAddresses(subnet, request);
  return { subnet, securityGroupIds };
}

export async function subnetOf(
  context: AppContext,
  caller: Caller,
  { network }: Pick<Asked, "network">,
): Promise<SubnetRow> {
  const { store, config } = context;
  if (network === null) return defaultSubnet(store, caller.accountId, config);
  const subnet = await store.read((db) => subnetFind(db, caller.accountId, network.subnetId));
  if (subnet === undefined) throw subnetNotFound(network.subnetId);
  const { vpcId } = network;
  if (vpcId !== null && subnet.vpc_id !== vpcId) {
    const { items } = await store.read((db) => vpcList(db, caller.accountId, { ids: [vpcId] }, null));
    if (items.length === 0) throw vpcNotFound(vpcId);
    throw failure("VpcMismatch", `subnet ${subnet.id} is not in VPC ${network.vpcId}`, {
      detail: { vpcId: network.vpcId },
    });
  }
  return subnet;
}

async function groupsOf(
  { store }: AppContext,
  caller: Caller,
  { securityGroupIds }: Asked,
): Promise<SecurityGroupId[]> {
  const { accountId } = caller;
  if (securityGroupIds.length === 0) {
    const present = await store.read((db) => securityGroupDefaultFind(db, accountId));
    return [present ?? (await store.transaction((tx) => securityGroupDefault(tx, accountId)))];
  }
  const ids = [...new Set(securityGroupIds)];
  if (ids.length > networkLimits.groupsPerInstance) throw tooManyGroups();
  await store.read((db) => securityGroupsCheck(db, accountId, ids));
  return ids;
}

export function tooManyGroups(): Error {
  const limit = networkLimits.groupsPerInstance;
  return failure("QuotaExceeded", `an instance is in ${limit} security groups at most`, {
    detail: { quota: "groupsPerInstance", limit },
  });
}

/** Certain addresses must be distinct, one for each instance, and such as the subnet gives to instances. */
export function checkAddresses(subnet: SubnetRow, { addresses, count }: Pick<Asked, "addresses" | "count">): void {
  if (addresses === null) return;
  if (addresses.length !== count || new Set(addresses).size < count) {
    throw failure("InvalidParameter", "certain addresses must be distinct, and one for each instance", {
      detail: { parameter: "addresses" },
    });
  }
  const { first, last } = usableRange(subnet.cidr, subnet.reserved);
  const outside = addresses.find((ip) => ipToNumber(ip) < first || ipToNumber(ip) > last);
  if (outside === undefined) return;
  throw failure("AddressOutside", `${outside} is none of the addresses that subnet ${subnet.id} gives to instances`, {
    detail: { ip: outside },
  });
}

/** What the request named was deleted between the check and the commit. */
export function throwNetworkGone(constraint: string | undefined, { subnet, securityGroupIds }: InstanceNetwork): void {
  if (constraint === "instance_subnet_subnet_id_fkey") throw subnetNotFound(subnet.id);
  if (constraint === "instance_subnet_vpc_id_fkey") throw vpcNotFound(subnet.vpc_id);
  if (constraint === "instance_security_group_security_group_id_fkey") {
    throw failure("SecurityGroupNotFound", `one of the groups ${securityGroupIds.join(", ")} does not exist any more`);
  }
}
