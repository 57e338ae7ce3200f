/**
 * One durable file per half of a migration: how far it is (core/migration), and what VStation last said of it, for a Compute that begins
 * anew without VStation. It is the half's claim on the instance: as long as it lies here, the instance's worker keeps its hands off.
 */
import * as z from "zod";
import { wantedMigrationSchema, type WantedMigration } from "../../api/agent.ts";
import { migrationReasons } from "../../core/migration/halves.ts";
import type { SourceRecord } from "../../core/migration/source.ts";
import type { TargetRecord } from "../../core/migration/target.ts";
import { readDurable } from "../../lib/durable.ts";
import type { Write } from "../storage/reserve.ts";

const why = { reason: z.enum(migrationReasons), message: z.string() };
const source = z.discriminatedUnion("stage", [
  z.strictObject({ stage: z.literal("copying") }),
  z.strictObject({ stage: z.literal("stayed"), ...why }),
  z.strictObject({ stage: z.literal("left"), pauseMs: z.number().nullable() }),
]) satisfies z.ZodType<SourceRecord>;
const target = z.discriminatedUnion("stage", [
  z.strictObject({ stage: z.literal("open") }),
  z.strictObject({ stage: z.literal("finishing") }),
  z.strictObject({ stage: z.literal("committed") }),
  z.strictObject({ stage: z.literal("fetching") }),
  z.strictObject({ stage: z.literal("arrived") }),
  z.strictObject({ stage: z.literal("dropped"), ...why }),
]) satisfies z.ZodType<TargetRecord>;

const fileSchema = z.strictObject({
  version: z.literal(1),
  wanted: wantedMigrationSchema,
  record: z.union([source, target]),
});

export interface Kept {
  readonly wanted: WantedMigration;
  readonly record: SourceRecord | TargetRecord;
}

export async function readKept(file: string): Promise<Kept | undefined> {
  return await readDurable(file, fileSchema);
}

export async function keep(write: Write, file: string, kept: Kept): Promise<void> {
  await write(file, `${JSON.stringify({ version: 1, ...kept })}\n`);
}

export function isSourceRecord(record: SourceRecord | TargetRecord): record is SourceRecord {
  return source.safeParse(record).success;
}
