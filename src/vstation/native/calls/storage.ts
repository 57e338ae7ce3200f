/** Disks and snapshots: the thin part between the wire and the use cases. */
import type { DiskWire, SnapshotWire } from "../../../api/native/storage.ts";
import type { DiskLimitsView, DiskView, SnapshotView } from "../../cloud-storage.ts";
import { defined, narrowed, oneOf, onlyZone, type Calls } from "../call.ts";

export const storageCalls: Calls<
  | "diskList"
  | "diskCreate"
  | "diskAttach"
  | "diskDetach"
  | "diskModify"
  | "diskDelete"
  | "snapshotList"
  | "snapshotCreate"
  | "snapshotApply"
  | "snapshotDelete"
> = {
  async diskList({ cloud }, { query, operator }) {
    const { total, items } = await cloud.disks.list(operator, ...narrowed(query));
    return { total, disks: items.map(diskAnswer) };
  },

  async diskCreate({ cloud }, { request, owner }) {
    const { limits, zone, ...rest } = request;
    return {
      ids: await cloud.disks.create(owner, { ...rest, zone: zone ?? onlyZone(cloud), limits: limitsOf(limits) }),
    };
  },

  async diskAttach({ cloud }, { request, operator }) {
    await cloud.disks.attach(operator, request.ids, request.instanceId, request.deleteWithInstance);
    return {};
  },

  async diskDetach({ cloud }, { request, operator }) {
    await cloud.disks.detach(operator, request.ids, null);
    return {};
  },

  async diskModify({ cloud }, { params, request, operator }) {
    const { sizeGiB, limits, ...rest } = request;
    if (sizeGiB !== undefined) await cloud.disks.resize(operator, params.id, sizeGiB);
    const limited = limits && defined({ bytes: limits.bytesPerSecond, iops: limits.iops });
    const change = defined({ ...rest, limits: limited });
    if (Object.keys(change).length > 0) await cloud.disks.modify(operator, [params.id], change);
    return diskAnswer(await oneOf("disk", params.id, cloud.disks, operator));
  },

  async diskDelete({ cloud }, { params, operator }) {
    await cloud.disks.delete(operator, [params.id]);
    return {};
  },

  async snapshotList({ cloud }, { query, operator }) {
    const { total, items } = await cloud.snapshots.list(operator, ...narrowed(query));
    return { total, snapshots: items.map(snapshotAnswer) };
  },

  async snapshotCreate({ cloud }, { request, operator }) {
    return { id: await cloud.snapshots.create(operator, request) };
  },

  async snapshotApply({ cloud }, { params, request, operator }) {
    await cloud.snapshots.apply(operator, { snapshotId: params.id, diskId: request.diskId });
    return {};
  },

  async snapshotDelete({ cloud }, { params, operator }) {
    await cloud.snapshots.delete(operator, [params.id]);
    return {};
  },
};

function limitsOf({ bytesPerSecond, iops }: { bytesPerSecond: number | null; iops: number | null }): DiskLimitsView {
  return { bytes: bytesPerSecond, iops };
}

function diskAnswer(view: DiskView): DiskWire {
  const { id, accountId, name, zone, usage, type, driver, sizeGiB, state, instanceId, deleteWithInstance } = view;
  const { percent, fromSnapshotId, problem, limits } = view;
  return {
    id,
    accountId,
    name,
    zone,
    usage,
    type,
    driver,
    sizeGiB,
    limits: { bytesPerSecond: limits.bytes, iops: limits.iops },
    state,
    instanceId,
    deleteWithInstance,
    percent,
    snapshots: view.snapshots.count,
    fromSnapshotId,
    problem,
    tags: { ...view.tags },
    createdAt: view.createdAt.toISOString(),
  };
}

function snapshotAnswer(view: SnapshotView): SnapshotWire {
  const { id, accountId, name, zone, diskId, diskUsage, sizeGiB, state, percent, bytes, problem } = view;
  const tags = { ...view.tags };
  const createdAt = view.createdAt.toISOString();
  return { id, accountId, name, zone, diskId, diskUsage, sizeGiB, state, percent, bytes, problem, tags, createdAt };
}
