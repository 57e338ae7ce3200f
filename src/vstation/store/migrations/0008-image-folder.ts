/** Which folder of images is the zone's (app/image-home.ts); null: no VStation has said so yet. */
import { sql, type Kysely } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table zone add column image_folder text`.execute(db);
}
