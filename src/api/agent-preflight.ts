/**
 * The questions of the contract in agent.ts that come before a live migration. They change nothing but what they say: a probe of
 * the link opens a port for a moment, and measuring a guest's writes is a job of its QEMU that the guest does not feel.
 *
 *   migration.source-check    what the guest is, and whether it may go                     SourceCheck
 *   migration.target-check    what it would find there; opens the probe's port             TargetCheck
 *   migration.link-probe      from the source to that port, by mutual TLS                  LinkFacts
 *   migration.dirty-samples   how many different bytes the guest writes in some times      DirtySample[]
 */
import * as z from "zod";
import type { DirtySample, Prediction, Switchover } from "../core/migration/prediction.ts";
import type { SourceFacts, TargetFacts } from "../core/migration/preflight.ts";
import { idSchema } from "../lib/ids.ts";

const text = (max: number): z.ZodString => z.string().max(max);
const amount = z.number().nonnegative();
const port = z.int().min(1).max(65_535);

/** `Spec` is instanceSpecSchema; agent.ts, which this file stands beside, gives it. */
export const preflightAsks = <Spec extends z.ZodType>(spec: Spec) =>
  [
    z.strictObject({ kind: z.literal("migration.source-check"), instanceId: idSchema("instance") }),
    z.strictObject({
      kind: z.literal("migration.target-check"),
      instanceId: idSchema("instance"),
      sourceHostId: idSchema("host"),
      spec,
    }),
    z.strictObject({
      kind: z.literal("migration.link-probe"),
      targetHostId: idSchema("host"),
      address: z.ipv4(),
      port,
    }),
    z.strictObject({ kind: z.literal("migration.dirty-samples"), instanceId: idSchema("instance") }),
  ] as const;

const hostFacts = {
  cpuFeatures: z.array(text(64)).max(1024).readonly(),
  machineType: text(128),
  layout: z.int().nonnegative(),
  qemu: text(64),
  sharedFolder: text(128).nullable(),
  disks: z
    .array(z.strictObject({ id: idSchema("disk"), bytes: amount.nullable() }))
    .max(32)
    .readonly(),
  nowMs: amount,
};

export const sourceFactsSchema = z.strictObject({
  ...hostFacts,
  guest: z.enum(["running", "paused", "off", "unknown"]),
  busy: text(256).nullable(),
  blocked: z.array(text(512)).max(32).readonly(),
  dirtyRing: z.boolean().optional(),
  memoryBytes: amount,
  residentBytes: amount,
}) satisfies z.ZodType<SourceFacts>;

export const targetFactsSchema = z.strictObject({
  ...hostFacts,
  local: text(256).nullable(),
  freeBytes: amount,
  hugepages: z.boolean(),
  freePorts: z.int().nonnegative(),
  postcopy: z.boolean(),
  imageHere: z.boolean(),
}) satisfies z.ZodType<TargetFacts>;

export const predictionSchema = z.strictObject({
  memoryBytes: amount,
  curve: z.strictObject({ bytesPerSecond: amount, workingSetBytes: amount }),
  linkBytesPerSecond: amount,
  limitMs: amount,
  fixedMs: amount,
  verdict: z.discriminatedUnion("is", [
    z.strictObject({ is: z.literal("converges") }),
    z.strictObject({ is: z.literal("brake"), bytesPerSecond: amount }),
  ]),
  copyMs: amount,
  rounds: z.int().nonnegative(),
  pauseMs: amount,
}) satisfies z.ZodType<Prediction>;

const trusted = {
  /** Why its QEMU could not show the other host who it is; left out: it could. Hosts of a former release do not say. */
  untrusted: text(1024).optional(),
};

export const sourceCheckSchema = sourceFactsSchema.extend({
  ...trusted,
  /** How this host would hand a guest over now; one of a former release does not say. */
  switchover: z.strictObject({ limitMs: amount, fixedMs: amount }).optional() satisfies z.ZodType<
    Switchover | undefined
  >,
});
export type SourceCheck = z.infer<typeof sourceCheckSchema>;

export const targetCheckSchema = z.strictObject({ facts: targetFactsSchema, port, ...trusted });
export type TargetCheck = z.infer<typeof targetCheckSchema>;

export const linkFactsSchema = z.strictObject({ bytesPerSecond: amount, roundTripMs: amount });
export type LinkFacts = z.infer<typeof linkFactsSchema>;

export const dirtySamplesSchema = z.array(z.strictObject({ ms: amount, bytes: amount })).max(16) satisfies z.ZodType<
  DirtySample[]
>;
