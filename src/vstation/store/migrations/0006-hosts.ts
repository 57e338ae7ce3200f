/** Hosts that take nothing new (cordoned) and hosts that were taken out: a removed one stays as a row, history points at it. */
import { sql, type Kysely } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table host add column cordoned boolean not null default false, add column removed_at timestamptz`.execute(
    db,
  );
}
