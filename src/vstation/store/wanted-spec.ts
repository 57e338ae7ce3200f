/** What a guest is made of, as its host is told: from the instance's row and what hangs on it. */
import { sql, type RawBuilder } from "kysely";
import { noLimits, type DataDisk, type SystemDisk } from "../../api/agent-storage.ts";
import type { InstanceSpec } from "../../api/agent.ts";
import { guestVcpus, plainPromise, type CpuBaseline } from "../../core/machine.ts";
import type { InstanceId, SecurityGroupId } from "../../lib/ids.ts";
import type { Reader } from "./database.ts";
import { elasticColumn, groupsColumn } from "./network-wanted.ts";
import type { DiskRow, InstanceRow } from "./schema.ts";

export type SpecRow = Pick<
  InstanceRow,
  | "name"
  | "hostname"
  | "vcpus"
  | "memory_mib"
  | "image_id"
  | "disk_id"
  | "disk_gib"
  | "mac"
  | "ip"
  | "subnet_id"
  | "user_data"
  | "public_keys"
  | "login"
  | "machine"
> & { security_group_ids: SecurityGroupId[]; elastic_ip: string | null; disks: DiskRow[] };

/** The columns of {@link SpecRow} that stand in other tables. */
export function specColumns(instance: string): RawBuilder<unknown> {
  return sql`${groupsColumn(instance)} as security_group_ids, ${elasticColumn(instance)} as elastic_ip,
    (select coalesce(jsonb_agg(d order by d.slot), '[]') from disk d
      where d.instance_id = ${sql.ref(instance)} and d.deleted_at is null) as disks`;
}

/** What an instance would be told to be now, under this processor. */
export async function specRead(db: Reader, id: InstanceId, baseline: CpuBaseline): Promise<InstanceSpec> {
  const { rows } = await sql<SpecRow>`select i.*, ${specColumns("i.id")} from instance i where i.id = ${id}`.execute(
    db,
  );
  const [row] = rows;
  if (row === undefined) throw new Error(`there is no instance ${id}`);
  return specOf(row, baseline);
}

export function specOf(row: SpecRow, baseline: CpuBaseline): InstanceSpec {
  const promised = row.machine ?? plainPromise;
  return {
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
  };
}

function systemDiskOf({ disk_id: id, disk_gib, disks }: SpecRow): SystemDisk {
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
