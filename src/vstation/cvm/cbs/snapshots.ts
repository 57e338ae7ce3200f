/** The CBS actions of snapshots. Every snapshot here is a whole copy of its own, kept until it is deleted. */
import { diskUsages } from "../../../core/disk.ts";
import type { SnapshotQuery } from "../../cloud-storage.ts";
import { action } from "../action.ts";
import { byIds, byWords, filters, listed, type Narrows } from "../filters.ts";
import { idsToRead, ignored, oneOf, page, refused } from "../parameters.ts";
import { tagsOf } from "../tag-values.ts";
import { diskId, diskName, shownSnapshot, snapshotId, snapshotIds, tags } from "./values.ts";

export const createSnapshot = action("CreateSnapshot")(
  {
    DiskId: diskId(),
    SnapshotName: diskName().optional(),
    Deadline: refused("UnsupportedOperation", "asks for a snapshot that ends by itself"),
    DiskBackupId: refused(),
    Tags: tags(),
    LocalSnap: ignored(),
    DiskUsage: ignored(),
  },
  async ({ cloud, caller }, request) => {
    const id = await cloud.snapshots.create(caller, {
      diskId: request.DiskId,
      name: request.SnapshotName || "unnamed",
      tags: tagsOf(request.Tags),
    });
    return { SnapshotId: id };
  },
);

export const applySnapshot = action("ApplySnapshot")(
  {
    SnapshotId: snapshotId(),
    DiskId: diskId(),
    AutoStopInstance: refused("UnsupportedOperation", "asks that the instance is stopped; stop it first"),
    AutoStartInstance: refused("UnsupportedOperation", "asks that the instance is started; start it afterwards"),
  },
  async ({ cloud, caller }, request) => {
    await cloud.snapshots.apply(caller, { snapshotId: request.SnapshotId, diskId: request.DiskId });
    return {};
  },
);

export const deleteSnapshots = action("DeleteSnapshots")(
  { SnapshotIds: snapshotIds, DeleteBindImages: ignored() },
  async ({ cloud, caller }, request) => {
    await cloud.snapshots.delete(caller, request.SnapshotIds);
    return {};
  },
);

const narrows: Narrows<SnapshotQuery> = {
  "snapshot-id": byIds("snapshot", (ids) => ({ ids })),
  "snapshot-name": (names) => ({ names }),
  "snapshot-state": byWords(["CREATING", "NORMAL", "FAILED"], (states) => ({ states })),
  "disk-usage": byWords(diskUsages, (usages) => ({ usages })),
  "project-id": (values) => (values.includes("0") ? {} : null),
  "disk-id": byIds("disk", (diskIds) => ({ diskIds })),
  zone: (zones) => ({ zones }),
  encrypt: (values) => (values.some((value) => value.toUpperCase() === "FALSE") ? {} : null),
};

export const describeSnapshots = action("DescribeSnapshots")(
  {
    SnapshotIds: idsToRead("snapshot", 100).optional(),
    Filters: filters(Object.keys(narrows), 10),
    ...page,
    OrderField: oneOf(["CREATE_TIME"]).optional(),
    Order: oneOf(["ASC", "DESC"]).optional(),
  },
  async ({ cloud, caller }, request) => {
    const { total, items } = await listed("SnapshotIds", request, narrows, "InvalidParameter", (query) =>
      cloud.snapshots.list(caller, query, { offset: request.Offset, limit: request.Limit }),
    );
    return { TotalCount: total, SnapshotSet: items.map(shownSnapshot) };
  },
);
