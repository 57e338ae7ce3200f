/**
 * Writing down what hosts say. A host speaks only for itself: a report is taken only for an instance that is placed on it, at the
 * epoch of that placement, and only from the session that is that host's newest. What is not taken is told apart, so that a
 * harmless late word (an older epoch) is not mistaken for a host that speaks about another's instance.
 */
import { sql } from "kysely";
import type { SeenMigration } from "../../api/agent-migration.ts";
import type { SeenInstance } from "../../api/agent.ts";
import type { SeenJob } from "../../api/agent-storage.ts";
import type { HostId, InstanceId, MigrationId } from "../../lib/ids.ts";
import type { Tx } from "./database.ts";
import { migrationsSeen } from "./guest-migration-halves.ts";
import { jobsSeen } from "./jobs.ts";
import { toJson } from "./json.ts";

export interface SeenReport {
  hostId: HostId;
  session: string;
  /** Everything that the host has: what is placed there and not named is not there. */
  full: boolean;
  wantedGeneration: number;
  instances: readonly SeenInstance[];
  jobs: readonly SeenJob[];
  migrations: readonly SeenMigration[];
}

export interface SeenOutcome {
  taken: number;
  /** About an instance that is placed on another host, or at an epoch that was never given out; about another host's half of a move. */
  refused: { hostId: HostId; about: InstanceId | MigrationId }[];
  /** About an earlier placement or an ended instance. */
  outdated: number;
  /** VMs that VStation does not know on that host. */
  strangers: number;
}

type Verdict = "taken" | "refused" | "outdated" | "stranger";

/** Commits the reports of several hosts; the instances whose report changed are woken. At most one report per host. */
export async function seenSave(tx: Tx, reports: readonly SeenReport[]): Promise<SeenOutcome> {
  const outcome: SeenOutcome = { taken: 0, refused: [], outdated: 0, strangers: 0 };
  const rows = reports
    .flatMap(({ hostId, session, instances }) =>
      instances.map(({ id, epoch, generation, phase, disks }) => ({
        id,
        host_id: hostId,
        session,
        epoch,
        generation,
        phase,
        disks,
      })),
    )
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
  if (rows.length > 0) {
    const json = toJson(rows);
    // The lock comes first and in the order of ids, as everywhere; see instances.ts.
    const locked = await sql<{ id: InstanceId }>`
      select id from instance where id = any(${rows.map((row) => row.id)}) order by id for no key update`.execute(
      tx.db,
    );
    const known = new Set(locked.rows.map((row) => row.id));
    const { rows: verdicts } = await sql<{ id: InstanceId; host_id: HostId; verdict: Verdict; changed: boolean }>`
      with said as (
        select v.*, case
            when v.phase ->> 'is' = 'stranger' then 'stranger'
            when i.id is null then case when v.phase ->> 'is' = 'gone' then 'outdated' else 'stranger' end
            when i.deleted_at is not null or v.epoch < i.epoch then 'outdated'
            when exists (select from migration m where m.instance_id = i.id and m.ended_at is null and not m.moved
              and m.target_host = v.host_id and m.epoch = v.epoch) then 'outdated'
            when i.host_id is distinct from v.host_id or v.epoch > i.epoch then 'refused'
            when h.session is distinct from v.session then 'outdated'
            else 'taken' end as verdict,
          (i.seen is distinct from v.phase or i.seen_generation <> v.generation or i.seen_epoch <> v.epoch
            or i.seen_disks is distinct from coalesce(nullif(v.disks, 'null'), i.seen_disks)) as changed
        from jsonb_to_recordset(${json}::jsonb)
          as v(id text, host_id text, session text, epoch int, generation bigint, phase jsonb, disks jsonb)
        left join instance i on i.id = v.id left join host h on h.id = v.host_id),
      written as (
        update instance i set seen = s.phase, seen_epoch = s.epoch, seen_generation = s.generation,
          seen_at = clock_timestamp(), seen_disks = coalesce(nullif(s.disks, 'null'), i.seen_disks)
        from said s where s.verdict = 'taken' and s.changed and i.id = s.id)
      select id, host_id, verdict, changed from said`.execute(tx.db);
    for (const { id, host_id: hostId, verdict, changed } of verdicts) {
      if (verdict === "taken") {
        outcome.taken++;
        if (changed && known.has(id)) {
          tx.wake.instance(id);
          tx.wake.event("instance", id);
          tx.wake.storage = true;
        }
      } else if (verdict === "refused") outcome.refused.push({ hostId, about: id });
      else if (verdict === "outdated") outcome.outdated++;
      else outcome.strangers++;
    }
  }
  await disksMade(tx, rows);
  for (const { hostId, session, jobs } of reports) await jobsSeen(tx, hostId, session, jobs);
  for (const report of reports) if (report.full) outcome.taken += await seenAbsent(tx, report);
  // Last, by the order of locks.
  const halves = await migrationsSeen(tx, reports);
  outcome.taken += halves.taken;
  outcome.outdated += halves.outdated;
  outcome.refused.push(...halves.refused);
  return outcome;
}

/** Disks that a machine has open for the first time: from now on their files are never made anew. */
async function disksMade(tx: Tx, rows: readonly { disks: SeenInstance["disks"] }[]): Promise<void> {
  const made = rows.flatMap(({ disks }) => (disks ?? []).flatMap((disk) => (disk.made ? [disk.id] : [])));
  if (made.length === 0) return;
  await sql`
    update disk set made = true where id in (
      select id from disk where id = any(${made}) and not made and deleted_at is null order by id for no key update)`.execute(
    tx.db,
  );
}

/**
 * What a complete report does not name is not on that host, as of the wanted generation that the report takes into account: an
 * instance that changed later may simply not have arrived there yet. Of one that moves nothing is concluded: its hosts speak of it
 * by their halves.
 */
async function seenAbsent(tx: Tx, report: SeenReport): Promise<number> {
  const { rows } = await sql<{ id: InstanceId }>`
    update instance set seen = '{"is": "gone"}', seen_disks = '[]', seen_epoch = epoch, seen_generation = ${report.wantedGeneration},
      seen_at = clock_timestamp()
    where id in (
      select i.id from instance i join host h on h.id = i.host_id
      where i.host_id = ${report.hostId} and i.deleted_at is null and i.generation <= ${report.wantedGeneration}
        and h.session = ${report.session} and not (i.id = any(${report.instances.map(({ id }) => id)}))
        and not (i.seen_epoch = i.epoch and i.seen ->> 'is' = 'gone' and i.seen_generation >= i.generation)
        and not exists (select from migration m where m.instance_id = i.id and m.ended_at is null)
      order by i.id for no key update of i)
    returning id`.execute(tx.db);
  for (const { id } of rows) {
    tx.wake.instance(id);
    tx.wake.event("instance", id);
    tx.wake.storage = true;
  }
  return rows.length;
}
