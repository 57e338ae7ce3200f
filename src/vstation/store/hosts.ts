/** Hosts: their certificate, their newest session, what they offer, and when they were last heard of. */
import { sql } from "kysely";
import type { Inventory, Readiness } from "../../api/agent.ts";
import type { Room } from "../../core/placement.ts";
import type { HostId, ImageId } from "../../lib/ids.ts";
import type { Reader, Store, Tx } from "./database.ts";
import { hostSilenceSeconds } from "./instances.ts";
import { halvesEnded, halvesLeftAt } from "./guest-migration-halves.ts";
import { roomMeanwhile } from "./guest-migrations.ts";
import type { HostRow } from "./schema.ts";
import { toJson } from "./json.ts";

export interface HostHello {
  session: string;
  bootId: string;
  underlayAddress: string;
  inventory: Inventory;
  readiness: Readiness;
  overcommit: { cpu: number; memory: number };
}

/** A host's new session takes over from any older one; where its addresses live follows its underlay address. */
export async function hostHello(tx: Tx, zone: string, hostId: HostId, hello: HostHello): Promise<HostRow | undefined> {
  await sql`
    with moved as (
      select a.id from address a where a.host_id = ${hostId} and a.released_at is null
        and a.vtep is distinct from ${hello.underlayAddress}),
    z as (
      update zone set peer_generation = peer_generation + 1
      where name = ${zone} and exists (select from moved) returning peer_generation)
    update address set vtep = ${hello.underlayAddress}, peer_generation = z.peer_generation
    from z where address.id in (select id from moved)`.execute(tx.db);
  const row = await tx.db
    .updateTable("host")
    .set({
      session: hello.session,
      replica: tx.replica,
      boot_id: hello.bootId,
      underlay_address: hello.underlayAddress,
      inventory: toJson(hello.inventory) as unknown as Inventory,
      readiness: toJson(hello.readiness) as unknown as Readiness,
      overcommit_cpu: hello.overcommit.cpu,
      overcommit_memory: hello.overcommit.memory,
      seen_at: sql<Date>`clock_timestamp()`,
    })
    .where("id", "=", hostId)
    .where("removed_at", "is", null)
    .returningAll()
    .executeTakeFirst();
  announceHost(tx, hostId);
  tx.wake.peers = true;
  return row;
}

export async function hostReport(tx: Tx, hostId: HostId, inventory: Inventory, readiness: Readiness): Promise<void> {
  await tx.db
    .updateTable("host")
    .set({
      inventory: toJson(inventory) as unknown as Inventory,
      readiness: toJson(readiness) as unknown as Readiness,
    })
    .where("id", "=", hostId)
    .execute();
  announceHost(tx, hostId);
}

/** The session's connection ended; nothing happens if a newer one has taken over. True if it was the newest. */
export async function hostLost(tx: Tx, hostId: HostId, session: string): Promise<boolean> {
  const lost = await tx.db
    .updateTable("host")
    .set({ session: null, replica: null })
    .where("id", "=", hostId)
    .where("session", "=", session)
    .returning("id")
    .executeTakeFirst();
  if (lost === undefined) return false;
  await wakeInstances(tx, hostId);
  announceHost(tx, hostId);
  return true;
}

/** True once a host has been given a certificate. */
export async function anyHostJoined(store: Store): Promise<boolean> {
  const { rows } = await store.read((db) => sql`select 1 from host limit 1`.execute(db));
  return rows.length > 0;
}

/** Hosts whose replica died with them connected: their rows say connected, but nobody has heard of them for too long. */
export async function hostsSilent(tx: Tx): Promise<HostId[]> {
  const { rows } = await sql<{ id: HostId }>`
    update host set session = null, replica = null
    where id in (
      select id from host
      where session is not null and seen_at < clock_timestamp() - make_interval(secs => ${hostSilenceSeconds})
      order by id for update skip locked)
    returning id`.execute(tx.db);
  for (const { id } of rows) {
    await wakeInstances(tx, id);
    announceHost(tx, id);
  }
  return rows.map((row) => row.id);
}

export function announceHost(tx: Tx, hostId: HostId): void {
  tx.wake.host(hostId);
  tx.wake.capacity = true;
  tx.wake.migrations = true;
  tx.wake.event("host", hostId);
}

/** Instances with something under way look at their deadlines again when their host comes or goes. */
async function wakeInstances(tx: Tx, hostId: HostId): Promise<void> {
  const rows = await tx.db
    .selectFrom("instance")
    .innerJoin("operation", "operation.instance_id", "instance.id")
    .select("instance.id")
    .where("instance.host_id", "=", hostId)
    .where("operation.state", "in", ["PENDING", "RUNNING"])
    .execute();
  for (const { id } of rows) tx.wake.instance(id);
}

/** Hosts that answered a heartbeat lately. */
export async function hostsHeard(store: Store, sessions: readonly string[]): Promise<void> {
  if (sessions.length === 0) return;
  await store.read((db) =>
    db
      .updateTable("host")
      .set({ seen_at: sql<Date>`clock_timestamp()` })
      .where("session", "in", [...sessions])
      .execute(),
  );
}

export interface HostUse extends Room {
  instances: number;
}

export interface HostRead {
  row: HostRow;
  /** Its newest session was heard of lately. */
  connected: boolean;
  use: HostUse;
  /** What data disks take of its own storage; not in `use`, which is about instances. */
  dataDiskGiB: number;
}

export async function hostRead(db: Reader, filter: { id?: HostId; zone?: string } = {}): Promise<HostRead[]> {
  const { rows } = await sql<
    HostRow & { connected: boolean; data_disk_gib: number } & { [K in `use_${keyof HostUse}`]: number }
  >`
    select h.*,
      coalesce(h.session is not null and h.seen_at > now() - make_interval(secs => ${hostSilenceSeconds}), false) as connected,
      (select coalesce(sum(d.size_gib), 0)::int from (
        select host_id, size_gib from disk where usage = 'DATA_DISK' and deleted_at is null
        union all
        select m.host_id, d.size_gib from (${roomMeanwhile}) m join disk d on d.instance_id = m.instance_id
        where d.usage = 'DATA_DISK' and d.driver = 'local' and d.deleted_at is null) d
        where d.host_id = h.id) as data_disk_gib,
      coalesce(sum(i.vcpus) filter (where not i.is_dedicated), 0)::int as "use_vcpus",
      coalesce(sum(i.vcpus) filter (where i.is_dedicated), 0)::int as "use_dedicated",
      coalesce(sum(i.memory_mib) filter (where i.pages is null), 0)::bigint as "use_memoryMiB",
      coalesce(sum(i.memory_mib) filter (where i.pages = '2M'), 0)::bigint as "use_pages2MiB",
      coalesce(sum(i.memory_mib) filter (where i.pages = '1G'), 0)::bigint as "use_pages1GiB",
      coalesce(sum(i.disk_gib), 0)::bigint as "use_diskGiB", count(i.id) filter (where not i.is_meanwhile)::int as "use_instances"
    from host h left join (
      select id, host_id, vcpus, memory_mib, disk_gib, is_meanwhile,
        coalesce(machine->>'cpu' = 'dedicated', false) as is_dedicated, machine->>'hugepages' as pages
      from (
        select id, host_id, vcpus, memory_mib, disk_gib, machine, false as is_meanwhile
        from instance where deleted_at is null
        union all
        select i.id, m.host_id, i.vcpus, i.memory_mib, i.disk_gib, i.machine, true
        from (${roomMeanwhile}) m join instance i on i.id = m.instance_id) placed) i on i.host_id = h.id
    where ${filter.id === undefined ? sql`true` : sql`h.id = ${filter.id}`}
      and ${filter.zone === undefined ? sql`true` : sql`h.zone = ${filter.zone}`}
    group by h.id order by h.name`.execute(db);
  return rows.map((all) => {
    const {
      connected,
      data_disk_gib: dataDiskGiB,
      use_vcpus,
      use_dedicated,
      use_memoryMiB,
      use_pages2MiB,
      use_pages1GiB,
      ...rest
    } = all;
    const { use_diskGiB, use_instances, ...row } = rest;
    const use = {
      vcpus: use_vcpus,
      dedicated: use_dedicated,
      memoryMiB: use_memoryMiB,
      pages2MiB: use_pages2MiB,
      pages1GiB: use_pages1GiB,
      diskGiB: use_diskGiB,
      instances: use_instances,
    };
    return { row, connected, dataDiskGiB, use };
  });
}

/** The joining whose certificates are believed. */
export async function hostJoining(
  db: Reader,
  hostId: HostId,
): Promise<{ joining: string; removed: boolean } | undefined> {
  const row = await db
    .selectFrom("host")
    .select(["certificate_serial", "removed_at"])
    .where("id", "=", hostId)
    .executeTakeFirst();
  return row && { joining: row.certificate_serial, removed: row.removed_at !== null };
}

/** Is there a host of this name that was not taken out? */
export async function hostNamed(db: Reader, zone: string, name: string): Promise<boolean> {
  const found = await db
    .selectFrom("host")
    .select("id")
    .where("zone", "=", zone)
    .where("name", "=", name)
    .where("removed_at", "is", null)
    .executeTakeFirst();
  return found !== undefined;
}

/** One that takes new instances is not drained. False: there is no such host. */
export async function hostCordon(tx: Tx, hostId: HostId, cordoned: boolean): Promise<boolean> {
  const changed = await tx.db
    .updateTable("host")
    .set(cordoned ? { cordoned } : { cordoned, drain_began: null })
    .where("id", "=", hostId)
    .where("removed_at", "is", null)
    .returning("id")
    .executeTakeFirst();
  if (changed !== undefined) announceHost(tx, hostId);
  return changed !== undefined;
}

export type HostRemoval =
  | { outcome: "removed"; wasConnected: boolean }
  | { outcome: "unknown" | "unreachable" }
  /** Instances placed there; disks, snapshots and jobs that have a file or an end only there. */
  | { outcome: "occupied"; ids: string[] };

/**
 * Takes a host out, unless something lies on it. Its row is locked before that is looked at, as every placement locks it before it inserts
 * (hostGenerationBump): one of the two sees the other. Ending its session makes whichever replica has it look again and say so.
 *
 * A guest that was on its way to a host that is dead and stayed at its source, or that has left it for good, is no reason against it: that move ends
 * with the host.
 */
export async function hostRemove(tx: Tx, hostId: HostId, unreachableToo: boolean): Promise<HostRemoval> {
  const endedByIt = unreachableToo ? await halvesLeftAt(tx, hostId) : [];
  const { rows } = await sql<{ connected: boolean }>`
    select coalesce(session is not null and seen_at > now() - make_interval(secs => ${hostSilenceSeconds}), false) as connected
    from host where id = ${hostId} and removed_at is null for update`.execute(tx.db);
  const host = rows[0];
  if (host === undefined) return { outcome: "unknown" };
  const placed = await sql<{ id: string }>`
    select id from instance where host_id = ${hostId} and deleted_at is null
    union all select id from disk where host_id = ${hostId} and deleted_at is null
    union all select id from snapshot where host_id = ${hostId} and deleted_at is null
    union all select id from host_job where host_id = ${hostId} and ended_at is null
    union all select id from migration where (source_host = ${hostId} or (target_host = ${hostId} and (moved or not target_over)))
      and ended_at is null and not (id = any(${host.connected ? [] : endedByIt}))
    order by id`.execute(tx.db);
  if (placed.rows.length > 0) return { outcome: "occupied", ids: placed.rows.map(({ id }) => id) };
  if (!host.connected && !unreachableToo) return { outcome: "unreachable" };
  await halvesEnded(tx, hostId, endedByIt);
  await tx.db
    .updateTable("host")
    .set({ removed_at: sql<Date>`clock_timestamp()`, session: null, replica: null, cordoned: false, drain_began: null })
    .where("id", "=", hostId)
    .execute();
  announceHost(tx, hostId);
  return { outcome: "removed", wasConnected: host.connected };
}

/** Is an instance of this image placed on this host, or on its way there? */
export async function hostUsesImage(db: Reader, hostId: HostId, imageId: ImageId): Promise<boolean> {
  const { rows } = await sql`
    select from instance where host_id = ${hostId} and image_id = ${imageId} and deleted_at is null
    union all
    select from migration m join instance i on i.id = m.instance_id
      where m.target_host = ${hostId} and m.ended_at is null and i.image_id = ${imageId}
    limit 1`.execute(db);
  return rows.length > 0;
}
