/**
 * What a host is to know since the generation that it has. Each read is one statement, hence one snapshot: the counter and
 * the rows belong together, because a commit that changes a row moves its host's counter under that host's row lock.
 */
import { sql } from "kysely";
import { noLimits, type DataDisk, type SystemDisk, type WantedJob } from "../../api/agent-storage.ts";
import type { Peer, WantedInstance } from "../../api/agent.ts";
import { guestVcpus, plainPromise, type CpuBaseline } from "../../core/machine.ts";
import { unreachable } from "../../lib/errors.ts";
import type { HostId, SecurityGroupId } from "../../lib/ids.ts";
import type { Reader } from "./database.ts";
import { powerOf } from "./facts.ts";
import { jobsSince } from "./jobs.ts";
import { elasticColumn, groupsColumn, networkExpression, noNetwork, type WantedNetworkRead } from "./network-wanted.ts";
import type { DiskRow, InstanceRow } from "./schema.ts";

export interface WantedRead {
  generation: number;
  /** The Compute process that is this host's newest; another one's connection is over. */
  session: string | null;
  network: WantedNetworkRead;
  /** The host was taken out. */
  removed: boolean;
  instances: WantedInstance[];
  jobs: WantedJob[];
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
      i.*, ${groupsColumn("i.id")} as security_group_ids, ${elasticColumn("i.id")} as elastic_ip,
      (select coalesce(jsonb_agg(d order by d.slot), '[]') from disk d
        where d.instance_id = i.id and d.deleted_at is null) as disks
    from host h
    left join instance i on i.host_id = h.id and i.deleted_at is null and i.generation > ${since}
    where h.id = ${hostId}
    order by i.generation, i.id`.execute(db);
  const first = rows[0];
  if (first === undefined) return undefined;
  // Read after the counter: a job of a later commit is told now and once more with its generation, and never missed.
  const jobs = await jobsSince(db, hostId, since);
  return {
    generation: first.host_generation,
    session: first.host_session,
    removed: first.host_removed,
    network: first.network ?? noNetwork,
    instances: rows.filter((row) => row.id !== null).map((row) => wantedInstance(row, baseline)),
    jobs,
  };
}

interface Head {
  host_generation: number;
  host_session: string | null;
  host_removed: boolean;
  /** In the first row. */
  network: WantedNetworkRead | null;
}
type WantedRow = InstanceRow & { security_group_ids: SecurityGroupId[]; elastic_ip: string | null; disks: DiskRow[] };

function wantedInstance(row: WantedRow, baseline: CpuBaseline): WantedInstance {
  const promised = row.machine ?? plainPromise;
  return {
    id: row.id,
    generation: row.generation,
    epoch: row.epoch,
    spec: {
      name: row.name,
      hostname: row.hostname,
      vcpus: guestVcpus(row.vcpus, promised),
      memoryMiB: row.memory_mib,
      imageId: row.image_id,
      systemDisk: systemDiskOf(row),
      dataDisks: row.disks.flatMap(dataDiskOf),
      nics: [
        {
          mac: row.mac,
          ip: row.ip,
          subnetId: row.subnet_id,
          securityGroupIds: row.security_group_ids,
          elasticIp: row.elastic_ip,
        },
      ],
      userData: row.user_data,
      publicKeys: row.public_keys,
      login: row.login,
      machine: { ...promised, baseline },
    },
    power: wantedPower(row),
  };
}

function systemDiskOf({ disk_id: id, disk_gib, disks }: WantedRow): SystemDisk {
  const disk = disks.find((each) => each.id === id);
  if (disk === undefined) return { id, sizeGiB: Math.max(1, disk_gib), driver: "local", limits: noLimits };
  return { id, sizeGiB: disk.size_gib, driver: disk.driver, limits: limitsOf(disk) };
}

/** One that is being detached is not wanted in the machine any more, nor is one whose content is not there yet. */
function dataDiskOf(disk: DiskRow): DataDisk[] {
  const { id, usage, driver, slot, made, work } = disk;
  if (usage !== "DATA_DISK" || slot === null || work?.is === "detach") return [];
  return [{ id, sizeGiB: disk.size_gib, driver, limits: limitsOf(disk), slot, made }];
}

function limitsOf({ limit_bytes: bytes, limit_iops: iops }: DiskRow): SystemDisk["limits"] {
  return { bytes, iops };
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
