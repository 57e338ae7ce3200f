/**
 * The migration part of the contract in agent.ts: a guest moves from one host to another while it runs. Each of the two hosts has its
 * **half**, wanted and seen like a job: stamped with the host's generation, told again and again, gone when VStation says so.
 *
 * Who owns what. Each half writes its own state, durably before it is said where it is final (src/core/migration). VStation alone
 * writes where the instance is afterwards, and tells each half the other one's last word, in case their own connection is lost. That
 * connection is theirs: the source dials the target (mutual TLS by the hosts' certificates), and from then on a VStation that dies
 * changes nothing.
 */
import * as z from "zod";
import { fates, migrationReasons, type SourceState, type TargetState } from "../core/migration/halves.ts";
import { ceilingBoundsMs, defaultCeilingMs, migrationPolicies } from "../core/migration/policy.ts";
import { storyLinesMax, storySteps, type StoryLine } from "../core/migration/story.ts";
import { predictionSchema } from "./agent-preflight.ts";
import { idSchema } from "../lib/ids.ts";
import { dataDiskSchema, type DataDisk, type SystemDisk } from "./agent-storage.ts";

const counter = z.int().nonnegative();
const text = (max: number): z.ZodString => z.string().max(max);
const amount = z.number().nonnegative();

export const migrationPolicySchema = z.enum(migrationPolicies);
/** Milliseconds of pause; a minute of it is no live migration. */
export const ceilingSchema = z.int().min(ceilingBoundsMs.least).max(ceilingBoundsMs.most);

export const localDisksSchema = z.strictObject({ system: z.boolean(), data: z.array(dataDiskSchema).max(21) });
export type LocalDisks = z.infer<typeof localDisksSchema>;

export function localDisksOf({
  systemDisk,
  dataDisks,
}: {
  systemDisk: SystemDisk;
  dataDisks: readonly DataDisk[];
}): LocalDisks {
  return { system: systemDisk.driver === "local", data: dataDisks.filter(({ driver }) => driver === "local") };
}

export const wantedSourceSchema = z.strictObject({
  is: z.literal("source"),
  targetHostId: idSchema("host"),
  /** The target's underlay address. */
  address: z.ipv4(),
  /** Where the target listens for this migration; null: it has not said so yet. */
  port: z.int().min(1).max(65_535).nullable(),
  /** The target's last word, once it has said it. */
  fate: z.enum(fates).nullable(),
  /** The source's guest is this one; its mark and record say so too. */
  epoch: counter.min(1),
  policy: migrationPolicySchema.default("gentle"),
  ceilingMs: ceilingSchema.default(defaultCeilingMs),
  /** What is copied with the memory: the disks on the host's own storage. What is said once the copy has begun changes nothing. */
  disks: localDisksSchema.default({ system: false, data: [] }),
});

/** `Spec` is instanceSpecSchema; agent.ts, which this file stands beside, gives it. */
export const wantedTargetSchema = <Spec extends z.ZodType>(spec: Spec) =>
  z.strictObject({
    is: z.literal("target"),
    sourceHostId: idSchema("host"),
    spec,
    /** Of the instance here, should it arrive: greater than at the source. */
    epoch: counter.min(1),
    incarnation: counter.min(1),
    resets: counter,
  });

export const progressSchema = z.strictObject({
  pass: counter,
  totalBytes: amount,
  sentBytes: amount,
  remainingBytes: amount,
  dirtyBytesPerSecond: amount,
  bytesPerSecond: amount,
  throttlePercent: z.int().min(0).max(99),
  limitMs: amount,
  disks: z.object({ totalBytes: amount, remainingBytes: amount }).optional(),
});
const reason = z.enum(migrationReasons);
const message = text(1024);

export const sourceStateSchema = z.discriminatedUnion("is", [
  z.strictObject({ is: z.literal("waiting"), step: text(128) }),
  z.strictObject({ is: z.literal("copying"), progress: progressSchema.nullable() }),
  z.strictObject({ is: z.literal("handing") }),
  z.strictObject({ is: z.literal("feeding"), remainingBytes: amount.nullable(), broken: z.boolean() }),
  z.strictObject({ is: z.literal("stayed"), reason, message }),
  z.strictObject({ is: z.literal("left"), pauseMs: amount.nullable() }),
]) satisfies z.ZodType<SourceState>;

export const targetStateSchema = z.discriminatedUnion("is", [
  z.strictObject({ is: z.literal("preparing"), step: text(128) }),
  z.strictObject({ is: z.literal("listening"), port: z.int().min(1).max(65_535) }),
  z.strictObject({ is: z.literal("fetching"), port: z.int().min(1).max(65_535).nullable() }),
  z.strictObject({ is: z.literal("arrived") }),
  z.strictObject({ is: z.literal("dropped"), reason, message }),
]) satisfies z.ZodType<TargetState>;

const at = amount;
const lever = z.discriminatedUnion("pull", [
  z.strictObject({ pull: z.literal("throttle"), percent: z.int().min(0).max(99) }),
  z.strictObject({ pull: z.literal("pause"), limitMs: amount }),
  z.strictObject({ pull: z.literal("postcopy") }),
  z.strictObject({ pull: z.literal("give_up") }),
]);

export const storyLineSchema = z.discriminatedUnion("is", [
  z.strictObject({
    is: z.literal("began"),
    at,
    policy: migrationPolicySchema,
    aimMs: amount,
    ceilingMs: ceilingSchema,
  }),
  z.strictObject({
    is: z.literal("look"),
    at,
    pass: counter,
    passMs: amount,
    totalBytes: amount,
    remainingBytes: amount,
    dirtyBytesPerSecond: amount,
    bytesPerSecond: amount,
    stands: z.int().min(2).optional(),
  }),
  z.strictObject({ is: z.literal("lever"), at, lever, why: message }),
  z.strictObject({ is: z.literal("step"), at, step: z.enum(storySteps) }),
  z.strictObject({ is: z.literal("stayed"), at, reason, message }),
  z.strictObject({ is: z.literal("left"), at, pauseMs: amount.nullable() }),
  z.strictObject({ is: z.literal("foretold"), at, prediction: predictionSchema }),
]) satisfies z.ZodType<StoryLine>;

export const seenMigrationSchema = z.strictObject({
  id: idSchema("migration"),
  half: z.discriminatedUnion("is", [
    z.strictObject({
      is: z.literal("source"),
      state: sourceStateSchema,
      /** The whole of it so far: with each new lever, and always with the final word. */
      story: z.array(storyLineSchema).max(storyLinesMax).optional(),
    }),
    z.strictObject({ is: z.literal("target"), state: targetStateSchema }),
  ]),
});

export type SeenMigration = z.infer<typeof seenMigrationSchema>;
