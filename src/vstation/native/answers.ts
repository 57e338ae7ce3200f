/** From the use cases' views to the wire: each field by name, so that nothing leaves because it happened to be there. */
import type * as wire from "../../api/native/resources.ts";
import type { InstanceType } from "../../core/instance-types.ts";
import type { ChangeEvent, GroupView, HostView, InstanceView, KeyView, OperationView } from "../cloud.ts";
import type { ImageView } from "../cloud/images.ts";

export function operationAnswer(view: OperationView): wire.OperationWire {
  const { id, kind, instanceId, accountId, requestId, state, error } = view;
  return {
    id,
    kind,
    instanceId,
    accountId,
    requestId,
    state,
    error: error === null ? null : { code: error.code, message: error.message },
    createdAt: view.createdAt.toISOString(),
    endedAt: view.endedAt?.toISOString() ?? null,
    deadline: view.deadline.toISOString(),
    steps: view.steps.map(({ at, name, note }) => ({ at: at.toISOString(), name, note })),
  };
}

export function instanceAnswer(view: InstanceView): wire.InstanceWire {
  const { id, accountId, uuid, name, state, instanceType, vcpus, memoryMiB, imageId, zone, hostId, vpcId, subnetId } =
    view;
  const {
    ip,
    mac,
    elastic,
    securityGroupIds,
    systemDisk,
    keyIds,
    groupId,
    restartPolicy,
    terminationProtection,
    tags,
  } = view;
  const { incarnation, epoch, generation, stale, attention, latestOperation } = view;
  return {
    id,
    accountId,
    uuid,
    name,
    state,
    instanceType,
    vcpus,
    memoryMiB,
    imageId,
    zone,
    hostId,
    vpcId,
    subnetId,
    ip,
    mac,
    elastic: elastic === null ? null : { ip: elastic.ip, kind: elastic.kind, bandwidthMbps: elastic.bandwidthMbps },
    securityGroupIds: [...securityGroupIds],
    systemDisk: { id: systemDisk.id, type: systemDisk.type, sizeGiB: systemDisk.sizeGiB },
    dataDisks: view.dataDisks.map((disk) => ({ id: disk.id, type: disk.type, name: disk.name, sizeGiB: disk.sizeGiB })),
    keyIds: [...keyIds],
    groupId,
    hasUserData: view.userData !== null,
    restartPolicy,
    terminationProtection,
    tags: { ...tags },
    createdAt: view.createdAt.toISOString(),
    incarnation,
    epoch,
    generation,
    stale,
    attention,
    latestOperation: latestOperation === null ? null : operationAnswer(latestOperation),
  };
}

export function hostAnswer(view: HostView): wire.HostWire {
  const { id, name, state, cordoned, drain, underlayAddress, inventory, readiness, overcommit, used } = view;
  return {
    id,
    name,
    state,
    cordoned,
    drain: drain && { ...drain, since: drain.since.toISOString() },
    underlayAddress,
    inventory,
    readiness,
    overcommit,
    used: {
      vcpus: used.vcpus,
      dedicated: used.dedicated,
      memoryMiB: used.memoryMiB,
      diskGiB: used.diskGiB,
      instances: used.instances,
    },
    seenAt: view.seenAt.toISOString(),
    joinedAt: view.joinedAt.toISOString(),
  };
}

export function imageAnswer(view: ImageView): wire.ImageWire {
  const { id, accountId, name, description, state, source, progress, step, failure, received, sizeBytes } = view;
  return {
    id,
    accountId,
    name,
    description,
    state,
    source,
    progress,
    step,
    error: failure === null ? null : { code: failure.code, message: failure.message },
    received,
    sizeBytes,
    osName: view.osName,
    platform: view.platform,
    architecture: view.manifest?.architecture ?? "x86_64",
    boot: view.boot,
    secureBoot: view.machine.secureBoot,
    tpm: view.machine.tpm,
    hyperv: view.machine.hyperv,
    diskGiB: view.manifest?.disk.virtualSizeGiB ?? 0,
    minMemoryMiB: view.minMemoryMiB,
    createdAt: view.createdAt.toISOString(),
  };
}

export function keyAnswer(view: KeyView): wire.KeyWire {
  const { id, name, publicKey, instanceIds } = view;
  return { id, name, publicKey, createdAt: view.createdAt.toISOString(), instanceIds: [...instanceIds] };
}

export function groupAnswer(view: GroupView): wire.GroupWire {
  const { id, name, type, affinity, capacity, instanceIds } = view;
  return { id, name, type, affinity, capacity, instanceIds: [...instanceIds], createdAt: view.createdAt.toISOString() };
}

export function instanceTypeAnswer(type: InstanceType, room: number): wire.InstanceTypeWire {
  const { name, family, vcpus, memoryGiB, bandwidthGbps, kpps } = type;
  return { name, family, vcpus, memoryGiB, bandwidthGbps, kpps, room };
}

export function changeAnswer(event: ChangeEvent): wire.ChangeEventWire {
  return {
    id: event.id.toString(),
    at: event.at.toISOString(),
    subject: event.subject,
    subjectId: event.subjectId,
  };
}
