/**
 * Route tables, their routes, and the NAT gateways that routes lead to. The only place a route can lead to is the way out: inside of a
 * VPC everything is reached without one.
 */
import { randomBytes } from "node:crypto";
import { sql } from "kysely";
import { failure } from "../../core/failure-codes.ts";
import type { AccountId, NatGatewayId, RouteTableId, VpcId } from "../../lib/ids.ts";
import type {
  NatGatewayQuery,
  NatGatewayView,
  NewRoute,
  RouteTableQuery,
  RouteTableView,
  RouteView,
} from "../cloud/network.ts";
import type { Reader, Tx } from "./database.ts";
import { anyOf, containsAny, listPage, ownedBy, tagColumn, tagConditions, type Slice } from "./listing.ts";
import { tagDelete, tagInsert } from "./tags.ts";

type RawRoute = Omit<RouteView, "createdAt"> & { createdAt: string };

export async function routeTableList(
  db: Reader,
  accountId: AccountId | "any",
  query: RouteTableQuery,
  page: Slice | null,
): Promise<{ total: number; items: RouteTableView[] }> {
  const { total, items } = await listPage(
    db,
    {
      columns: sql<
        Omit<RouteTableView, "routes"> & { routes: RawRoute[] }
      >`r.id, r.account_id as "accountId", r.vpc_id as "vpcId", r.name, r.main, r.created_at as "createdAt",
        coalesce((select jsonb_agg(s.id order by s.created_at, s.id) from subnet s where s.route_table_id = r.id), '[]')
          as "subnetIds",
        coalesce((select jsonb_agg(jsonb_build_object('id', e.id, 'itemId', e.item_id, 'destination', e.destination,
            'natGatewayId', e.nat_gateway_id, 'description', e.description, 'createdAt', e.created_at) order by e.id)
          from route e where e.route_table_id = r.id), '[]') as routes,
        ${tagColumn("r")}`,
      from: sql`route_table r`,
      where: [
        ...ownedBy("r", accountId),
        ...anyOf([
          ["r.id", query.ids],
          ["r.vpc_id", query.vpcIds],
        ]),
        ...containsAny("r.name", query.names),
        ...(query.main === undefined ? [] : [sql`r.main = ${query.main}`]),
        ...tagConditions("r", query),
      ],
      order: sql`r.created_at, r.id`,
    },
    page,
  );
  return {
    total,
    items: items.map(({ routes, ...table }) => ({
      ...table,
      routes: routes.map((route) => ({ ...route, createdAt: new Date(route.createdAt) })),
    })),
  };
}

export async function routeTableInsert(
  tx: Tx,
  table: { id: RouteTableId; accountId: AccountId; vpcId: VpcId; name: string; tags: Readonly<Record<string, string>> },
): Promise<void> {
  const { id, accountId, vpcId, name, tags } = table;
  await tx.db
    .insertInto("route_table")
    .values({ id, account_id: accountId, vpc_id: vpcId, name, main: false })
    .execute();
  await tagInsert(tx, [{ accountId, resourceId: id, tags }]);
}

export async function routeTableRename(tx: Tx, id: RouteTableId, name: string): Promise<void> {
  await tx.db.updateTable("route_table").set({ name }).where("id", "=", id).execute();
}

/** With its routes; a foreign key refuses while a subnet has it. */
export async function routeTableDelete(tx: Tx, id: RouteTableId): Promise<void> {
  await tx.db.deleteFrom("route").where("route_table_id", "=", id).execute();
  await tx.db.deleteFrom("route_table").where("id", "=", id).execute();
  await tagDelete(tx, [id]);
}

export function routeTableNotFound(id: RouteTableId): Error {
  return failure("RouteTableNotFound", `there is no route table ${id}`, { detail: { routeTableId: id } });
}

export async function routeInsert(tx: Tx, id: RouteTableId, routes: readonly NewRoute[]): Promise<void> {
  for (const { destination, natGatewayId, description } of routes) {
    await tx.db
      .insertInto("route")
      .values({
        item_id: `rti-${randomBytes(4).toString("hex")}`,
        route_table_id: id,
        destination,
        nat_gateway_id: natGatewayId,
        description,
      })
      .execute();
  }
}

/** How many of them were there. */
export async function routeDelete(tx: Tx, id: RouteTableId, routeIds: readonly number[]): Promise<number> {
  if (routeIds.length === 0) return 0;
  const gone = await tx.db
    .deleteFrom("route")
    .where("route_table_id", "=", id)
    .where("id", "in", [...routeIds])
    .returning("id")
    .execute();
  return gone.length;
}

export async function natGatewayList(
  db: Reader,
  accountId: AccountId | "any",
  query: NatGatewayQuery,
  page: Slice | null,
): Promise<{ total: number; items: NatGatewayView[] }> {
  return listPage(
    db,
    {
      columns: sql<NatGatewayView>`n.id, n.account_id as "accountId", n.vpc_id as "vpcId", n.name, n.zone, n.created_at as "createdAt", ${tagColumn("n")}`,
      from: sql`nat_gateway n`,
      where: [
        ...ownedBy("n", accountId),
        ...anyOf([
          ["n.id", query.ids],
          ["n.vpc_id", query.vpcIds],
        ]),
        ...containsAny("n.name", query.names),
        ...tagConditions("n", query),
      ],
      order: sql`n.created_at, n.id`,
    },
    page,
  );
}

export async function natGatewayInsert(
  tx: Tx,
  gateway: {
    id: NatGatewayId;
    accountId: AccountId;
    vpcId: VpcId;
    zone: string;
    name: string;
    tags: Readonly<Record<string, string>>;
  },
): Promise<void> {
  const { id, accountId, vpcId, zone, name, tags } = gateway;
  await tx.db.insertInto("nat_gateway").values({ id, account_id: accountId, vpc_id: vpcId, zone, name }).execute();
  await tagInsert(tx, [{ accountId, resourceId: id, tags }]);
}

/** A foreign key refuses while a route leads to it. */
export async function natGatewayDelete(tx: Tx, id: NatGatewayId): Promise<void> {
  await tx.db.deleteFrom("nat_gateway").where("id", "=", id).execute();
  await tagDelete(tx, [id]);
}

export function natGatewayNotFound(id: NatGatewayId): Error {
  return failure("NatGatewayNotFound", `there is no NAT gateway ${id}`, { detail: { natGatewayId: id } });
}
