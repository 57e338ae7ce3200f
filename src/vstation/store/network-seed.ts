/**
 * The networks that are there without anybody having made them. The first account's default VPC is the one that the configuration
 * names (the operator's machine may be a member of it, as in the lab). Every other account gets one of its own when an instance of it
 * names no network; that they have the same ranges does not matter, because no VPC sees another.
 */
import { sql } from "kysely";
import { blockText, looseBlock, macOfGateway, numberToIp } from "../../core/addresses.ts";
import { newId, type AccountId, type SubnetId, type VpcId } from "../../lib/ids.ts";
import type { VStationConfig } from "../config.ts";
import type { Store, Tx } from "./database.ts";
import { quotaTake } from "./quotas.ts";
import { natGatewayInsert, routeInsert } from "./routes.ts";
import { securityGroupDefault } from "./security-groups.ts";
import type { SubnetRow } from "./schema-network.ts";
import { subnetDefault, subnetInsert } from "./subnets.ts";
import { vpcInsert } from "./vpcs.ts";

/** Without the network's own address and the gateway's. */
export const reservedAddresses = 2;

const defaultVpc = { cidr: "172.16.0.0/16", subnet: "172.16.0.0/20" } as const;

/** The configured network of the first account, and the default group of its instances from before there were groups. */
export async function networkSeed(
  store: Store,
  accountId: AccountId,
  { zone, subnet }: Pick<VStationConfig, "zone" | "subnet">,
): Promise<void> {
  await store.transaction(async (tx) => {
    await sql`select id from account where id = ${accountId} for no key update`.execute(tx.db);
    if ((await subnetDefault(tx.db, accountId, zone)) === undefined) {
      const { id, vpcId, gateway, gatewayMac, vni, mtu, dns, reserved } = subnet;
      const cidr = canonical(subnet.cidr);
      await vpcWithWayOut(tx, accountId, { id: vpcId, cidr, zone });
      await subnetInsert(
        tx,
        {
          id,
          account_id: accountId,
          vpc_id: vpcId,
          zone,
          name: "default",
          cidr,
          gateway,
          gateway_mac: gatewayMac,
          vni,
          mtu,
          dns,
          reserved,
          is_default: true,
        },
        {},
      );
    }
    const group = await securityGroupDefault(tx, accountId);
    await sql`
      insert into instance_subnet (instance_id, subnet_id, vpc_id)
      select i.id, i.subnet_id, i.vpc_id from instance i join subnet s on s.id = i.subnet_id
      where i.deleted_at is null on conflict do nothing`.execute(tx.db);
    await sql`
      insert into instance_security_group (instance_id, security_group_id, position)
      select i.id, ${group}, 0 from instance i
      where i.account_id = ${accountId} and i.deleted_at is null
        and not exists (select from instance_security_group g where g.instance_id = i.id)`.execute(tx.db);
  });
}

/** The account's default subnet in the zone, made now if it has none. */
export async function defaultSubnet(
  store: Store,
  accountId: AccountId,
  { zone, subnet }: Pick<VStationConfig, "zone" | "subnet">,
): Promise<SubnetRow> {
  const present = await store.read((db) => subnetDefault(db, accountId, zone));
  if (present !== undefined) return present;
  return store.transaction(async (tx) => {
    // Nothing of it is counted; what counts is that the account's row is held, and that the account is still there.
    await quotaTake(tx, accountId, {});
    const find = () => subnetDefault(tx.db, accountId, zone);
    const meanwhile = await find();
    if (meanwhile !== undefined) return meanwhile;
    const vpcId = newId("vpc");
    await vpcWithWayOut(tx, accountId, { id: vpcId, cidr: defaultVpc.cidr, zone });
    const block = looseBlock(defaultVpc.subnet);
    const gateway = numberToIp((block?.first ?? 0) + 1);
    await subnetInsert(
      tx,
      newSubnet({ accountId, vpcId, zone, cidr: defaultVpc.subnet, name: "default", gateway, mtu: subnet.mtu }, true),
      {},
    );
    return (await find()) ?? Promise.reject(new Error(`no default subnet of ${accountId} after it was made`));
  });
}

/** A subnet as tenants make them: the first address is the gateway's, which also answers for names. */
export function newSubnet(
  given: {
    id?: SubnetId;
    accountId: AccountId;
    vpcId: VpcId;
    zone: string;
    name: string;
    cidr: string;
    gateway: string;
    mtu: number;
  },
  isDefault: boolean,
) {
  return {
    id: given.id ?? newId("subnet"),
    account_id: given.accountId,
    vpc_id: given.vpcId,
    zone: given.zone,
    name: given.name,
    cidr: given.cidr,
    gateway: given.gateway,
    gateway_mac: macOfGateway(given.gateway),
    vni: null,
    mtu: given.mtu,
    dns: [given.gateway],
    reserved: reservedAddresses,
    is_default: isDefault,
  };
}

/** A default VPC lets its instances out, as its owner would expect of a machine without a word about networks. */
async function vpcWithWayOut(
  tx: Tx,
  accountId: AccountId,
  vpc: { id: VpcId; cidr: string; zone: string },
): Promise<void> {
  const { id, cidr, zone } = vpc;
  await vpcInsert(tx, { id, accountId, name: "default", cidr, isDefault: true, tags: {} });
  const gateway = newId("natGateway");
  await natGatewayInsert(tx, { id: gateway, accountId, vpcId: id, zone, name: "default", tags: {} });
  const main = await tx.db
    .selectFrom("route_table")
    .select("id")
    .where("vpc_id", "=", id)
    .where("main", "=", true)
    .executeTakeFirstOrThrow();
  await routeInsert(tx, main.id, [{ destination: "0.0.0.0/0", natGatewayId: gateway, description: "" }]);
}

/** A configuration may say 10.0.0.5/16 where 10.0.0.0/16 is meant. */
function canonical(cidr: string): string {
  const block = looseBlock(cidr);
  return block === undefined ? cidr : blockText(block);
}
