/** Instances as clients see them: rows with what is derived from them. */
import { attention } from "../../core/attention.ts";
import type { InstanceView, OperationView } from "../cloud.ts";
import type { InstanceRead } from "../store/instance-list.ts";
import type { DiskRow } from "../store/schema.ts";

export function instanceView(
  { row, state, keyIds, disks, securityGroupIds, elastic, tags, hostName, hostConnected }: InstanceRead,
  latest: OperationView | null,
): InstanceView {
  const stale = row.host_id !== null && !hostConnected;
  const seen = row.seen_epoch === row.epoch ? row.seen : null;
  return {
    id: row.id,
    accountId: row.account_id,
    uuid: row.uuid,
    name: row.name,
    state,
    instanceType: row.instance_type,
    vcpus: row.vcpus,
    memoryMiB: row.memory_mib,
    imageId: row.image_id,
    zone: row.zone,
    hostId: row.host_id,
    vpcId: row.vpc_id,
    subnetId: row.subnet_id,
    ip: row.ip,
    mac: row.mac,
    elastic,
    securityGroupIds,
    systemDisk: systemDiskOf(row, disks),
    dataDisks: disks.filter(({ usage }) => usage === "DATA_DISK").map(dataDiskOf),
    keyIds,
    groupId: row.group_id,
    userData: row.user_data,
    restartPolicy: row.restart_policy,
    terminationProtection: row.termination_protection,
    tags,
    createdAt: row.created_at,
    incarnation: row.incarnation,
    epoch: row.epoch,
    generation: row.generation,
    stale,
    attention: attention({
      power: row.power,
      seen,
      failure: row.failure,
      quickEnds: row.quick_ends,
      hostName,
      stale,
    }),
    latestOperation: latest,
  };
}

function systemDiskOf(
  { disk_id, disk_gib }: InstanceRead["row"],
  disks: readonly DiskRow[],
): InstanceView["systemDisk"] {
  const disk = disks.find(({ id }) => id === disk_id);
  return { id: disk_id, type: disk?.disk_type ?? "LOCAL_BASIC", sizeGiB: disk?.size_gib ?? disk_gib };
}

function dataDiskOf(disk: DiskRow): InstanceView["dataDisks"][number] {
  return {
    id: disk.id,
    type: disk.disk_type,
    sizeGiB: disk.size_gib,
    name: disk.name,
    deleteWithInstance: disk.delete_with_instance,
    limits: { bytes: disk.limit_bytes, iops: disk.limit_iops },
  };
}
