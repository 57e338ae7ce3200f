/** The CBS actions of disks. What costs money, encrypts, shares or backs up by a policy is refused: to ignore it would lie. */
import { diskStates, diskTypes, diskUsages } from "../../../core/disk.ts";
import type { DiskQuery } from "../../cloud-storage.ts";
import { action } from "../action.ts";
import { Refusal } from "../error-codes.ts";
import { byIds, byWords, filters, listed, type Narrows } from "../filters.ts";
import { clientToken } from "../instance-values.ts";
import { boolean, check, id, idsToRead, ignored, integer, list, oneOf, page, refused, text } from "../parameters.ts";
import { tagsOf } from "../tag-values.ts";
import {
  diskId,
  diskIds,
  diskName,
  diskSize,
  diskType,
  limitsOf,
  placement,
  shownDisk,
  snapshotId,
  tags,
  throughput,
} from "./values.ts";

const encryption = () => refused("UnsupportedOperation.DiskEncrypt", "asks for an encrypted disk");

export const createDisks = action("CreateDisks")(
  {
    Placement: placement,
    DiskChargeType: check(
      text(64),
      "UnsupportedOperation",
      "must be POSTPAID_BY_HOUR",
      (value) => value === "POSTPAID_BY_HOUR",
    ),
    DiskType: diskType(),
    DiskName: diskName().optional(),
    Tags: tags(),
    SnapshotId: snapshotId().optional(),
    DiskCount: integer(1, 50).default(1),
    ThroughputPerformance: throughput().optional(),
    KmsKeyId: encryption(),
    DiskSize: diskSize().optional(),
    Shareable: refused("UnsupportedOperation", "asks for a disk that several instances have at once"),
    ClientToken: clientToken().optional(),
    Encrypt: encryption(),
    EncryptType: ignored(),
    DiskChargePrepaid: refused(),
    DeleteSnapshot: refused(),
    AutoMountConfiguration: refused("UnsupportedOperation", "asks that a guest mounts it by itself"),
    DiskBackupQuota: refused(),
    BurstPerformance: refused(),
  },
  async ({ cloud, caller }, request) => {
    if (request.DiskSize === undefined && request.SnapshotId === undefined) {
      throw new Refusal("MissingParameter", "Give `DiskSize`, or a `SnapshotId` that says it.");
    }
    const ids = await cloud.disks.create(caller, {
      zone: request.Placement.Zone,
      type: request.DiskType,
      name: request.DiskName || "unnamed",
      sizeGiB: request.DiskSize ?? null,
      snapshotId: request.SnapshotId ?? null,
      limits: limitsOf(request.ThroughputPerformance),
      count: request.DiskCount,
      tags: tagsOf(request.Tags),
      clientToken: request.ClientToken ?? null,
    });
    return { DiskIdSet: ids };
  },
);

export const attachDisks = action("AttachDisks")(
  {
    InstanceId: id("instance"),
    DiskIds: diskIds,
    DeleteWithInstance: boolean().optional(),
    AttachMode: oneOf(["PF", "VF", "LF"]).optional(),
  },
  async ({ cloud, caller }, request) => {
    await cloud.disks.attach(caller, request.DiskIds, request.InstanceId, request.DeleteWithInstance ?? null);
    return {};
  },
);

export const detachDisks = action("DetachDisks")(
  { DiskIds: diskIds, InstanceId: id("instance").optional() },
  async ({ cloud, caller }, request) => {
    await cloud.disks.detach(caller, request.DiskIds, request.InstanceId ?? null);
    return {};
  },
);

export const resizeDisk = action("ResizeDisk")(
  { DiskId: diskId(), DiskSize: diskSize() },
  async ({ cloud, caller }, request) => {
    await cloud.disks.resize(caller, request.DiskId, request.DiskSize);
    return {};
  },
);

export const terminateDisks = action("TerminateDisks")(
  { DiskIds: diskIds, DeleteSnapshot: integer(0, 1).default(0) },
  async ({ cloud, caller }, request) => {
    await cloud.disks.delete(caller, request.DiskIds);
    if (request.DeleteSnapshot === 0) return {};
    const query = { diskIds: request.DiskIds };
    const { items } = await cloud.snapshots.list(caller, query, { offset: 0, limit: Number.MAX_SAFE_INTEGER });
    if (items.length > 0) {
      await cloud.snapshots.delete(
        caller,
        items.map((snapshot) => snapshot.id),
      );
    }
    return {};
  },
);

export const modifyDiskAttributes = action("ModifyDiskAttributes")(
  {
    DiskIds: diskIds,
    DiskName: diskName().optional(),
    ProjectId: integer(0, 0, "InvalidProjectId.NotFound").optional(),
    DeleteWithInstance: boolean().optional(),
    Portable: ignored(),
    DiskType: refused("UnsupportedOperation", "asks for another type"),
    BurstPerformanceOperation: refused(),
  },
  async ({ cloud, caller }, request) => {
    const { DiskName: name, DeleteWithInstance: deleteWithInstance } = request;
    await cloud.disks.modify(caller, request.DiskIds, {
      ...(name === undefined ? {} : { name }),
      ...(deleteWithInstance === undefined ? {} : { deleteWithInstance }),
    });
    return {};
  },
);

export const modifyDiskExtraPerformance = action("ModifyDiskExtraPerformance")(
  { DiskId: diskId(), ThroughputPerformance: throughput() },
  async ({ cloud, caller }, request) => {
    const { bytes } = limitsOf(request.ThroughputPerformance);
    await cloud.disks.modify(caller, [request.DiskId], { limits: { bytes } });
    return {};
  },
);

/** Data disks are, system disks are not. */
const portable = byWords(["TRUE", "FALSE"], (asked) => ({
  usages: asked.map((word) => (word === "TRUE" ? ("DATA_DISK" as const) : ("SYSTEM_DISK" as const))),
}));

const narrows: Narrows<DiskQuery> = {
  "disk-usage": byWords(diskUsages, (usages) => ({ usages })),
  "disk-charge-type": (values) => (values.includes("POSTPAID_BY_HOUR") ? {} : null),
  portable: (values) => portable(values.map((value) => value.toUpperCase())),
  "project-id": (values) => (values.includes("0") ? {} : null),
  "disk-id": byIds("disk", (ids) => ({ ids })),
  "disk-name": (names) => ({ names }),
  "disk-type": byWords(diskTypes, (types) => ({ types })),
  "disk-state": byWords(diskStates, (states) => ({ states })),
  "instance-id": byIds("instance", (instanceIds) => ({ instanceIds })),
  "instance-type": (values) => (values.includes("CVM") ? { attached: true } : null),
  zone: (zones) => ({ zones }),
  "snapshot-id": byIds("snapshot", (snapshotIds) => ({ snapshotIds })),
};

export const describeDisks = action("DescribeDisks")(
  {
    DiskIds: idsToRead("disk", 100).optional(),
    Filters: filters(Object.keys(narrows), 10),
    ...page,
    OrderField: oneOf(["CREATE_TIME", "DEADLINE", "SNAPSHOT_COUNT"]).optional(),
    Order: oneOf(["ASC", "DESC"]).optional(),
    ReturnBindAutoSnapshotPolicy: ignored(),
  },
  async ({ cloud, caller }, request) => {
    const { total, items } = await listed("DiskIds", request, narrows, "InvalidParameter", (query) =>
      cloud.disks.list(caller, query, { offset: request.Offset, limit: request.Limit }),
    );
    return { TotalCount: total, DiskSet: items.map(shownDisk) };
  },
);

/** What may be bought, which here is every type in every size. */
export const describeDiskConfigQuota = action("DescribeDiskConfigQuota")(
  {
    InquiryType: oneOf(["INQUIRY_CBS_CONFIG", "INQUIRY_CVM_CONFIG"]),
    DiskChargeType: oneOf(["POSTPAID_BY_HOUR", "PREPAID"]).optional(),
    InstanceFamilies: list(text(64), 100).optional(),
    DiskTypes: list(diskType(), 10).optional(),
    Zones: list(text(64), 100).optional(),
    Memory: ignored(),
    DiskUsage: oneOf(diskUsages).optional(),
    CPU: ignored(),
    DedicatedClusterId: refused(),
  },
  async ({ cloud }, request) => {
    const zones = cloud.catalogue.zones.filter((zone) => request.Zones?.includes(zone) ?? true);
    const usages = request.DiskUsage === undefined ? diskUsages : [request.DiskUsage];
    const families = request.InstanceFamilies ?? [""];
    const types = request.DiskChargeType === "PREPAID" ? [] : (request.DiskTypes ?? diskTypes);
    return {
      DiskConfigSet: zones.flatMap((Zone) =>
        families.flatMap((InstanceFamily) =>
          types.flatMap((DiskType) =>
            usages.map((DiskUsage) => ({
              Available: true,
              Zone,
              DiskType,
              DiskUsage,
              InstanceFamily,
              DiskChargeType: "POSTPAID_BY_HOUR",
              DeviceClass: "",
              MinDiskSize: 1,
              MaxDiskSize: 65_536,
              StepSize: 1,
              ExtraPerformanceRange: [],
            })),
          ),
        ),
      ),
    };
  },
);
