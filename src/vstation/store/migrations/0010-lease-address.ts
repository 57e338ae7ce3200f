/** Where the holder of the zone's lease is reached by the other replicas (pass-on.ts); null: it is of a release that does not say so. */
import { sql, type Kysely } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table zone add column lease_address text`.execute(db);
}
