/** One durable file per instance with what this host knows of it (see core/ensure.ts), and its spec as last used. */
import { dirname } from "node:path";
import * as z from "zod";
import { instanceSpecSchema, seenReasonSchema, type InstanceSpec } from "../../api/agent.ts";
import type { RunRecord } from "../../core/ensure.ts";
import { idSchema, type DiskId } from "../../lib/ids.ts";
import { makeDurableDirectory, readDurable } from "../../lib/durable.ts";
import type { Write } from "../storage/reserve.ts";

const counter = z.int().nonnegative();

const recordSchema = z.strictObject({
  version: z.literal(1),
  /** The spec that was last applied: a stranger's network goes on by it. */
  spec: instanceSpecSchema,
  /** The system disk that was made here, once one was; a record of an older release means the one in its spec. */
  systemDisk: idSchema("disk").nullable().default(null),
  run: z.strictObject({
    epoch: counter,
    incarnation: counter,
    stage: z.enum(["none", "intent", "started", "ended"]),
    diskMade: z.boolean(),
    startedAt: z.string().nullable(),
    bootId: z.string(),
    resets: counter,
    end: z.strictObject({ reason: seenReasonSchema, message: z.string() }).nullable(),
    stop: z.strictObject({ how: z.enum(["soft", "soft_first", "hard"]), sinceMs: z.number() }).nullable(),
  }),
});

export interface InstanceRecord {
  readonly spec: InstanceSpec;
  /** The spec may name another one by now: an instance that is being reinstalled. */
  readonly systemDisk: DiskId | null;
  readonly run: RunRecord;
}

/** undefined = this host knows nothing of it. A damaged file is an error: then nothing may be started. */
export async function readRecord(file: string): Promise<InstanceRecord | undefined> {
  const found = await readDurable(file, recordSchema);
  if (found === undefined) return undefined;
  const { spec, run } = found;
  return { spec, run, systemDisk: found.systemDisk ?? (run.diskMade ? spec.systemDisk.id : null) };
}

export async function writeRecord(write: Write, file: string, record: InstanceRecord): Promise<void> {
  await makeDurableDirectory(dirname(file));
  await write(file, `${JSON.stringify({ version: 1, ...record })}\n`);
}
