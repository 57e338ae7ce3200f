/** The CBS actions of snapshots. Every snapshot here is a whole copy of its own, kept until it is deleted. */
import { diskUsages } from "../../../core/disk.ts";
import { parseId } from "../../../lib/ids.ts";
import type { SnapshotQuery } from "../../cloud-storage.ts";
import { action } from "../action.ts";
import { Refusal } from "../error-codes.ts";
import { filters, filterValues } from "../filters.ts";
import { idsToRead, ignored, oneOf, page, refused } from "../parameters.ts";
import { diskId, diskName, shownSnapshot, snapshotId, snapshotIds, tags, tagsOf } from "./values.ts";

export const createSnapshot = action("CreateSnapshot")(
  {
    DiskId: diskId(),
    SnapshotName: diskName().optional(),
    Deadline: refused("UnsupportedOperation", "asks for a snapshot that ends by itself"),
    DiskBackupId: refused(),
    Tags: tags().optional(),
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

type Narrow = (values: string[]) => SnapshotQuery | null;

const states = ["CREATING", "NORMAL", "FAILED"] as const;

const narrows: Readonly<Record<string, Narrow>> = {
  "snapshot-id": (values) => {
    const ids = values.map((value) => parseId("snapshot", value)).filter((value) => value !== undefined);
    return ids.length === 0 ? null : { ids };
  },
  "snapshot-name": (names) => ({ names }),
  "snapshot-state": (values) => {
    const known = states.filter((state) => values.includes(state));
    return known.length === 0 ? null : { states: known };
  },
  "disk-usage": (values) => {
    const usages = diskUsages.filter((usage) => values.includes(usage));
    return usages.length === 0 ? null : { usages };
  },
  "project-id": (values) => (values.includes("0") ? {} : null),
  "disk-id": (values) => {
    const diskIds = values.map((value) => parseId("disk", value)).filter((value) => value !== undefined);
    return diskIds.length === 0 ? null : { diskIds };
  },
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
    const given = request.SnapshotIds ?? [];
    if (given.length > 0 && (request.Filters ?? []).length > 0) {
      throw new Refusal("InvalidParameter", "Give `SnapshotIds` or `Filters`, not both.");
    }
    let query: SnapshotQuery | null = given.length > 0 ? { ids: given } : {};
    for (const [name, values] of filterValues(request.Filters)) {
      const narrowed: SnapshotQuery | null = narrows[name]?.(values) ?? null;
      query = query === null || narrowed === null ? null : { ...query, ...narrowed };
    }
    if (query === null) return { TotalCount: 0, SnapshotSet: [] };
    const { offset, limit } = { offset: request.Offset, limit: request.Limit };
    const { total, items } = await cloud.snapshots.list(caller, query, { offset, limit });
    return { TotalCount: total, SnapshotSet: items.map(shownSnapshot) };
  },
);
