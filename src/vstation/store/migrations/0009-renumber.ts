/**
 * An instance may hold a second address for a while: the next one, which it is promised, or the former one, which its host may still
 * know as its own. Its own is what it has now; each of the three it has once at most. Both subnets are held meanwhile.
 */
import { sql, type Kysely } from "kysely";

const statements = [
  `alter table address add column held_as text not null default 'own' check (held_as in ('own', 'next', 'former'))`,
  `create unique index address_one_of_each on address (instance_id, held_as) where released_at is null`,
  // Within a subnet it keeps its MAC, which is in use once all the same.
  `drop index address_mac_once`,
  `create unique index address_mac_once on address (subnet_id, mac) where released_at is null and held_as = 'own'`,
  `alter table instance_subnet drop constraint instance_subnet_pkey, add primary key (instance_id, subnet_id)`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
