/**
 * The storage half of the contract in agent.ts: the disks of a wanted instance, what a host says of them, and jobs.
 *
 * A **disk** is part of its instance's wanted document for as long as it should be in the machine; Compute brings the machine to
 * that, running or not, and reports what is in it. A **job** is everything on a host that is not an instance's power or machine:
 * a copy, a removal. It is wanted like an instance (stamped with the host's generation, sent again and again, gone when VStation
 * says so) and seen like one (a level, not a stream of events), so either side may die at any moment of it.
 *
 * Who owns what. VStation writes which jobs are wanted and ends each one once (`gone`); Compute writes how far it is. A job's file
 * appears under its name whole, by a rename: `done` is only said after it, and a job that is run again because its end was not
 * written down finds the file and is done. No job is ever moved to another host: only the end of the first one's host would
 * prove that it does not come to life later and puts an old file over a new one.
 */
import * as z from "zod";
import { idSchema } from "../lib/ids.ts";
import { seenReasons } from "../core/seen.ts";

const counter = z.int().nonnegative();
const text = (max: number): z.ZodString => z.string().max(max);

/** `local`: on the host's own storage. `shared`: in the folder that every host of the zone mounts. */
export const storageDriverSchema = z.enum(["local", "shared"]);

/** Per second; null = not limited. */
export const diskLimitsSchema = z.strictObject({
  bytes: z.int().positive().nullable(),
  iops: z.int().positive().nullable(),
});
export const noLimits: z.infer<typeof diskLimitsSchema> = { bytes: null, iops: null };

export const systemDiskSchema = z.strictObject({
  id: idSchema("disk"),
  sizeGiB: z.int().min(1).max(65_536),
  driver: storageDriverSchema.default("local"),
  limits: diskLimitsSchema.default(noLimits),
});

export const dataDiskSchema = z.strictObject({
  id: idSchema("disk"),
  sizeGiB: z.int().min(1).max(65_536),
  driver: storageDriverSchema,
  limits: diskLimitsSchema,
  /** Where it sits in the machine, the same as long as it is attached: slot 0 is the guest's third disk (vdc). */
  slot: z.int().min(0).max(20),
  /** It has been seen in a machine: from then on a missing file is a loss to report, never an occasion to make an empty one. */
  made: z.boolean(),
});

/** A disk that is in the machine of its instance, or will be at its next start. What a report does not name is in neither. */
export const seenDiskSchema = z.strictObject({
  id: idSchema("disk"),
  sizeGiB: counter,
  /** A machine has it open: its file is there, and must be from now on. */
  made: z.boolean(),
  /** Why it is not yet as wanted, in a sentence; null when it is, or when nothing has gone wrong so far. */
  problem: text(512).nullable(),
});

/** Enough to find a disk's file on a host. A system disk of the driver `local` lies in its instance's folder. */
export const diskRefSchema = z.strictObject({
  id: idSchema("disk"),
  driver: storageDriverSchema,
  usage: z.enum(["system", "data"]),
  sizeGiB: z.int().min(1).max(65_536),
  /** As in {@link dataDiskSchema}. */
  made: z.boolean(),
  /** The instance that has it, running or not. */
  instanceId: idSchema("instance").nullable(),
});

export const snapshotRefSchema = z.strictObject({ id: idSchema("snapshot"), driver: storageDriverSchema });

export const jobSpecSchema = z.discriminatedUnion("kind", [
  /** An independent copy of the disk as it is at one moment of the job, also while a guest writes to it. */
  z.strictObject({ kind: z.literal("snapshot.create"), disk: diskRefSchema, snapshot: snapshotRefSchema }),
  /** The disk's content becomes the snapshot's; its size stays. No guest may have it meanwhile. */
  z.strictObject({
    kind: z.literal("snapshot.apply"),
    disk: diskRefSchema,
    snapshot: snapshotRefSchema,
  }),
  z.strictObject({ kind: z.literal("snapshot.delete"), snapshot: snapshotRefSchema }),
  /** A copy as for a snapshot, sent to VStation as that image's file (PUT /images/ID/content on its listener) and kept nowhere here. */
  z.strictObject({ kind: z.literal("image.create"), disk: diskRefSchema, imageId: idSchema("image") }),
  /** Only of a disk that no instance has. */
  z.strictObject({ kind: z.literal("disk.delete"), disk: diskRefSchema }),
]);

export const wantedJobSchema = z.strictObject({
  id: idSchema("job"),
  generation: counter,
  spec: jobSpecSchema,
  /** It is over, or not wanted any more: what is unfinished of it is thrown away, and it is forgotten. */
  gone: z.boolean(),
});

export const seenJobSchema = z.strictObject({
  id: idSchema("job"),
  state: z.discriminatedUnion("is", [
    z.strictObject({ is: z.literal("waiting"), why: text(256) }),
    z.strictObject({ is: z.literal("running"), percent: z.int().min(0).max(100) }),
    /** What VStation cannot know by itself, such as the size of what was made. */
    z.strictObject({ is: z.literal("done"), result: z.record(text(64), z.union([z.number(), text(256)])) }),
    z.strictObject({ is: z.literal("failed"), reason: z.enum(seenReasons), message: text(1024) }),
  ]),
});

export type StorageDriver = z.infer<typeof storageDriverSchema>;
export type DiskLimits = z.infer<typeof diskLimitsSchema>;
export type SystemDisk = z.infer<typeof systemDiskSchema>;
export type DataDisk = z.infer<typeof dataDiskSchema>;
export type SeenDisk = z.infer<typeof seenDiskSchema>;
export type DiskRef = z.infer<typeof diskRefSchema>;
export type SnapshotRef = z.infer<typeof snapshotRefSchema>;
export type JobSpec = z.infer<typeof jobSpecSchema>;
export type WantedJob = z.infer<typeof wantedJobSchema>;
export type SeenJob = z.infer<typeof seenJobSchema>;
export type JobState = SeenJob["state"];
