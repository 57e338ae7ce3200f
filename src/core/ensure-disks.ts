/**
 * What Compute does next about the disks of a machine that runs: a pure function from what is wanted and what QEMU has to one step.
 * The other half of core/ensure.ts, which brings the machine itself up and down; the worker asks it when that one has nothing to do.
 *
 * A disk leaves a machine only when its guest lets go of it. So "unplug" is a request that is repeated with patience, and the
 * only proof of its end is that QEMU has the device no more: then, and not before, may the disk's file be anybody else's.
 *
 * What can race. A detach is taken back while the guest is letting go: the disk is wanted and present, so nothing is done; if it
 * goes all the same, it is plugged again. A step fails: that disk waits with back-off and says why, the others go on.
 */
import type { DiskId } from "../lib/ids.ts";

export interface Limits {
  readonly bytes: number | null;
  readonly iops: number | null;
}

export interface WantedDisk {
  readonly id: DiskId;
  readonly sizeGiB: number;
  readonly limits: Limits;
}

/** A disk of the running machine, as QEMU tells it. */
export interface MachineDisk {
  readonly id: DiskId;
  readonly bytes: number;
  readonly limits: Limits;
}

export type DiskStep =
  | { readonly do: "plug"; readonly id: DiskId }
  | { readonly do: "unplug"; readonly id: DiskId }
  | { readonly do: "grow"; readonly id: DiskId; readonly sizeGiB: number }
  | { readonly do: "limit"; readonly id: DiskId; readonly limits: Limits };

/** What this process remembers about a disk between two looks; may be lost. */
export interface HeldDisk {
  readonly problem: string | null;
  /** The next step of this disk is not taken before. */
  readonly notBeforeMs: number;
  readonly attempts: number;
}

export interface SeenDisk {
  readonly id: DiskId;
  readonly sizeGiB: number;
  readonly made: boolean;
  readonly problem: string | null;
}

export interface DiskDecision {
  readonly step: DiskStep | null;
  /** When to look again, if there is no step now and nothing happens before. */
  readonly untilMs: number | null;
}

const gib = 2 ** 30;
/** A guest is asked again to let go of a disk after this long. */
export const unplugEveryMs = 10_000;

/** The next step that may be taken now. The system disk is among `wanted`; it is never unplugged, because it always is. */
export function decideDisks(
  wanted: readonly WantedDisk[],
  machine: readonly MachineDisk[],
  held: ReadonlyMap<DiskId, HeldDisk>,
  nowMs: number,
): DiskDecision {
  let untilMs: number | null = null;
  for (const step of steps(wanted, machine)) {
    const notBefore = held.get(step.id)?.notBeforeMs ?? 0;
    if (nowMs >= notBefore) return { step, untilMs: null };
    untilMs = Math.min(untilMs ?? Infinity, notBefore);
  }
  return { step: null, untilMs };
}

function* steps(wanted: readonly WantedDisk[], machine: readonly MachineDisk[]): Generator<DiskStep> {
  // Leaving first: what comes may need the place of what goes.
  for (const { id } of machine) if (!wanted.some((disk) => disk.id === id)) yield { do: "unplug", id };
  for (const disk of wanted) {
    const { id, sizeGiB, limits } = disk;
    const there = machine.find((each) => each.id === id);
    if (there === undefined) yield { do: "plug", id };
    else if (there.bytes < sizeGiB * gib) yield { do: "grow", id, sizeGiB };
    else if (!sameLimits(there.limits, limits)) yield { do: "limit", id, limits };
  }
}

/** What VStation is told: what QEMU has, with what stands in the way. A disk that cannot be plugged is told of by size 0. */
export function seenDisks(
  wanted: readonly WantedDisk[],
  machine: readonly MachineDisk[],
  held: ReadonlyMap<DiskId, HeldDisk>,
): SeenDisk[] {
  const problemOf = (id: DiskId): string | null => held.get(id)?.problem ?? null;
  const present = machine.map(({ id, bytes }) => ({
    id,
    sizeGiB: Math.floor(bytes / gib),
    made: true,
    problem: problemOf(id),
  }));
  const missing = wanted
    .filter(({ id }) => problemOf(id) !== null && !machine.some((disk) => disk.id === id))
    .map(({ id }) => ({ id, sizeGiB: 0, made: false, problem: problemOf(id) }));
  return [...present, ...missing];
}

export function sameLimits(a: Limits, b: Limits): boolean {
  return a.bytes === b.bytes && a.iops === b.iops;
}
