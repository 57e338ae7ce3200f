/**
 * Jobs on hosts (src/api/agent-storage.ts): VStation begins and ends each once, the host says how far it is. A job is bound to its
 * host for good. Lock order: after instances, disks and snapshots; the host's row is locked when its generation moves.
 */
import { sql } from "kysely";
import type { JobSpec, SeenJob, WantedJob } from "../../api/agent-storage.ts";
import { newId, type DiskId, type HostId, type JobId } from "../../lib/ids.ts";
import { hostGenerationBump, type Reader, type Tx } from "./database.ts";
import { toJson } from "./json.ts";
import type { HostJobRow } from "./schema.ts";

export interface NewJob {
  zone: string;
  hostId: HostId;
  /** What it is about: who waits for its end finds it by this. */
  subject: string;
  spec: JobSpec;
}

/** Orders a job; the host hears of it when the transaction commits. */
export async function jobBegin(tx: Tx, job: NewJob): Promise<JobId> {
  const generations = await hostGenerationBump(tx, [job.hostId]);
  const id = newId("job");
  await tx.db
    .insertInto("host_job")
    .values({
      id,
      zone: job.zone,
      host_id: job.hostId,
      generation: generations.get(job.hostId) ?? 0,
      subject: job.subject,
      spec: toJson(job.spec) as unknown as JobSpec,
      seen: null,
    })
    .execute();
  tx.wake.storage = true;
  return id;
}

/** It is over, or not wanted any more: its host, which is returned, throws away what is unfinished of it and forgets it. */
export async function jobEnd(tx: Tx, id: JobId): Promise<HostId | undefined> {
  const job = await jobRead(tx.db, id);
  if (job === undefined || job.ended_at !== null) return job?.host_id;
  const generations = await hostGenerationBump(tx, [job.host_id]);
  await tx.db
    .updateTable("host_job")
    .set({ ended_at: sql<Date>`clock_timestamp()`, generation: generations.get(job.host_id) ?? job.generation })
    .where("id", "=", id)
    .where("ended_at", "is", null)
    .execute();
  return job.host_id;
}

export async function jobRead(db: Reader, id: JobId): Promise<HostJobRow | undefined> {
  return db.selectFrom("host_job").selectAll().where("id", "=", id).executeTakeFirst();
}

/** What a host is to know since its generation; since 0 = everything that is not over. */
export async function jobsSince(db: Reader, hostId: HostId, since: number): Promise<WantedJob[]> {
  let query = db
    .selectFrom("host_job")
    .select(["id", "generation", "spec", "ended_at"])
    .where("host_id", "=", hostId)
    .where("generation", ">", since);
  if (since === 0) query = query.where("ended_at", "is", null);
  const rows = await query.orderBy("generation").execute();
  return rows.map(({ id, generation, spec, ended_at }) => ({ id, generation, spec, gone: ended_at !== null }));
}

/** Writes down what a host says of its own jobs; a word about one that is over, or another host's, is not taken. */
export async function jobsSeen(tx: Tx, hostId: HostId, session: string, jobs: readonly SeenJob[]): Promise<void> {
  if (jobs.length === 0) return;
  const { rows } = await sql<{ subject: string }>`
    update host_job j set seen = v.state
    from jsonb_to_recordset(${toJson(jobs)}::jsonb) as v(id text, state jsonb), host h
    where j.id = v.id and j.host_id = ${hostId} and h.id = j.host_id and h.session = ${session}
      and j.ended_at is null and j.seen is distinct from v.state
    returning j.subject`.execute(tx.db);
  if (rows.length > 0) tx.wake.storage = true;
}

/** Those of the disks with whose content a job is under way. */
export async function jobsOnDisks(db: Reader, ids: readonly DiskId[]): Promise<DiskId[]> {
  const { rows } = await sql<{ id: DiskId }>`
    select distinct spec -> 'disk' ->> 'id' as id from host_job
    where ended_at is null and spec -> 'disk' ->> 'id' = any(${[...ids]})`.execute(db);
  return rows.map(({ id }) => id);
}

/** Jobs that nobody waits for but who ended them: removals that are done. */
export async function jobsFinished(db: Reader, zone: string): Promise<JobId[]> {
  const { rows } = await sql<{ id: JobId }>`
    select id from host_job where zone = ${zone} and ended_at is null and seen ->> 'is' = 'done'
      and spec ->> 'kind' in ('disk.delete', 'snapshot.delete')`.execute(db);
  return rows.map(({ id }) => id);
}

/** Jobs that are over need not be remembered once their host has surely heard of it. */
export async function jobsForget(db: Reader, keepDays: number): Promise<void> {
  await sql`delete from host_job where ended_at < clock_timestamp() - make_interval(days => ${keepDays})`.execute(db);
}
