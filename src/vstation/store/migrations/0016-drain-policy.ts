/** By which policy the guests of a drained host are moved; a drain that had begun before goes on by `gentle`, as it did. */
import { sql, type Kysely } from "kysely";

const statements = [
  `alter table host
     add column drain_policy text not null default 'gentle'
       check (drain_policy in ('gentle', 'throttle', 'postcopy', 'finish')),
     add column drain_ceiling_ms integer not null default 300`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
