/** Key pairs: public halves only. An instance that uses one holds it by a foreign key, so it cannot be deleted under it. */
import { sql } from "kysely";
import type { AccountId, InstanceId, KeyId } from "../../lib/ids.ts";
import type { Reader, Tx } from "./database.ts";
import { anyOf, listPage, ownedBy, type Slice } from "./listing.ts";
import { tagDelete } from "./tags.ts";

export interface KeyRead {
  id: KeyId;
  name: string;
  description: string;
  publicKey: string;
  createdAt: Date;
  instanceIds: InstanceId[];
}

export interface KeyFilter {
  ids?: readonly KeyId[];
  names?: readonly string[];
}

export async function keyList(
  db: Reader,
  accountId: AccountId,
  filter: KeyFilter,
  page: Slice | null,
): Promise<{ total: number; items: KeyRead[] }> {
  return listPage(
    db,
    {
      columns: sql<KeyRead>`k.id, k.name, k.description, k.public_key as "publicKey", k.created_at as "createdAt",
        coalesce((select jsonb_agg(ik.instance_id order by ik.instance_id) from instance_key ik where ik.key_id = k.id), '[]')
          as "instanceIds"`,
      from: sql`key_pair k`,
      where: [
        ...ownedBy("k", accountId),
        ...anyOf([
          ["k.id", filter.ids],
          ["k.name", filter.names],
        ]),
      ],
      order: sql`k.created_at desc, k.id`,
    },
    page,
  );
}

/** Throws a unique violation (key_pair_account_id_name_key) when the name is taken. */
export async function keyInsert(
  tx: Tx,
  key: { id: KeyId; accountId: AccountId; name: string; publicKey: string },
): Promise<KeyRead> {
  const row = await tx.db
    .insertInto("key_pair")
    .values({ id: key.id, account_id: key.accountId, name: key.name, public_key: key.publicKey })
    .returning("created_at")
    .executeTakeFirstOrThrow();
  return {
    id: key.id,
    name: key.name,
    description: "",
    publicKey: key.publicKey,
    createdAt: row.created_at,
    instanceIds: [],
  };
}

/** False when the account has no such key. Throws a unique violation like {@link keyInsert}. */
export async function keyUpdate(
  db: Reader,
  accountId: AccountId,
  id: KeyId,
  change: { name?: string; description?: string },
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable("key_pair")
    .set(change)
    .where("account_id", "=", accountId)
    .where("id", "=", id)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Throws a foreign key violation when an instance has come to use one meanwhile. */
export async function keyDelete(tx: Tx, accountId: AccountId, ids: readonly KeyId[]): Promise<void> {
  await tx.db
    .deleteFrom("key_pair")
    .where("account_id", "=", accountId)
    .where("id", "in", [...ids])
    .execute();
  await tagDelete(tx, ids);
}
