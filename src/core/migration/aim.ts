/**
 * How long QEMU may take for the last of the memory, from what earlier pauses on this host took beyond it: the devices' state, libvirt's and the
 * two Computes' words, the guest's start at the target. The limit is a threshold and no bound, so what is to be felt less that is what is left
 * for it. Pure.
 */

/** A pause of the past, and the limit that was in force when it began. */
export interface Pause {
  readonly pauseMs: number;
  readonly limitMs: number;
}

const feltMs = 50;
/** Before anything was measured. */
const firstMs = 10;
/** A limit shorter than a look at what has changed would ask for what cannot be. */
const leastMs = 5;
const mostMs = 30;
const remembered = 5;

export function remember(pauses: Pause[], pause: Pause): void {
  pauses.push(pause);
  if (pauses.length > remembered) pauses.shift();
}

/** What a pause has usually taken beyond its limit; null: none was measured. */
export function usualBeyond(pauses: readonly Pause[]): number | null {
  const beyond = pauses.map(({ pauseMs, limitMs }) => Math.max(0, pauseMs - limitMs)).toSorted((a, b) => a - b);
  return beyond[Math.floor(beyond.length / 2)] ?? null;
}

export function aimAfter(pauses: readonly Pause[]): number {
  const usual = usualBeyond(pauses);
  if (usual === null) return firstMs;
  return Math.min(mostMs, Math.max(leastMs, Math.round(feltMs - usual)));
}
