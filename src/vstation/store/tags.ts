/** Tags of anything that has an id. A tag goes with what it is bound to; binding the same key again gives it a new value. */
import { sql } from "kysely";
import type { AccountId } from "../../lib/ids.ts";
import { insertMany, type Reader, type Tx } from "./database.ts";
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

/** Binds tags, new or with a new value. */
export async function tagReplace(tx: Tx, { accountId, resourceId, tags }: NewTags): Promise<void> {
  for (const [key, value] of Object.entries(tags)) {
    await tx.db
      .insertInto("tag")
      .values({ account_id: accountId, resource_id: resourceId, key, value })
      .onConflict((conflict) => conflict.columns(["resource_id", "key"]).doUpdateSet({ value }))
      .execute();
  }
}

export async function tagDelete(tx: Tx, resourceIds: readonly string[], keys?: readonly string[]): Promise<void> {
  if (resourceIds.length === 0 || keys?.length === 0) return;
  let query = tx.db.deleteFrom("tag").where("resource_id", "in", [...resourceIds]);
  if (keys !== undefined) query = query.where("key", "in", [...keys]);
  await query.execute();
}

export async function tagCount(db: Reader, resourceId: string): Promise<number> {
  const row = await db
    .selectFrom("tag")
    .select((e) => e.fn.countAll<number>().as("count"))
    .where("resource_id", "=", resourceId)
    .executeTakeFirstOrThrow();
  return row.count;
}

export interface TagRead {
  resourceId: string;
  key: string;
  value: string;
}

/** Tags of certain resources. */
export async function tagList(
  db: Reader,
  accountId: AccountId,
  resourceIds: readonly string[],
  page: Slice | null,
): Promise<{ total: number; items: TagRead[] }> {
  return listPage(
    db,
    {
      columns: sql<TagRead>`t.resource_id as "resourceId", t.key, t.value`,
      from: sql`tag t`,
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
  keys: readonly string[] | undefined,
  page: Slice,
): Promise<{ total: number; items: { key: string; value: string }[] }> {
  const some = keys === undefined ? [] : [sql`t.key = any(${[...keys]})`];
  return listPage(
    db,
    {
      columns: sql<{ key: string; value: string }>`t.key, t.value`,
      from: sql`(select distinct account_id, key, value from tag) t`,
      where: [sql`t.account_id = ${accountId}`, ...some],
      order: sql`t.key, t.value`,
    },
    page,
  );
}
