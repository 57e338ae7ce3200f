/** VPCs. Each has one main route table from its first moment to its last; a change of what is inside happens under the VPC's row lock. */
import { sql } from "kysely";
import { failure } from "../../core/failure-codes.ts";
import { newId, type AccountId, type VpcId } from "../../lib/ids.ts";
import type { VpcQuery, VpcView } from "../cloud/network.ts";
import type { Reader, Tx } from "./database.ts";
import { anyOf, containsAny, listPage, ownedBy, tagColumn, tagConditions, type Slice } from "./listing.ts";
import { tagDelete, tagInsert } from "./tags.ts";

export interface NewVpc {
  id: VpcId;
  accountId: AccountId;
  name: string;
  cidr: string;
  isDefault: boolean;
  tags: Readonly<Record<string, string>>;
}

export async function vpcList(
  db: Reader,
  accountId: AccountId | "any",
  query: VpcQuery,
  page: Slice | null,
): Promise<{ total: number; items: VpcView[] }> {
  return listPage(
    db,
    {
      columns: sql<VpcView>`v.id, v.account_id as "accountId", v.name, v.cidr, v.is_default as "isDefault", v.created_at as "createdAt", ${tagColumn("v")}`,
      from: sql`vpc v`,
      where: [
        ...ownedBy("v", accountId),
        ...anyOf([
          ["v.id", query.ids],
          ["v.cidr", query.cidrs],
        ]),
        ...containsAny("v.name", query.names),
        ...(query.isDefault === undefined ? [] : [sql`v.is_default = ${query.isDefault}`]),
        ...tagConditions("v", query),
      ],
      order: sql`v.created_at, v.id`,
    },
    page,
  );
}

export async function vpcInsert(tx: Tx, vpc: NewVpc): Promise<void> {
  const { id, accountId, name, cidr, isDefault, tags } = vpc;
  await tx.db.insertInto("vpc").values({ id, account_id: accountId, name, cidr, is_default: isDefault }).execute();
  await tx.db
    .insertInto("route_table")
    .values({ id: newId("routeTable"), account_id: accountId, vpc_id: id, name: "default", main: true })
    .execute();
  await tagInsert(tx, [{ accountId, resourceId: id, tags }]);
}

export interface LockedVpc {
  id: VpcId;
  accountId: AccountId;
  cidr: string;
  isDefault: boolean;
}

/** Locks a VPC against every change of what is inside, instances that come included; throws VpcNotFound. */
export async function vpcLock(tx: Tx, accountId: AccountId | "any", id: VpcId): Promise<LockedVpc> {
  let query = tx.db.selectFrom("vpc").selectAll().where("id", "=", id).forUpdate();
  if (accountId !== "any") query = query.where("account_id", "=", accountId);
  const row = await query.executeTakeFirst();
  if (row === undefined) throw vpcNotFound(id);
  return { id: row.id, accountId: row.account_id, cidr: row.cidr, isDefault: row.is_default };
}

export function vpcNotFound(id: VpcId): Error {
  return failure("VpcNotFound", `there is no VPC ${id}`, { detail: { vpcId: id } });
}

export async function vpcRename(tx: Tx, id: VpcId, name: string): Promise<void> {
  await tx.db.updateTable("vpc").set({ name }).where("id", "=", id).execute();
}

/** Deletes a locked VPC with its route tables; a foreign key refuses while anything else is in it. */
export async function vpcDelete(tx: Tx, id: VpcId): Promise<void> {
  const tables = await tx.db.deleteFrom("route_table").where("vpc_id", "=", id).returning("id").execute();
  await tx.db.deleteFrom("vpc").where("id", "=", id).execute();
  await tagDelete(tx, [id, ...tables.map((table) => table.id)]);
}
