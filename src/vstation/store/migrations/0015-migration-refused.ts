/** For how long a request for a move is refused is counted from its first refusal, and not from when it was queued. */
import { sql, type Kysely } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table migration_request add column refused_at timestamptz`.execute(db);
}
