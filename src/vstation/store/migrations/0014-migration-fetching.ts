/** A guest in post-copy runs at the target and fetches the rest of its memory: the source is told so, before the target's last word. */
import { sql, type Kysely } from "kysely";

const statements = [
  `alter table migration drop constraint migration_fate_check,
     add constraint migration_fate_check check (fate in ('fetching', 'arrived', 'dropped'))`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
