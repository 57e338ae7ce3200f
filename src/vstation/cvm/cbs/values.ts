/** What disks and snapshots look like to CBS clients, and the values that several actions take, each checked the same way. */
import type {
  Disk,
  Placement,
  Snapshot,
} from "tencentcloud-sdk-nodejs/tencentcloud/services/cbs/v20170312/cbs_models.js";
import { diskTypes } from "../../../core/disk.ts";
import type { DiskLimitsView, DiskView, SnapshotView } from "../../cloud-storage.ts";
import { id, idsToChange, ignored, integer, line, oneOf, refused, structure, text } from "../parameters.ts";
import { shownTags, tagsParameter } from "../tag-values.ts";

/** CBS counts the throughput of a disk in MB/s. */
const bytesPerMegabyte = 1_000_000;

export const placement = structure<Placement>()({
  Zone: text(64, "InvalidZone.MismatchRegion"),
  ProjectId: integer(0, 0, "InvalidProjectId.NotFound").optional(),
  ProjectName: ignored(),
  CageId: refused(),
  CdcId: refused(),
  CdcName: ignored(),
  DedicatedClusterId: refused(),
});

export const diskType = () => oneOf(diskTypes);
export const diskSize = () => integer(1, 65_536);
/** Of a disk here: all that it may move in a second. Of a disk there: what it may move beyond what its type gives it. */
export const throughput = () => integer(0, 100_000);
export const diskName = () => line(60);
export const diskIds = idsToChange("disk", 100);
export const snapshotIds = idsToChange("snapshot", 100);
export const diskId = () => id("disk");
export const snapshotId = () => id("snapshot");

export const tags = () =>
  tagsParameter(50, {
    badKey: "FailedOperation.IllegalTagKey",
    tooMany: "InvalidParameterValue.TagQuotaLimitExceeded",
    twice: "InvalidParameterValue.DuplicateTags",
  });

export function limitsOf(megabytes: number | undefined): DiskLimitsView {
  return { bytes: megabytes === undefined || megabytes === 0 ? null : megabytes * bytesPerMegabyte, iops: null };
}

/** 0: it is not limited. */
export function throughputOf({ bytes }: DiskLimitsView): number {
  return bytes === null ? 0 : Math.max(1, Math.round(bytes / bytesPerMegabyte));
}

/** CBS writes times without a zone; here they are UTC. */
export function plainTime(time: Date): string {
  return time.toISOString().slice(0, 19).replace("T", " ");
}

/** Every field that clients dereference without looking is there, whatever the state. */
export function shownDisk(view: DiskView): Disk {
  const isAttached = view.instanceId !== null;
  return {
    DiskId: view.id,
    DiskName: view.name,
    DiskUsage: view.usage,
    DiskType: view.type,
    DiskSize: view.sizeGiB,
    DiskState: view.state,
    DiskChargeType: "POSTPAID_BY_HOUR",
    Placement: { Zone: view.zone, ProjectId: 0 },
    InstanceId: view.instanceId ?? "",
    InstanceIdList: view.instanceId === null ? [] : [view.instanceId],
    InstanceType: isAttached ? "CVM" : "",
    Attached: isAttached,
    AttachMode: view.driver === "local" ? "LF" : "PF",
    Portable: view.usage === "DATA_DISK",
    Shareable: false,
    Encrypt: false,
    DeleteWithInstance: view.deleteWithInstance,
    DeleteSnapshot: 0,
    ThroughputPerformance: throughputOf(view.limits),
    BurstPerformance: false,
    Rollbacking: view.state === "ROLLBACKING",
    RollbackPercent: view.state === "ROLLBACKING" || view.state === "DUMPING" ? (view.percent ?? 0) : 100,
    Migrating: false,
    MigratePercent: 100,
    SnapshotAbility: true,
    SnapshotCount: view.snapshots.count,
    SnapshotSize: view.snapshots.sizeGiB * 1024,
    AutoSnapshotPolicyIds: [],
    BackupDisk: false,
    DiskBackupQuota: 0,
    DiskBackupCount: 0,
    IsReturnable: view.usage === "DATA_DISK" && !isAttached,
    RenewFlag: "",
    AutoRenewFlagError: false,
    DeadlineError: false,
    ErrorPrompt: view.problem ?? "",
    CreateTime: plainTime(view.createdAt),
    Tags: shownTags(view.tags),
  };
}

export function shownSnapshot(view: SnapshotView): Snapshot {
  return {
    SnapshotId: view.id,
    SnapshotName: view.name,
    // FAILED is a word of ours: CBS has none for it, and its reason stands in the native API.
    SnapshotState: view.state,
    Percent: view.percent,
    DiskId: view.diskId,
    DiskUsage: view.diskUsage,
    DiskSize: view.sizeGiB,
    Placement: { Zone: view.zone, ProjectId: 0 },
    SnapshotType: "PRIVATE_SNAPSHOT",
    IsPermanent: true,
    Encrypt: false,
    CopyFromRemote: false,
    CopyingToRegions: [],
    Images: [],
    ImageCount: 0,
    ShareReference: 0,
    IsLocked: false,
    CreateTime: plainTime(view.createdAt),
    Tags: shownTags(view.tags),
  };
}
