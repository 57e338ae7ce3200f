/**
 * How near to the bare machine an instance runs: what its type promises (instance-types.ts), what VStation sends, what Compute makes.
 *
 * `dedicated` means: whole processor cores of the host, both hardware threads, for this instance alone and for as long as it lies
 * there, running or not. `shared` instances run on all that is not given away, more of them than there are cores.
 * VStation counts (placement.ts), Compute alone decides which ones (cpu-plan.ts) and writes that down beside the instance.
 */
import * as z from "zod";

/** Of a processor model, or of a feature of one. */
export const cpuNameSchema = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "the name of a processor model");

/**
 * The processor that guests of a zone see: `host` is whatever the host has, a named model is the same on every host that has at
 * least that, which is what a guest needs to move between unequal hosts.
 */
export const cpuBaselineSchema = z.union([
  z.literal("host"),
  z.strictObject({
    model: cpuNameSchema,
    features: z.array(z.strictObject({ name: cpuNameSchema, policy: z.enum(["require", "disable"]) })).max(512),
  }),
]);
export type CpuBaseline = z.infer<typeof cpuBaselineSchema>;

export const pageSizes = ["2M", "1G"] as const;
export type PageSize = (typeof pageSizes)[number];
export const pageMiB: Readonly<Record<PageSize, number>> = { "2M": 2, "1G": 1024 };

/** What an instance keeps of its type's promise, fixed when it is accepted. */
export const promiseSchema = z.strictObject({
  cpu: z.enum(["shared", "dedicated"]),
  /** Hardware threads that the guest uses of each core; null: all that the host's cores have. Dedicated only. */
  threadsPerCore: z.union([z.literal(1), z.literal(2)]).nullable(),
  hugepages: z.enum(pageSizes).nullable(),
  nicQueues: z.int().min(1).max(32),
  iothreads: z.int().min(0).max(8),
});
export type Promised = z.infer<typeof promiseSchema>;

export const machineSchema = promiseSchema.extend({ baseline: cpuBaselineSchema });
export type Machine = z.infer<typeof machineSchema>;

/** What instances got before there was a choice. */
export const plainPromise: Promised = {
  cpu: "shared",
  threadsPerCore: null,
  hugepages: null,
  nicQueues: 1,
  iothreads: 0,
};

/** The vCPUs that the guest sees of the `vcpus` that its type has: with one thread per core the siblings stay idle. */
export function guestVcpus(vcpus: number, promised: Promised): number {
  return promised.cpu === "dedicated" && promised.threadsPerCore === 1 ? vcpus / 2 : vcpus;
}
