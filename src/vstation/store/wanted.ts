/**
 * What a host is to know since the generation that it has. Each read is one statement, hence one snapshot: the counter and
 * the rows belong together, because a commit that changes a row moves its host's counter under that host's row lock.
 */
import { sql } from "kysely";
import type { WantedJob } from "../../api/agent-storage.ts";
import type { Peer, WantedInstance, WantedMigration } from "../../api/agent.ts";
import type { CpuBaseline } from "../../core/machine.ts";
import { unreachable } from "../../lib/errors.ts";
import type { HostId } from "../../lib/ids.ts";
import type { Reader } from "./database.ts";
import { powerOf } from "./facts.ts";
import { migrationsSince } from "./guest-migration-halves.ts";
import { jobsSince } from "./jobs.ts";
import { groupsColumn, networkExpression, noNetwork, type WantedNetworkRead } from "./network-wanted.ts";
import type { InstanceRow } from "./schema.ts";
import { specColumns, specOf, type SpecRow } from "./wanted-spec.ts";

export interface WantedRead {
  generation: number;
  /** The Compute process that is this host's newest; another one's connection is over. */
  session: string | null;
  network: WantedNetworkRead;
  /** The host was taken out. */
  removed: boolean;
  instances: WantedInstance[];
  jobs: WantedJob[];
  migrations: WantedMigration[];
}

/** Everything of this host that changed after `since`; since 0 = everything. Undefined: no such host. */
export async function wantedSince(
  db: Reader,
  hostId: HostId,
  since: number,
  baseline: CpuBaseline,
): Promise<WantedRead | undefined> {
  const { rows } = await sql<Head & WantedRow>`
    select h.wanted_generation as host_generation, h.session as host_session, h.removed_at is not null as host_removed,
      case when row_number() over (order by i.generation, i.id) = 1 then ${networkExpression(hostId)} end as network,
      i.*, ${specColumns("i.id")}
    from host h
    left join instance i on i.host_id = h.id and i.deleted_at is null and i.generation > ${since}
    where h.id = ${hostId}
    order by i.generation, i.id`.execute(db);
  const first = rows[0];
  if (first === undefined) return undefined;
  // Read after the counter: what a later commit changed is told now and once more with its generation, and never missed.
  const jobs = await jobsSince(db, hostId, since);
  const migrations = await migrationsSince(db, hostId, since, baseline);
  return {
    generation: first.host_generation,
    session: first.host_session,
    removed: first.host_removed,
    network: first.network ?? noNetwork,
    instances: rows.filter((row) => row.id !== null).map((row) => wantedInstance(row, baseline)),
    jobs,
    migrations,
  };
}

interface Head {
  host_generation: number;
  host_session: string | null;
  host_removed: boolean;
  /** In the first row. */
  network: WantedNetworkRead | null;
}
type WantedRow = InstanceRow & SpecRow;

function wantedInstance(row: WantedRow, baseline: CpuBaseline): WantedInstance {
  const { id, generation, epoch } = row;
  return { id, generation, epoch, spec: specOf(row, baseline), power: wantedPower(row) };
}

function wantedPower(row: InstanceRow): WantedInstance["power"] {
  const power = powerOf(row);
  switch (power.is) {
    case "running":
      return { state: "running", incarnation: row.incarnation, resets: row.resets };
    case "stopped":
      return { state: "stopped", how: power.how };
    case "gone":
      return { state: "gone" };
    default:
      return unreachable(power);
  }
}

export interface PeersRead {
  generation: number;
  peers: Peer[];
}

/** Where addresses of the zone live, changed after `since`; since 0 = all that are in use. */
export async function peersSince(db: Reader, zone: string, since: number): Promise<PeersRead> {
  const live = since === 0 ? sql`and a.released_at is null` : sql``;
  const { rows } = await sql<{ zone_generation: number; subnet_id: Peer["subnetId"] | null } & Omit<Peer, "subnetId">>`
    select z.peer_generation as zone_generation, a.subnet_id, a.ip, a.mac, a.vtep, i.hostname as name,
      ${groupsColumn("a.instance_id")} as "groupIds"
    from zone z
    left join address a on a.zone = z.name and a.peer_generation > ${since} ${live}
    left join instance i on i.id = a.instance_id
    where z.name = ${zone}
    order by a.peer_generation, a.id`.execute(db);
  // A released address may have been given out again since: its last word counts.
  const last = new Map<string, Peer>();
  for (const { subnet_id: subnetId, ip, mac, vtep, name, groupIds } of rows) {
    if (subnetId !== null) last.set(`${subnetId} ${ip}`, { subnetId, ip, mac, vtep, name, groupIds });
  }
  return { generation: rows[0]?.zone_generation ?? 0, peers: [...last.values()] };
}
