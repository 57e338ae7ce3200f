/** Subnets: parts of a VPC's range from which instances get their addresses. Those of one VPC have no address in common. */
import {
  blockOf,
  blockText,
  contains,
  isSubnetSize,
  numberToIp,
  overlap,
  parseBlock,
} from "../../../core/addresses.ts";
import { failure } from "../../../core/failure-codes.ts";
import { newId, type SubnetId } from "../../../lib/ids.ts";
import type { AnyCaller } from "../../cloud.ts";
import type { SubnetView, Subnets } from "../../cloud/network.ts";
import { vpcHostsBump } from "../../store/network-hosts.ts";
import { newSubnet } from "../../store/network-seed.ts";
import { quotaTake } from "../../store/quotas.ts";
import {
  subnetDelete,
  subnetFind,
  subnetInsert,
  subnetList,
  subnetNotFound,
  subnetRename,
  subnetsOfVpc,
  usedAddressList,
} from "../../store/subnets.ts";
import { vpcList, vpcLock, vpcNotFound } from "../../store/vpcs.ts";
import type { AppContext } from "../context.ts";
import { inUse, isDefault, onViolation } from "./failures.ts";

export function subnets({ store, config }: AppContext): Subnets {
  const one = async (caller: AnyCaller, id: SubnetId): Promise<SubnetView> => {
    const { items } = await store.read((db) => subnetList(db, caller.accountId, { ids: [id] }, null));
    return items[0] ?? Promise.reject(subnetNotFound(id));
  };
  return {
    async create(caller, { vpcId, name, cidr, zone, tags }) {
      const { accountId } = caller;
      const block = parseBlock(cidr);
      if (block === undefined || !isSubnetSize(block)) {
        throw failure("CidrInvalid", `${cidr} is no block for a subnet: one of /16 to /28, without host bits`, {
          detail: { of: "subnet" },
        });
      }
      if (zone !== config.zone) throw failure("ZoneUnknown", `there is no zone ${zone} here`);
      const id = newId("subnet");
      await store.transaction(async (tx) => {
        await quotaTake(tx, accountId, { subnets: 1 });
        const vpc = await vpcLock(tx, accountId, vpcId);
        if (!contains(blockOf(vpc.cidr), block)) {
          throw failure("CidrOutside", `${cidr} is not inside ${vpc.cidr} of VPC ${vpcId}`);
        }
        const other = (await subnetsOfVpc(tx.db, vpcId)).find((each) => overlap(blockOf(each.cidr), block));
        if (other !== undefined) {
          throw failure("CidrOverlap", `${cidr} has addresses of subnet ${other.id} (${other.cidr})`, {
            detail: { subnetId: other.id },
          });
        }
        const gateway = numberToIp(block.first + 1);
        const mtu = config.subnet.mtu;
        const made = newSubnet({ id, accountId, vpcId, zone, name, cidr: blockText(block), gateway, mtu }, false);
        await subnetInsert(tx, made, tags);
        await vpcHostsBump(tx, vpcId);
      });
      return one(caller, id);
    },
    list: (caller, query, page) => store.read((db) => subnetList(db, caller.accountId, query, page)),
    modify: (caller, id, { name }) =>
      store.transaction(async (tx) => {
        if ((await subnetFind(tx.db, caller.accountId, id)) === undefined) throw subnetNotFound(id);
        if (name !== undefined) await subnetRename(tx, id, name);
      }),
    delete: (caller, id) =>
      onViolation(
        () =>
          store.transaction(async (tx) => {
            const subnet = await subnetFind(tx.db, caller.accountId, id);
            if (subnet === undefined) throw subnetNotFound(id);
            if (subnet.is_default) throw isDefault("subnet", `the default subnet ${id} stays`);
            await vpcLock(tx, caller.accountId, subnet.vpc_id);
            await subnetDelete(tx, id);
            await vpcHostsBump(tx, subnet.vpc_id);
          }),
        () => inUse("subnet", `instances have addresses of subnet ${id} still`),
      ),
    usedAddresses: (caller, query, page) =>
      store.read(async (db) => {
        const { items } = await vpcList(db, caller.accountId, { ids: [query.vpcId] }, null);
        if (items.length === 0) throw vpcNotFound(query.vpcId);
        const { subnetId } = query;
        const subnet = subnetId === undefined ? undefined : await subnetFind(db, caller.accountId, subnetId);
        if (subnetId !== undefined && subnet === undefined) throw subnetNotFound(subnetId);
        if (subnet !== undefined && subnet.vpc_id !== query.vpcId) {
          throw failure("VpcMismatch", `subnet ${subnet.id} is not in VPC ${query.vpcId}`);
        }
        return usedAddressList(db, query, page);
      }),
  };
}
