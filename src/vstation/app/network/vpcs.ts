/** VPCs: address ranges of an account's own, which nobody else sees and which therefore may be the same as anybody else's. */
import { blockText, isVpcBlock, parseBlock } from "../../../core/addresses.ts";
import { failure } from "../../../core/failure-codes.ts";
import { newId, type VpcId } from "../../../lib/ids.ts";
import type { AnyCaller } from "../../cloud.ts";
import type { VpcView, Vpcs } from "../../cloud/network.ts";
import { quotaTake } from "../../store/quotas.ts";
import { vpcDelete, vpcInsert, vpcList, vpcLock, vpcNotFound, vpcRename } from "../../store/vpcs.ts";
import type { AppContext } from "../context.ts";
import { inUse, isDefault, onViolation } from "./failures.ts";

export function vpcs({ store }: AppContext): Vpcs {
  const one = async (caller: AnyCaller, id: VpcId): Promise<VpcView> => {
    const { items } = await store.read((db) => vpcList(db, caller.accountId, { ids: [id] }, null));
    return items[0] ?? Promise.reject(vpcNotFound(id));
  };
  return {
    async create(caller, { name, cidr, tags }) {
      const block = parseBlock(cidr);
      if (block === undefined || !isVpcBlock(block)) {
        throw failure(
          "CidrInvalid",
          `${cidr} is no block for a VPC: one of /12 to /28 inside 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, without host bits`,
          { detail: { of: "vpc" } },
        );
      }
      const id = newId("vpc");
      const { accountId } = caller;
      await store.transaction(async (tx) => {
        await quotaTake(tx, accountId, { vpcs: 1 });
        await vpcInsert(tx, { id, accountId, name, cidr: blockText(block), isDefault: false, tags });
      });
      return one(caller, id);
    },
    list: (caller, query, page) => store.read((db) => vpcList(db, caller.accountId, query, page)),
    modify: (caller, id, { name }) =>
      store.transaction(async (tx) => {
        await vpcLock(tx, caller.accountId, id);
        if (name !== undefined) await vpcRename(tx, id, name);
      }),
    delete: (caller, id) =>
      onViolation(
        () =>
          store.transaction(async (tx) => {
            const vpc = await vpcLock(tx, caller.accountId, id);
            if (vpc.isDefault) throw isDefault("vpc", `the default VPC ${id} stays`);
            await vpcDelete(tx, id);
          }),
        () => inUse("vpc", `VPC ${id} has subnets or NAT gateways still`),
      ),
  };
}
