/** Tags of anything that has an id. A tag goes with what it is bound to; binding the same key again gives it a new value. */
import { sql } from "kysely";
import { parseId, type AccountId, type IdKind } from "../../lib/ids.ts";
import type { TagOf } from "../cloud/tags.ts";
import { insertMany, type Reader, type Tx } from "./database.ts";
import { toJson } from "./json.ts";
import { listPage, type Slice } from "./listing.ts";

export interface NewTags {
  accountId: AccountId;
  resourceId: string;
  tags: Readonly<Record<string, string>>;
}

/** Tags of what was just made. */
export async function tagInsert(tx: Tx, made: readonly NewTags[]): Promise<void> {
  const at = new Date().toISOString();
  await insertMany(
    tx,
    "tag",
    made.flatMap(({ accountId, resourceId, tags }) =>
      Object.entries(tags).map(([key, value]) => ({
        account_id: accountId,
        resource_id: resourceId,
        key,
        value,
        created_at: at,
      })),
    ),
  );
}

export async function tagDelete(tx: Tx, resourceIds: readonly string[]): Promise<void> {
  if (resourceIds.length === 0) return;
  await tx.db
    .deleteFrom("tag")
    .where("resource_id", "in", [...resourceIds])
    .execute();
}

/** Kinds whose tags are a column of their own row. */
const columnKinds = ["disk", "snapshot"] as const;
type ColumnKind = (typeof columnKinds)[number];

function columnKindOf(resourceId: string): ColumnKind | undefined {
  return columnKinds.find((kind) => parseId(kind, resourceId) !== undefined);
}

/** All tags there are, wherever they are kept. */
const everyTag = sql`(
  select account_id, resource_id, key, value from tag
  union all select d.account_id, d.id, t.key, t.value from disk d, jsonb_each_text(d.tags) t
  union all select s.account_id, s.id, t.key, t.value from snapshot s, jsonb_each_text(s.tags) t)`;

/** Whatever may have tags, by the prefix of its id: its table, and when a row of it is over. */
const resourceTables = {
  instance: "deleted_at is null",
  disk: "deleted_at is null",
  snapshot: "deleted_at is null",
  vpc: "true",
  subnet: "true",
  routeTable: "true",
  natGateway: "true",
  securityGroup: "true",
  elasticAddress: "true",
  key: "true",
  group: "true",
} as const satisfies Partial<Record<IdKind, string>>;

const tableNames: Partial<Record<IdKind, string>> = {
  routeTable: "route_table",
  natGateway: "nat_gateway",
  securityGroup: "security_group",
  elasticAddress: "elastic_address",
  key: "key_pair",
  group: "disaster_recover_group",
};

/** Locks what of these is the account's, so that none of it goes while tags are bound to it; `ids` in their order. */
export async function resourcesLock(tx: Tx, accountId: AccountId, ids: readonly string[]): Promise<Set<string>> {
  const found = new Set<string>();
  for (const [kind, live] of Object.entries(resourceTables) as [keyof typeof resourceTables, string][]) {
    const mine = ids.filter((id) => parseId(kind, id) !== undefined);
    if (mine.length === 0) continue;
    const { rows } = await sql<{ id: string }>`
      select id from ${sql.table(tableNames[kind] ?? kind)}
      where id = any(${mine}) and account_id = ${accountId} and ${sql.raw(live)}
      order by id for no key update`.execute(tx.db);
    for (const { id } of rows) found.add(id);
  }
  return found;
}

/** Binds tags, new or with another value, and takes others away; the resource is locked. */
export async function tagChange(tx: Tx, bound: NewTags, removed: readonly string[]): Promise<void> {
  const { accountId, resourceId, tags } = bound;
  const kind = columnKindOf(resourceId);
  if (kind !== undefined) {
    await sql`
      update ${sql.table(kind)} set tags = (tags - ${[...removed]}::text[]) || ${toJson(tags)}::jsonb
      where id = ${resourceId}`.execute(tx.db);
    return;
  }
  await sql`delete from tag where resource_id = ${resourceId} and key = any(${[...removed]})`.execute(tx.db);
  for (const [key, value] of Object.entries(tags)) {
    await tx.db
      .insertInto("tag")
      .values({ account_id: accountId, resource_id: resourceId, key, value })
      .onConflict((conflict) => conflict.columns(["resource_id", "key"]).doUpdateSet({ value }))
      .execute();
  }
}

export async function tagCount(db: Reader, accountId: AccountId, resourceId: string): Promise<number> {
  const { total } = await tagList(db, accountId, [resourceId], null);
  return total;
}

/** Tags of certain resources. */
export async function tagList(
  db: Reader,
  accountId: AccountId,
  resourceIds: readonly string[],
  page: Slice | null,
): Promise<{ total: number; items: TagOf[] }> {
  return listPage(
    db,
    {
      columns: sql<TagOf>`t.resource_id as "resourceId", t.key, t.value`,
      from: sql`${everyTag} t`,
      where: [sql`t.account_id = ${accountId}`, sql`t.resource_id = any(${[...resourceIds]})`],
      order: sql`t.resource_id, t.key`,
    },
    page,
  );
}

/** Every pair of key and value that the account uses anywhere. */
export async function tagPairs(
  db: Reader,
  accountId: AccountId,
  keys: readonly string[] | null,
  page: Slice,
): Promise<{ total: number; items: { key: string; value: string }[] }> {
  return listPage(
    db,
    {
      columns: sql<{ key: string; value: string }>`t.key, t.value`,
      from: sql`(select distinct e.account_id, e.key, e.value from ${everyTag} e where e.account_id = ${accountId}) t`,
      where: keys === null ? [] : [sql`t.key = any(${[...keys]})`],
      order: sql`t.key, t.value`,
    },
    page,
  );
}
