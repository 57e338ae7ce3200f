/**
 * Which key pairs an instance's guest lets in. The rows say which they are, in order; the instance's own column holds what its host
 * writes into the seed, and is made from the rows in the same transaction.
 */
import { sql } from "kysely";
import type { InstanceId, KeyId } from "../../lib/ids.ts";
import type { Tx } from "./database.ts";

/** Adds key pairs behind those that are there; one that is there stays where it is. Throws a foreign key violation for one that is gone. */
export async function instanceKeysAdd(tx: Tx, ids: readonly InstanceId[], keys: readonly KeyId[]): Promise<void> {
  await sql`
    insert into instance_key (instance_id, key_id, position)
    select i.id, k.id, k.n + coalesce((select max(position) from instance_key where instance_id = i.id), 0)
    from unnest(${[...ids]}::text[]) i(id), unnest(${[...keys]}::text[]) with ordinality k(id, n)
    on conflict do nothing`.execute(tx.db);
}

export async function instanceKeysRemove(tx: Tx, ids: readonly InstanceId[], keys: readonly KeyId[]): Promise<void> {
  await tx.db
    .deleteFrom("instance_key")
    .where("instance_id", "in", [...ids])
    .where("key_id", "in", [...keys])
    .execute();
}

/** Brings what the host is told in line with the rows; returns the most that one instance has now. */
export async function publicKeysRefresh(tx: Tx, ids: readonly InstanceId[]): Promise<number> {
  const { rows } = await sql<{ most: number | null }>`
    with written as (
      update instance i set public_keys = coalesce((
        select jsonb_agg(k.public_key order by ik.position, ik.key_id)
        from instance_key ik join key_pair k on k.id = ik.key_id where ik.instance_id = i.id), '[]')
      where i.id = any(${[...ids]}) returning jsonb_array_length(i.public_keys) as count)
    select max(count) as most from written`.execute(tx.db);
  return rows[0]?.most ?? 0;
}
