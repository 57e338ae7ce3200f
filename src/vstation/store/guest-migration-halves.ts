/**
 * The two halves of a move, as their hosts are told of them and speak of them. A host speaks only for its own half; once it has said
 * its final word (core/migration/halves.ts) nothing that comes later, or came late, is taken in its place.
 */
import { sql } from "kysely";
import { localDisksOf, type SeenMigration } from "../../api/agent-migration.ts";
import type { WantedMigration } from "../../api/agent.ts";
import type { CpuBaseline } from "../../core/machine.ts";
import type { SourceState, TargetState } from "../../core/migration/halves.ts";
import type { HostId, InstanceId, MigrationId } from "../../lib/ids.ts";
import type { Reader, Tx } from "./database.ts";
import { storiesSave } from "./guest-migration-story.ts";
import { toJson } from "./json.ts";
import type { MigrationRow } from "./schema-migration.ts";
import { specColumns, specOf, type SpecRow } from "./wanted-spec.ts";

/** What a host is to know since its generation; since 0 = every half that is not over. */
export async function migrationsSince(
  db: Reader,
  hostId: HostId,
  since: number,
  baseline: CpuBaseline,
): Promise<WantedMigration[]> {
  const { rows } = await sql<MigrationRow & { target_address: string | null; instance: SpecRow }>`
    select m.*, t.underlay_address as target_address,
      to_jsonb(i) || (select to_jsonb(extra) from (select ${specColumns("i.id")}) extra) as instance
    from migration m join instance i on i.id = m.instance_id join host t on t.id = m.target_host
    where (m.source_host = ${hostId} and m.source_generation > ${since} and (${since} > 0 or not m.source_over))
      or (m.target_host = ${hostId} and m.target_generation > ${since} and (${since} > 0 or not m.target_over))
    order by m.id`.execute(db);
  return rows.flatMap((row): WantedMigration[] => {
    const { id, instance_id: instanceId, wish, port, fate } = row;
    const common = { id, instanceId, wish };
    if (row.source_host === hostId) {
      // One that has never said where it is has never been chosen as a target.
      if (row.target_address === null) return [];
      const half = { is: "source" as const, targetHostId: row.target_host, address: row.target_address, port, fate };
      const disks = localDisksOf(specOf(row.instance, baseline));
      const how = { epoch: row.epoch - 1, policy: row.policy, ceilingMs: row.ceiling_ms, disks };
      return [{ ...common, generation: row.source_generation, gone: row.source_over, half: { ...half, ...how } }];
    }
    const { source_host: sourceHostId, epoch, incarnation, resets } = row;
    const half = {
      is: "target" as const,
      sourceHostId,
      spec: specOf(row.instance, baseline),
      epoch,
      incarnation,
      resets,
    };
    return [{ ...common, generation: row.target_generation, gone: row.target_over, half }];
  });
}

export interface HalvesReport {
  hostId: HostId;
  session: string;
  migrations: readonly SeenMigration[];
}

export interface HalvesOutcome {
  taken: number;
  outdated: number;
  refused: { hostId: HostId; about: MigrationId | InstanceId }[];
}

/** How often the mere progress of a copy is written down. */
const progressSeconds = 1;

/** Writes down what hosts say of their halves. */
export async function migrationsSeen(tx: Tx, reports: readonly HalvesReport[]): Promise<HalvesOutcome> {
  const outcome: HalvesOutcome = { taken: 0, outdated: 0, refused: [] };
  const said = reports.flatMap(({ hostId, session, migrations }) =>
    migrations.map(({ id, half }) => ({ id, host_id: hostId, session, is: half.is, state: half.state })),
  );
  if (said.length === 0) return outcome;
  const ids = said.map(({ id }) => id);
  await sql`select from migration where id = any(${ids}) order by id for no key update`.execute(tx.db);
  for (const half of ["source", "target"] as const) {
    const rows = said.filter(({ is }) => is === half);
    if (rows.length > 0) await halvesSeen(tx, half, rows, outcome);
  }
  await storiesSave(tx, reports);
  return outcome;
}

/** Moves of which it is decided where the guest goes on, elsewhere than here, and that are open only because of what this host has of them; locked. */
export async function halvesLeftAt(tx: Tx, hostId: HostId): Promise<MigrationId[]> {
  const { rows } = await sql<{ id: MigrationId }>`
    select id from migration where ended_at is null
      and ((target_host = ${hostId} and seen_source ->> 'is' = 'stayed') or (source_host = ${hostId} and moved))
    order by id for no key update`.execute(tx.db);
  return rows.map(({ id }) => id);
}

/** That host is dead: it says no word of its own any more. The reconciler of migrations ends them. */
export async function halvesEnded(tx: Tx, hostId: HostId, ids: readonly MigrationId[]): Promise<void> {
  if (ids.length === 0) return;
  const message = "its host was taken out as a dead one";
  const dropped: TargetState = { is: "dropped", reason: "link_lost", message };
  const left: SourceState = { is: "left", pauseMs: null };
  await sql`update migration set
      seen_target = case when target_host = ${hostId} then ${toJson(dropped)}::jsonb else seen_target end,
      seen_source = case when source_host = ${hostId} then ${toJson(left)}::jsonb else seen_source end
    where id = any(${ids})`.execute(tx.db);
  tx.wake.migrations = true;
  for (const id of ids) tx.wake.event("migration", id);
}

async function halvesSeen(
  tx: Tx,
  half: "source" | "target",
  said: readonly object[],
  outcome: HalvesOutcome,
): Promise<void> {
  const seen = sql.ref(`m.seen_${half}`);
  const host = sql.ref(`m.${half}_host`);
  const set =
    half === "source"
      ? sql`seen_source = s.state, seen_source_at = clock_timestamp(),
          last_progress = coalesce(nullif(s.state -> 'progress', 'null'), last_progress)`
      : sql`seen_target = s.state`;
  const { rows } = await sql<{
    id: MigrationId;
    host_id: HostId;
    verdict: "taken" | "outdated" | "refused";
    changed: boolean;
  }>`
    with said as (
      select v.*, case
          when m.id is null then 'outdated'
          when ${host} <> v.host_id then 'refused'
          when m.ended_at is not null or h.session is distinct from v.session then 'outdated'
          when ${seen} ->> 'is' in ('stayed', 'left', 'arrived', 'dropped') then 'outdated'
          else 'taken' end as verdict,
        ${seen} is distinct from v.state and not (
          ${seen} ->> 'is' is not distinct from 'copying' and v.state ->> 'is' = 'copying'
          and m.seen_source_at > clock_timestamp() - make_interval(secs => ${progressSeconds})) as changed
      from jsonb_to_recordset(${toJson(said)}::jsonb) as v(id text, host_id text, session text, state jsonb)
      left join migration m on m.id = v.id left join host h on h.id = v.host_id),
    written as (
      update migration m set ${set} from said s where s.verdict = 'taken' and s.changed and m.id = s.id)
    select id, host_id, verdict, changed from said`.execute(tx.db);
  for (const { id, host_id: hostId, verdict, changed } of rows) {
    if (verdict === "refused") outcome.refused.push({ hostId, about: id });
    else outcome[verdict]++;
    if (verdict !== "taken" || !changed) continue;
    tx.wake.migrations = true;
    tx.wake.event("migration", id);
  }
}
