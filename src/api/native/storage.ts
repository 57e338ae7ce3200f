/** Disks and snapshots in the native API: what it accepts, what it answers with, and the routes. */
import * as z from "zod";
import { diskStates, diskTypes, diskUsages } from "../../core/disk.ts";
import { idSchema } from "../../lib/ids.ts";
import { clientToken, name, pageFields, several, tags, word } from "./requests.ts";
import { counter, doneAnswer, time, total } from "./resources.ts";
import { route } from "./route.ts";

const sizeGiB = z.int().min(1).max(65_536);
const diskParams = z.strictObject({ id: idSchema("disk") });
const snapshotParams = z.strictObject({ id: idSchema("snapshot") });

const bytesPerSecond = z.int().min(1_000_000).max(1e12).nullable();
const iops = z.int().min(10).max(10_000_000).nullable();
const limitsText = "What the disk may move in a second, reads and writes together; null: as much as there is.";
const limitsRequest = z
  .strictObject({ bytesPerSecond: bytesPerSecond.default(null), iops: iops.default(null) })
  .describe(limitsText);
const limitsChange = z
  .strictObject({ bytesPerSecond: bytesPerSecond.optional(), iops: iops.optional() })
  .describe(`${limitsText} What is left out stays.`);

export const diskQuery = z.strictObject({
  ...pageFields,
  id: several(idSchema("disk")),
  name: several(name),
  state: several(z.enum(diskStates)),
  usage: several(z.enum(diskUsages)),
  instanceId: several(idSchema("instance")),
});

export const diskCreateRequest = z
  .strictObject({
    zone: word.optional().describe("May be left out where there is only one."),
    type: z
      .enum(diskTypes)
      .default("CLOUD_BASIC")
      .describe("`CLOUD_...`: in the zone's shared folder where there is one; `LOCAL_...`: on its first host."),
    name: name.default("unnamed"),
    sizeGiB: sizeGiB.nullable().default(null).describe("May be left out with a snapshot."),
    snapshotId: idSchema("snapshot").nullable().default(null).describe("What it holds at first."),
    limits: limitsRequest.default({ bytesPerSecond: null, iops: null }),
    count: z.int().min(1).max(50).default(1),
    tags: tags.default({}),
    clientToken,
  })
  .meta({ id: "DiskCreateRequest" });

const ids = z.array(idSchema("disk")).min(1).max(100).describe("All of them or none.");
export const diskAttachRequest = z
  .strictObject({
    ids,
    instanceId: idSchema("instance"),
    deleteWithInstance: z.boolean().nullable().default(null).describe("null: as it is now."),
  })
  .meta({ id: "DiskAttachRequest" });
export const diskDetachRequest = z.strictObject({ ids }).meta({ id: "DiskDetachRequest" });
export const diskChangeRequest = z
  .strictObject({
    name: name.optional(),
    sizeGiB: sizeGiB.optional().describe("Larger only; a guest that runs sees it at once."),
    deleteWithInstance: z.boolean().optional(),
    limits: limitsChange.optional(),
  })
  .meta({ id: "DiskChangeRequest" });

export const diskSchema = z
  .object({
    id: idSchema("disk"),
    accountId: idSchema("account"),
    name: z.string(),
    zone: z.string(),
    usage: z.enum(diskUsages),
    type: z.enum(diskTypes),
    driver: z.enum(["local", "shared"]).describe("`shared` can be attached on any host, `local` on one."),
    sizeGiB: counter,
    limits: z.object({ bytesPerSecond: counter.nullable(), iops: counter.nullable() }),
    state: z.enum(diskStates),
    instanceId: idSchema("instance").nullable(),
    deleteWithInstance: z.boolean(),
    percent: counter.nullable().describe("Of the snapshot that is being put into it."),
    snapshots: counter.describe("Snapshots made of it that are there."),
    fromSnapshotId: idSchema("snapshot").nullable(),
    problem: z.string().nullable().describe("Why the last thing asked of it did not come about, and what to do."),
    tags: z.record(z.string(), z.string()),
    createdAt: time,
  })
  .meta({ id: "Disk" });

export const snapshotQuery = z.strictObject({
  ...pageFields,
  id: several(idSchema("snapshot")),
  name: several(name),
  diskId: several(idSchema("disk")),
});

export const snapshotCreateRequest = z
  .strictObject({ diskId: idSchema("disk"), name: name.default("unnamed"), tags: tags.default({}) })
  .meta({ id: "SnapshotCreateRequest" });
export const snapshotApplyRequest = z.strictObject({ diskId: idSchema("disk") }).meta({ id: "SnapshotApplyRequest" });

export const snapshotSchema = z
  .object({
    id: idSchema("snapshot"),
    accountId: idSchema("account"),
    name: z.string(),
    zone: z.string(),
    diskId: idSchema("disk"),
    diskUsage: z.enum(diskUsages),
    sizeGiB: counter,
    state: z.enum(["CREATING", "NORMAL", "FAILED"]),
    percent: counter,
    bytes: counter.nullable().describe("What it takes of the storage."),
    problem: z.string().nullable(),
    tags: z.record(z.string(), z.string()),
    createdAt: time,
  })
  .meta({ id: "Snapshot", description: "A whole copy of a disk as it was at one moment; it outlives the disk." });

export type DiskWire = z.infer<typeof diskSchema>;
export type SnapshotWire = z.infer<typeof snapshotSchema>;

export const storageRoutes = {
  diskList: route({
    method: "GET",
    path: "/v1/disks",
    tag: "disks",
    summary: "Lists disks, oldest first",
    query: diskQuery,
    response: z.object({ total, disks: z.array(diskSchema) }),
  }),
  diskCreate: route({
    method: "POST",
    path: "/v1/disks",
    tag: "disks",
    summary: "Creates data disks",
    request: diskCreateRequest,
    response: z.object({ ids: z.array(idSchema("disk")) }),
    status: 201,
    errors: ["not_found", "conflict", "limit", "unavailable"],
  }),
  diskAttach: route({
    method: "POST",
    path: "/v1/disks:attach",
    tag: "disks",
    summary: "Puts disks into an instance's machine, running or stopped",
    request: diskAttachRequest,
    response: doneAnswer,
    status: 202,
    errors: ["not_found", "conflict", "limit"],
  }),
  diskDetach: route({
    method: "POST",
    path: "/v1/disks:detach",
    tag: "disks",
    summary: "Takes disks out of their instances' machines",
    request: diskDetachRequest,
    response: doneAnswer,
    status: 202,
    errors: ["not_found", "conflict"],
  }),
  diskModify: route({
    method: "PATCH",
    path: "/v1/disks/{id}",
    tag: "disks",
    summary: "Changes a disk: size, limits, name, what becomes of it with its instance",
    params: diskParams,
    request: diskChangeRequest,
    response: diskSchema,
    errors: ["not_found", "conflict", "limit"],
  }),
  diskDelete: route({
    method: "DELETE",
    path: "/v1/disks/{id}",
    tag: "disks",
    summary: "Deletes a disk that no instance has, for good",
    params: diskParams,
    response: doneAnswer,
    errors: ["not_found", "conflict"],
  }),
  snapshotList: route({
    method: "GET",
    path: "/v1/snapshots",
    tag: "snapshots",
    summary: "Lists snapshots, newest first",
    query: snapshotQuery,
    response: z.object({ total, snapshots: z.array(snapshotSchema) }),
  }),
  snapshotCreate: route({
    method: "POST",
    path: "/v1/snapshots",
    tag: "snapshots",
    summary: "Copies a disk as it is now, also while a guest writes to it",
    request: snapshotCreateRequest,
    response: z.object({ id: idSchema("snapshot") }),
    status: 202,
    errors: ["not_found", "conflict", "limit"],
  }),
  snapshotApply: route({
    method: "POST",
    path: "/v1/snapshots/{id}/apply",
    tag: "snapshots",
    summary:
      "Puts a snapshot into a disk whose instance is stopped, or that no instance has; what the disk holds is lost",
    params: snapshotParams,
    request: snapshotApplyRequest,
    response: doneAnswer,
    status: 202,
    errors: ["not_found", "conflict"],
  }),
  snapshotDelete: route({
    method: "DELETE",
    path: "/v1/snapshots/{id}",
    tag: "snapshots",
    summary: "Deletes a snapshot",
    params: snapshotParams,
    response: doneAnswer,
    errors: ["not_found", "conflict"],
  }),
};
