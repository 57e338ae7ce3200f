/** Subnets. Their network ids come from a circle of all there are, so that one that was let go of rests before it is used again. */
import { sql } from "kysely";
import { sizeOf, usableRange } from "../../core/addresses.ts";
import { failure } from "../../core/failure-codes.ts";
import type { AccountId, RouteTableId, SubnetId, VpcId } from "../../lib/ids.ts";
import type { SubnetQuery, SubnetView, UsedAddress } from "../cloud/network.ts";
import type { Reader, Tx } from "./database.ts";
import { anyOf, containsAny, listPage, ownedBy, tagColumn, tagConditions, type Slice } from "./listing.ts";
import type { SubnetRow } from "./schema-network.ts";
import { tagDelete, tagInsert } from "./tags.ts";

export async function subnetList(
  db: Reader,
  accountId: AccountId | "any",
  query: SubnetQuery,
  page: Slice | null,
): Promise<{ total: number; items: SubnetView[] }> {
  const { total, items } = await listPage(
    db,
    {
      columns: sql<
        Omit<SubnetView, "addresses"> & { reserved: number; used: number }
      >`s.id, s.account_id as "accountId", s.vpc_id as "vpcId", s.name, s.zone, s.cidr, s.is_default as "isDefault",
        s.route_table_id as "routeTableId", s.created_at as "createdAt", s.reserved,
        (select count(*) from address a where a.subnet_id = s.id and a.released_at is null)::int as used,
        ${tagColumn("s")}`,
      from: sql`subnet s`,
      where: [
        ...ownedBy("s", accountId),
        ...anyOf([
          ["s.id", query.ids],
          ["s.vpc_id", query.vpcIds],
          ["s.cidr", query.cidrs],
          ["s.zone", query.zones],
        ]),
        ...containsAny("s.name", query.names),
        ...(query.isDefault === undefined ? [] : [sql`s.is_default = ${query.isDefault}`]),
        ...tagConditions("s", query),
      ],
      order: sql`s.created_at, s.id`,
    },
    page,
  );
  return {
    total,
    items: items.map(({ reserved, used, ...subnet }) => {
      const all = sizeOf(usableRange(subnet.cidr, reserved));
      return { ...subnet, addresses: { total: all, free: Math.max(0, all - used) } };
    }),
  };
}

/** The account's subnet of this id. */
export async function subnetFind(
  db: Reader,
  accountId: AccountId | "any",
  id: SubnetId,
): Promise<SubnetRow | undefined> {
  let query = db.selectFrom("subnet").selectAll().where("id", "=", id);
  if (accountId !== "any") query = query.where("account_id", "=", accountId);
  return query.executeTakeFirst();
}

export async function subnetDefault(db: Reader, accountId: AccountId, zone: string): Promise<SubnetRow | undefined> {
  return db
    .selectFrom("subnet")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("zone", "=", zone)
    .where("is_default", "=", true)
    .executeTakeFirst();
}

export async function subnetsOfVpc(db: Reader, vpcId: VpcId): Promise<{ id: SubnetId; cidr: string }[]> {
  return db.selectFrom("subnet").select(["id", "cidr"]).where("vpc_id", "=", vpcId).execute();
}

export type NewSubnet = Omit<SubnetRow, "created_at" | "vni" | "route_table_id" | "dns"> & {
  dns: string[];
  /** null: the next free one. */
  vni: number | null;
};

/** With the main route table of its VPC. */
export async function subnetInsert(
  tx: Tx,
  { vni, dns, ...subnet }: NewSubnet,
  tags: Readonly<Record<string, string>>,
): Promise<void> {
  await sql`
    insert into subnet (id, account_id, vpc_id, zone, name, cidr, gateway, gateway_mac, vni, mtu, dns, reserved,
      route_table_id, is_default)
    select ${subnet.id}, ${subnet.account_id}, ${subnet.vpc_id}, ${subnet.zone}, ${subnet.name}, ${subnet.cidr},
      ${subnet.gateway}, ${subnet.gateway_mac}, ${vni === null ? await nextVni(tx) : vni}, ${subnet.mtu},
      ${JSON.stringify(dns)}::jsonb, ${subnet.reserved}, r.id, ${subnet.is_default}
    from route_table r where r.vpc_id = ${subnet.vpc_id} and r.main`.execute(tx.db);
  await tagInsert(tx, [{ accountId: subnet.account_id, resourceId: subnet.id, tags }]);
}

const vniTries = 1_000;

/** The circle may have come around to one that is still in use; two at once get different ones from the sequence. */
async function nextVni(tx: Tx): Promise<number> {
  for (let tries = 0; tries < vniTries; tries++) {
    const { rows } = await sql<{ vni: number; taken: boolean }>`
      select n.vni::int as vni, exists (select from subnet s where s.vni = n.vni) as taken
      from (select nextval('subnet_vni') as vni) n`.execute(tx.db);
    const next = rows[0];
    if (next !== undefined && !next.taken) return next.vni;
  }
  throw failure("QuotaExceeded", "the zone has no free network id left", { detail: { quota: "subnets" } });
}

export async function subnetRename(tx: Tx, id: SubnetId, name: string): Promise<void> {
  await tx.db.updateTable("subnet").set({ name }).where("id", "=", id).execute();
}

/** A foreign key refuses while an instance has an address of it. */
export async function subnetDelete(tx: Tx, id: SubnetId): Promise<void> {
  await tx.db.deleteFrom("subnet").where("id", "=", id).execute();
  await tagDelete(tx, [id]);
}

export async function subnetSetRouteTable(tx: Tx, id: SubnetId, routeTableId: RouteTableId): Promise<void> {
  await tx.db.updateTable("subnet").set({ route_table_id: routeTableId }).where("id", "=", id).execute();
}

export function subnetNotFound(id: SubnetId): Error {
  return failure("SubnetNotFound", `there is no subnet ${id}`, { detail: { subnetId: id } });
}

/** Addresses that instances hold. */
export async function usedAddressList(
  db: Reader,
  query: { vpcId: VpcId; subnetId?: SubnetId; ips?: readonly string[]; instanceIds?: readonly string[] },
  page: Slice,
): Promise<{ total: number; items: UsedAddress[] }> {
  return listPage(
    db,
    {
      columns: sql<UsedAddress>`s.vpc_id as "vpcId", a.subnet_id as "subnetId", a.ip, a.instance_id as "instanceId"`,
      from: sql`address a join subnet s on s.id = a.subnet_id`,
      where: [
        sql`a.released_at is null`,
        sql`s.vpc_id = ${query.vpcId}`,
        ...anyOf([
          ["a.subnet_id", query.subnetId === undefined ? undefined : [query.subnetId]],
          ["a.ip", query.ips],
          ["a.instance_id", query.instanceIds],
        ]),
      ],
      order: sql`a.id`,
    },
    page,
  );
}
