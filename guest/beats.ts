/**
 * What the guest's beats say: gaps between arrivals, losses, and repeats. Pure; beat-worker.ts receives, beat-listener.ts is the
 * handle. Arrival times are milliseconds of the machine's monotonic clock (process.hrtime), the same in all its processes.
 *
 * A gap contains the beat's own interval: with one beat per millisecond, an undisturbed guest shows gaps of about 1 ms.
 */

export interface Beat {
  seq: number;
  monotonicNs: bigint;
  realtimeNs: bigint;
  bootId: string;
}

export const beatBytes = 48;

/** The beat in a datagram, or undefined if it is none. Layout: struct beat in probe.c. */
export function parseBeat(datagram: Uint8Array): Beat | undefined {
  const it = Buffer.from(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  if (it.length !== beatBytes || it.toString("latin1", 0, 8) !== "VSBEAT01") return undefined;
  if (it.readBigUInt64LE(8) >= maxSeq) return undefined;
  return {
    seq: Number(it.readBigUInt64LE(8)),
    monotonicNs: it.readBigUInt64LE(16),
    realtimeNs: it.readBigUInt64LE(24),
    bootId: it.toString("hex", 32, 48).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"),
  };
}

export interface Gap {
  /** When it began: the arrival before it. */
  at: number;
  ms: number;
}

export interface BeatReport {
  received: number;
  /** Numbers between the first and the last of a boot that did not arrive (yet). */
  lost: number;
  /** Beats whose number had come before in the same boot: doubled on the way, or sent by a second copy of the guest. */
  repeated: number;
  /** Beats that came after one with a higher number. */
  late: number;
  /** In order of appearance; more than one means that the guest was booted anew. */
  bootIds: string[];
  first: number | undefined;
  last: number | undefined;
  /** Lengths in ms; undefined without a gap. */
  gaps: { p50: number; p99: number; p999: number; max: number } | undefined;
  /** The longest gaps, longest first. */
  longest: Gap[];
  /** The time asked about in equal parts, where they were asked for. */
  bins: Bin[];
}

export interface Bin {
  /** Beats that arrived in it. */
  beats: number;
  /** The longest gap that reaches into it. */
  longestMs: number;
}

export interface Range {
  from?: number;
  to?: number;
  /** Length of a bin; needs both ends. */
  binMs?: number;
}

interface Boot {
  low: number;
  high: number;
  distinct: number;
  /** A bit for each number. */
  seen: Uint32Array;
}

/** Three days of a beat each millisecond; beyond it the bits of one boot would take more than 32 MiB. */
const maxSeq = 2 ** 28;

/** Arrivals since the last clear. */
export class BeatLog {
  #times = new Float64Array(4096);
  #length = 0;
  readonly #boots = new Map<string, Boot>();
  #repeated = 0;
  #late = 0;

  add(at: number, beat: Pick<Beat, "seq" | "bootId">): void {
    if (this.#length === this.#times.length) {
      const grown = new Float64Array(this.#length * 2);
      grown.set(this.#times);
      this.#times = grown;
    }
    this.#times[this.#length++] = at;
    const { seq, bootId } = beat;
    let boot = this.#boots.get(bootId);
    if (boot === undefined)
      this.#boots.set(bootId, (boot = { low: seq, high: seq, distinct: 0, seen: new Uint32Array(1024) }));
    if (seq < boot.high) this.#late++;
    boot.low = Math.min(boot.low, seq);
    boot.high = Math.max(boot.high, seq);
    if (take(boot, seq)) boot.distinct++;
    else this.#repeated++;
  }

  /**
   * Of the beats that arrived from `from` to `to` (all by default), and of the gaps that reach into that time: one that began before
   * it counts whole, one that has not ended is not known yet. Losses, repeats and lateness are those since the last clear.
   */
  report(range: Range = {}, longest = 10): BeatReport {
    const { from = -Infinity, to = Infinity, binMs } = range;
    const times = this.#times.subarray(0, this.#length);
    const inside = times.filter((at) => at >= from && at <= to);
    const gaps: Gap[] = [];
    for (let i = 1; i < times.length; i++) {
      const at = times[i - 1] ?? 0;
      const end = times[i] ?? 0;
      if (end >= from && at <= to) gaps.push({ at, ms: end - at });
    }
    const bins = binMs === undefined ? [] : binned(inside, gaps, from, to, binMs);
    gaps.sort((a, b) => b.ms - a.ms);
    const lengths = gaps.map((gap) => gap.ms);
    const max = lengths[0];
    let lost = 0;
    for (const boot of this.#boots.values()) lost += boot.high - boot.low + 1 - boot.distinct;
    return {
      received: inside.length,
      lost,
      repeated: this.#repeated,
      late: this.#late,
      bootIds: [...this.#boots.keys()],
      first: inside[0],
      last: inside.at(-1),
      gaps:
        max === undefined
          ? undefined
          : { p50: top(lengths, 0.5), p99: top(lengths, 0.99), p999: top(lengths, 0.999), max },
      longest: gaps.slice(0, longest),
      bins,
    };
  }

  clear(): void {
    this.#length = 0;
    this.#boots.clear();
    this.#repeated = 0;
    this.#late = 0;
  }
}

/** Whole bins only: what is left over at the end is none. */
function binned(inside: Float64Array, gaps: readonly Gap[], from: number, to: number, binMs: number): Bin[] {
  const bins = Array.from({ length: Math.floor((to - from) / binMs) }, () => ({ beats: 0, longestMs: 0 }));
  for (const at of inside) {
    const bin = bins[Math.floor((at - from) / binMs)];
    if (bin !== undefined) bin.beats++;
  }
  for (const { at, ms } of gaps) {
    const last = Math.min(bins.length - 1, Math.floor((at + ms - from) / binMs));
    for (let i = Math.max(0, Math.floor((at - from) / binMs)); i <= last; i++) {
      const bin = bins[i];
      if (bin !== undefined) bin.longestMs = Math.max(bin.longestMs, ms);
    }
  }
  return bins;
}

/** Marks a number as come; false if it had. */
function take(boot: Boot, seq: number): boolean {
  const at = seq >>> 5;
  if (at >= boot.seen.length) {
    const grown = new Uint32Array(2 ** Math.ceil(Math.log2(at + 1)));
    grown.set(boot.seen);
    boot.seen = grown;
  }
  const bit = 1 << (seq & 31);
  const before = boot.seen[at] ?? 0;
  boot.seen[at] = before | bit;
  return (before & bit) === 0;
}

/** The quantile by nearest rank of values that are sorted downwards. */
function top(descending: readonly number[], quantile: number): number {
  const rank = Math.ceil(quantile * descending.length);
  return descending[descending.length - rank] ?? NaN;
}
