/**
 * What is done about a guest that writes too fast while it moves, and what its source tells of the move's course. The story is a table of
 * its own: lists of moves are read without it.
 */
import { sql, type Kysely } from "kysely";

const statements = [
  `alter table migration add column policy text not null default 'gentle'
     check (policy in ('gentle', 'throttle', 'postcopy', 'finish'))`,
  `alter table migration add column ceiling_ms integer not null default 300`,
  `create table migration_story (
     migration_id text primary key references migration on delete cascade,
     lines jsonb not null)`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
