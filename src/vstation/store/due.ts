/** Which instances the sweeper should look at: those whose time has come, and at a fresh start those with anything open. */
import { sql } from "kysely";
import type { InstanceId } from "../../lib/ids.ts";
import type { Reader } from "./database.ts";

export async function instancesDue(db: Reader, zone: string, limit: number): Promise<InstanceId[]> {
  const { rows } = await sql<{ id: InstanceId }>`
    select id from instance
    where zone = ${zone} and deleted_at is null and due_at <= clock_timestamp()
    order by due_at limit ${limit}`.execute(db);
  return rows.map((row) => row.id);
}

/** Milliseconds until the next one is due; undefined if none ever is. */
export async function nextDue(db: Reader, zone: string): Promise<number | undefined> {
  const { rows } = await sql<{ ms: number | null }>`
    select extract(epoch from min(due_at) - clock_timestamp())::float8 * 1000 as ms
    from instance where zone = ${zone} and deleted_at is null and due_at is not null`.execute(db);
  return rows[0]?.ms ?? undefined;
}

/**
 * Instances on which a nudge may have been lost while nobody listened: something is open, or what was seen is not what rests.
 * Level-triggered: looking at one too many costs a read.
 */
export async function instancesUnsettled(db: Reader, zone: string): Promise<InstanceId[]> {
  const { rows } = await sql<{ id: InstanceId }>`
    select i.id from instance i
    where i.zone = ${zone} and i.deleted_at is null and (
      exists (select from operation o where o.instance_id = i.id and o.state in ('PENDING', 'RUNNING'))
      or exists (select from address a where a.instance_id = i.id and a.released_at is null and a.held_as <> 'own')
      or i.power = 'gone'
      or (i.power = 'running' and (i.seen is null or i.seen ->> 'is' <> 'running')))
    order by i.id`.execute(db);
  return rows.map((row) => row.id);
}
