/** The password that an instance's guest is given, as a hash; its host writes it into the seed. */
import { sql, type Kysely } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table instance add column login jsonb`.execute(db);
}
