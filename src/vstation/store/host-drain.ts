/**
 * Draining a host: the wish is `host.drain_began`, and what is done for it are migration requests (migration-queue.ts), one for each
 * guest that runs there. Both are made anew from what is there at each look, so nothing here can be lost.
 */
import { sql, type UpdateObject } from "kysely";
import { defaultCeilingMs, type MigrationPolicy } from "../../core/migration/policy.ts";
import type { SeenPhase } from "../../core/seen.ts";
import { newId, type HostId, type InstanceId, type MigrationId } from "../../lib/ids.ts";
import type { Reader, Tx } from "./database.ts";
import { announceHost } from "./hosts.ts";
import { requestInsert } from "./migration-queue.ts";
import type { Tables } from "./schema.ts";
import type { MigrationRequestRow } from "./schema-migration.ts";

/** How the guests of a drained host are moved. */
export type DrainHow = Pick<MigrationRequestRow, "policy" | "ceiling_ms">;

/**
 * Cordons it as well. Asked again it begins anew: what was given up is tried again. `how` null: as it is drained already, else by `gentle`.
 * False: there is no such host.
 */
export async function hostDrain(tx: Tx, hostId: HostId, how: DrainHow | null): Promise<boolean> {
  const { policy, ceiling_ms } = how ?? gently;
  const asBefore = sql`${how === null} and drain_began is not null`;
  return setDrain(tx, hostId, {
    cordoned: true,
    drain_began: sql<Date>`clock_timestamp()`,
    drain_policy: sql<MigrationPolicy>`case when ${asBefore} then drain_policy else ${policy} end`,
    drain_ceiling_ms: sql<number>`case when ${asBefore} then drain_ceiling_ms else ${ceiling_ms}::integer end`,
  });
}

const gently: DrainHow = { policy: "gentle", ceiling_ms: defaultCeilingMs };

/** Ends the wish and the cordon; what waits is called off by whoever looks next, what has begun goes on. */
export async function hostUndrain(tx: Tx, hostId: HostId): Promise<boolean> {
  return setDrain(tx, hostId, { cordoned: false, drain_began: null });
}

async function setDrain(tx: Tx, hostId: HostId, set: UpdateObject<Tables, "host">): Promise<boolean> {
  const changed = await tx.db
    .updateTable("host")
    .set(set)
    .where("id", "=", hostId)
    .where("removed_at", "is", null)
    .returning("id")
    .executeTakeFirst();
  if (changed === undefined) return false;
  announceHost(tx, hostId);
  return true;
}

export async function anyDraining(db: Reader, zone: string): Promise<boolean> {
  const { rows } = await sql`select from host where zone = ${zone} and drain_began is not null limit 1`.execute(db);
  return rows.length > 0;
}

/** Is its host drained, and in the way that this one was asked for? */
export async function isAsDrained(
  db: Reader,
  { source_host, policy, ceiling_ms }: DrainHow & Pick<MigrationRequestRow, "source_host">,
): Promise<boolean> {
  const { rows } = await sql`
    select from host where id = ${source_host} and drain_began is not null
      and drain_policy = ${policy} and drain_ceiling_ms = ${ceiling_ms}`.execute(db);
  return rows.length > 0;
}

/** Guests that run on a host that is drained, and for which nothing has been asked since that began; what moves is left to its move. */
const unasked = (zone: string) => sql`
  select i.id, h.id as host_id, h.drain_policy as policy, h.drain_ceiling_ms as ceiling_ms from instance i join host h on h.id = i.host_id
  where h.zone = ${zone} and h.drain_began is not null and i.power = 'running' and i.deleted_at is null
    and not exists (select from migration m where m.instance_id = i.id and m.ended_at is null)
    and not exists (
      select from migration_request r where r.instance_id = i.id and (
        r.ended_at is null
        or (r.asked_by = 'drain' and r.source_host = h.id and r.created_at >= h.drain_began and not r.moved
          and r.code not in ('WrongState', 'GuestEnded'))))
  order by i.id`;

/** What a drain waits for no more: the drain, the guest or its place has ended. */
const pointless = (zone: string) => sql`
  select r.id, r.migration_id,
    case when h.drain_began is null then 'MigrationCancelled' when i.host_id = r.source_host then 'WrongState'
      else 'MigrationCancelled' end as code,
    case when h.drain_began is null then 'its host is not drained any more'
      when i.host_id = r.source_host then 'it does not run any more' else 'it is on that host no more' end as message
  from migration_request r join instance i on i.id = r.instance_id join host h on h.id = r.source_host
  where r.zone = ${zone} and r.asked_by = 'drain' and r.ended_at is null
    and not exists (select from migration b where b.id = r.migration_id)
    and (h.drain_began is null or i.host_id is distinct from r.source_host or i.power <> 'running' or i.deleted_at is not null)`;

/** Of a request `r` and its host `h`: the drain has been asked for in another way since. */
const otherwise = sql`(r.asked_by = 'drain' and (r.policy <> h.drain_policy or r.ceiling_ms <> h.drain_ceiling_ms))`;

/** What was asked for in another way. A try that has begun goes on in its own; the next one does not. */
const outdated = (zone: string) => sql`
  select r.id, h.drain_policy as policy, h.drain_ceiling_ms as ceiling_ms
  from migration_request r join host h on h.id = r.source_host
  where r.zone = ${zone} and r.ended_at is null and h.drain_began is not null and ${otherwise}`;

/** Is there anything for {@link drainAsk} to do? */
export async function drainIsDue(db: Reader, zone: string): Promise<boolean> {
  const { rows } = await sql<{ due: boolean }>`
    select exists (${unasked(zone)}) or exists (${pointless(zone)}) or exists (${outdated(zone)}) as due`.execute(db);
  return rows[0]?.due ?? false;
}

/** Asks for what is missing, calls off what has no point any more, and asks in another way where that was wished since. */
export async function drainAsk(tx: Tx, zone: string, tries: number): Promise<void> {
  await sql`
    select from migration_request where zone = ${zone} and asked_by = 'drain' and ended_at is null
    order by id for update`.execute(tx.db);
  const { rows: ended } = await sql<{ migration_id: MigrationId }>`
    with p as (${pointless(zone)})
    update migration_request r set ended_at = clock_timestamp(), code = p.code, message = p.message
    from p where r.id = p.id returning p.migration_id`.execute(tx.db);
  const { rows: changed } = await sql<{ migration_id: MigrationId }>`
    with o as (${outdated(zone)})
    update migration_request r set policy = o.policy, ceiling_ms = o.ceiling_ms,
      code = null, message = null, refused_at = null, not_before = clock_timestamp()
    from o where r.id = o.id returning r.migration_id`.execute(tx.db);
  for (const { migration_id } of [...ended, ...changed]) tx.wake.event("migration", migration_id);
  const { rows: found } = await sql<DrainHow & { id: InstanceId; host_id: HostId }>`${unasked(zone)}`.execute(tx.db);
  await requestInsert(
    tx,
    found.map(({ id, host_id, policy, ceiling_ms }) => ({
      zone,
      instance_id: id,
      asked_by: "drain",
      source_host: host_id,
      to_host: null,
      policy,
      ceiling_ms,
      tries,
      caller_request: "",
      migration_id: newId("migration"),
    })),
  );
}

/** What a drain has still to do, or cannot. */
export interface DrainRow {
  host_id: HostId;
  instance_id: InstanceId;
  power: "running" | "stopped" | "gone";
  /** What its host has last said of it as it is placed now. */
  seen: SeenPhase | null;
  /** A move of it is open, and this host has not let go of it, or it is on its way here. */
  is_moving: boolean;
  migration_id: MigrationId | null;
  request_ended: boolean | null;
  code: string | null;
  message: string | null;
}

export interface DrainRead {
  moved: number;
  rows: DrainRow[];
}

/** Of each of these hosts that is drained. */
export async function drainRead(db: Reader, hostIds: readonly HostId[]): Promise<Map<HostId, DrainRead>> {
  if (hostIds.length === 0) return new Map();
  const { rows: moved } = await sql<{ host_id: HostId; moved: number }>`
    select h.id as host_id, count(r.id) filter (where r.moved
      and not exists (select from migration m where m.id = r.migration_id and m.ended_at is null))::int as moved
    from host h left join migration_request r
      on r.source_host = h.id and r.asked_by = 'drain' and r.ended_at >= h.drain_began
    where h.id = any(${hostIds}) and h.drain_began is not null group by h.id`.execute(db);
  const { rows } = await sql<DrainRow>`
    select h.id as host_id, i.id as instance_id, i.power, i.seen, m.id is not null as is_moving,
      coalesce(m.id, r.migration_id) as migration_id, r.ended_at is not null as request_ended, r.message,
      case when r.ended_at is not null or not ${otherwise} then r.code end as code
    from host h
    join lateral (
      select id, power, case when seen_epoch = epoch then seen end as seen
        from instance where host_id = h.id and deleted_at is null
      union select i.id, i.power, null from migration m join instance i on i.id = m.instance_id
        where i.host_id is distinct from h.id and m.ended_at is null
          and (m.source_host = h.id or (m.target_host = h.id and not m.moved and not m.target_over))) i on true
    left join migration m on m.instance_id = i.id and m.ended_at is null
      and (m.source_host = h.id or (m.target_host = h.id and not m.moved and not m.target_over))
    left join lateral (
      select * from migration_request r where r.instance_id = i.id and r.source_host = h.id
        and (r.ended_at is null or r.created_at >= h.drain_began)
      order by r.created_at desc limit 1) r on true
    where h.id = any(${hostIds}) and h.drain_began is not null order by i.id`.execute(db);
  return new Map(
    moved.map(({ host_id, moved: count }) => [
      host_id,
      { moved: count, rows: rows.filter((row) => row.host_id === host_id) },
    ]),
  );
}

/** Tries of this host's drain that have begun and are not decided. */
export async function drainFlights(db: Reader, hostId: HostId): Promise<MigrationId[]> {
  const { rows } = await sql<{ id: MigrationId }>`
    select m.id from migration m join migration_request r on r.id = m.request_id
    where m.source_host = ${hostId} and m.ended_at is null and not m.moved and r.asked_by = 'drain' order by m.id`.execute(
    db,
  );
  return rows.map(({ id }) => id);
}
