/** What the verbs stand on: calling a procedure and opening a stream, and the flag words that many share. */
import type { Affect, CallOptions } from "../contract.ts";
import type { Procedure } from "../protocol/notation.ts";
import type { Stream } from "../stream.ts";

/** Calls on the connection of the moment. `deadlineMs` is the verb's own default. */
export type Call = <A, R>(
  procedure: Procedure<A, R>,
  args: A,
  options: CallOptions | undefined,
  deadlineMs?: number,
) => Promise<R>;

/** Opens a stream on a connection of its own, which ends with the stream. */
export type OpenStream = <A, R>(
  procedure: Procedure<A, R>,
  args: A,
  options: CallOptions | undefined,
) => Promise<{ readonly result: R; readonly stream: Stream }>;

export const affectFlags: Readonly<Record<Affect, number>> = { live: 1, config: 2, both: 3 };

/** The sum of the flags whose condition holds. */
export function flags(...conditions: readonly (readonly [boolean | undefined, number])[]): number {
  let word = 0;
  for (const [holds, bit] of conditions) if (holds === true) word |= bit;
  return word >>> 0;
}

/** CPU numbers as libvirt's bitmap: CPU 0 is the lowest bit of the first byte. */
export function cpuMap(cpus: readonly number[]): Uint8Array {
  const map = new Uint8Array(Math.floor(Math.max(0, ...cpus) / 8) + 1);
  for (const cpu of cpus) map[cpu >> 3] = (map[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  return map;
}

/** The CPU numbers in libvirt's bitmap. */
export function cpusOf(map: Uint8Array): number[] {
  const cpus: number[] = [];
  for (const [at, byte] of map.entries()) {
    for (let bit = 0; bit < 8; bit++) if ((byte & (1 << bit)) !== 0) cpus.push(at * 8 + bit);
  }
  return cpus;
}
