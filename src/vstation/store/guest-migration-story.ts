/**
 * What the source of each move has told of its course: the whole of it each time, so the last one that came is the one that counts. It is
 * kept after the move, when its source may be gone. Nothing is decided by it.
 */
import { sql } from "kysely";
import type { StoryLine } from "../../core/migration/story.ts";
import type { MigrationId } from "../../lib/ids.ts";
import type { Reader, Tx } from "./database.ts";
import type { HalvesReport } from "./guest-migration-halves.ts";
import { toJson } from "./json.ts";

/** Of hosts that are the source of what they speak of; their rows are locked. One whose last line is older was told before, and takes no other's place; nor does the mere end of one whose lines that host has lost. */
export async function storiesSave(tx: Tx, reports: readonly HalvesReport[]): Promise<void> {
  const told = reports.flatMap(({ hostId, migrations }) =>
    migrations.flatMap(({ id, half }) =>
      half.is === "source" && half.story !== undefined ? [{ id, host_id: hostId, lines: half.story }] : [],
    ),
  );
  if (told.length === 0) return;
  await sql`
    insert into migration_story as kept (migration_id, lines)
    select m.id, v.lines from jsonb_to_recordset(${toJson(told)}::jsonb) as v(id text, host_id text, lines jsonb)
      join migration m on m.id = v.id and m.source_host = v.host_id
    on conflict (migration_id) do update set lines = excluded.lines
      where (excluded.lines -> -1 ->> 'at')::float8 >= (kept.lines -> -1 ->> 'at')::float8
        and jsonb_array_length(excluded.lines) >= least(jsonb_array_length(kept.lines), 2)`.execute(tx.db);
}

export async function storyOf(db: Reader, id: MigrationId): Promise<readonly StoryLine[]> {
  const row = await db.selectFrom("migration_story").select("lines").where("migration_id", "=", id).executeTakeFirst();
  return row?.lines ?? [];
}
