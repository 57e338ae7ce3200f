/** Instances as clients see them: rows with what is derived from them. */
import { attention } from "../../core/attention.ts";
import type { InstanceView, OperationView } from "../cloud.ts";
import type { InstanceRead } from "../store/instance-list.ts";

export function instanceView(
  { row, state, keyIds, securityGroupIds, elastic, tags, hostName, hostConnected }: InstanceRead,
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
    systemDisk: { id: row.disk_id, sizeGiB: row.disk_gib },
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
