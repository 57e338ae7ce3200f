/**
 * How long QEMU may take for the last of the memory, from what earlier pauses on this host took beyond it: the devices' state, libvirt's and the
 * two Computes' words, the guest's start at the target. The limit is a threshold and no bound, so what is to be felt less that is what is left
 * for it. Pure.
 */

/**
 * Guests whose pauses take alike beyond their limit. Each processor and each device has a state that is saved and loaded, and the last look for
 * changed pages goes over all of the memory; of each the next power of two, so that guests of nearly one size have one memory. Of disks that
 * go along what was written last goes over in the pause as well.
 */
export interface GuestClass {
  readonly vcpus: number;
  /** Disks and NICs. */
  readonly devices: number;
  readonly memoryMiB: number;
  /** Some go along. */
  readonly disks: boolean;
}

/** A pause of the past, and the limit that was in force when it began. */
export interface Pause {
  readonly of: GuestClass;
  readonly pauseMs: number;
  readonly limitMs: number;
}

const feltMs = 50;
/** Before anything was measured. */
const firstMs = 10;
/** A limit shorter than a look at what has changed would ask for what cannot be. */
const leastMs = 5;
const mostMs = 30;
/** Of a class. */
const remembered = 5;
/** Of all of them. */
export const mostPauses = 100;

export function classOf(guest: GuestClass): GuestClass {
  const { vcpus, devices, memoryMiB, disks } = guest;
  return { vcpus: rounded(vcpus), devices: rounded(devices), memoryMiB: rounded(memoryMiB), disks };
}

/**
 * What is known after one more. A pause that was allowed to be longer than aimed at tells nothing of the next one, which is not: what it took may
 * have been sending alone. Of too many those go that are of the class whose last one is the longest ago.
 */
export function remember(pauses: readonly Pause[], pause: Pause, aimMs: number): readonly Pause[] {
  if (pause.limitMs > aimMs) return pauses;
  const others = pauses.filter(({ of }) => !isSame(of, pause.of));
  const own = pauses.filter(({ of }) => isSame(of, pause.of));
  return [...others, ...[...own, pause].slice(-remembered)].slice(-mostPauses);
}

/**
 * What a pause of this class has usually taken beyond its limit, or, where none of it was measured (or the class is not known), one of any
 * size with which disks go along, or none do, alike. null: nor was one of those.
 */
export function usualBeyond(pauses: readonly Pause[], of: GuestClass | null = null): number | null {
  const own = of === null ? [] : pauses.filter((pause) => isSame(pause.of, of));
  const like = own.length > 0 ? own : pauses.filter((pause) => pause.of.disks === (of?.disks ?? false));
  const beyond = like.map(({ pauseMs, limitMs }) => Math.max(0, pauseMs - limitMs)).toSorted((a, b) => a - b);
  return beyond[Math.floor(beyond.length / 2)] ?? null;
}

export function aimAfter(pauses: readonly Pause[], of: GuestClass | null = null): number {
  const usual = usualBeyond(pauses, of);
  if (usual === null) return firstMs;
  return Math.min(mostMs, Math.max(leastMs, Math.round(feltMs - usual)));
}

function rounded(count: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, count)));
}

function isSame(a: GuestClass, b: GuestClass): boolean {
  return a.vcpus === b.vcpus && a.devices === b.devices && a.memoryMiB === b.memoryMiB && a.disks === b.disks;
}
