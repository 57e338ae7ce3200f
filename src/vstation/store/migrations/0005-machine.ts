/** What an instance's type promised it when it was accepted (src/core/machine.ts); null: accepted before there was a choice. */
import { sql, type Kysely } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table instance add column machine jsonb`.execute(db);
}
