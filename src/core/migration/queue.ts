/**
 * Which of the moves that wait may begin now, and in which order: a pure function of what waits and what is on its way, so that many at
 * once take no more of a host's link than they may. What is told to wait stays waiting; nothing has been done for it, and no room is taken.
 *
 * A host's two budgets are those of its link, one for each direction. A large guest takes all of one: two large copies side by side end
 * no sooner than one after the other, and each pauses longer. Small ones go in twos, because half of the time of each is not its copy.
 *
 * The order. What an operator asked for goes before a drain, first come first served. Of a drain, guests that are quiet go before busy ones,
 * so that a guest whose copy may never end holds up nobody but itself, and each try that was not in time puts it further back. Among
 * equals the one that takes longest goes first (Graham's rule: the whole then ends within a third of the best possible time).
 */
import type { HostId, MigrationId } from "../../lib/ids.ts";

export interface QueuedMove {
  readonly id: MigrationId;
  /** Where its guest runs. */
  readonly source: HostId;
  /** null: wherever it fits. */
  readonly to: HostId | null;
  readonly by: "operator" | "drain";
  readonly memoryMiB: number;
  /** How fast the guest changed its memory, and how fast that was sent, when it was last copied; bytes per second. */
  readonly observed: { readonly dirty: number; readonly sent: number } | null;
  /** Tries of it that were not in time. */
  readonly strikes: number;
  /** Times in milliseconds since 1970. */
  readonly notBefore: number;
  readonly askedAt: number;
}

/** A copy that is on its way, or about to be. */
export interface Flight {
  readonly source: HostId;
  readonly target: HostId;
  readonly memoryMiB: number;
}

export interface MoveLimits {
  /** A host's, in small guests; a large one takes all of it. */
  readonly outgoing: number;
  readonly incoming: number;
  /** Of the whole zone, in guests. */
  readonly zone: number;
  /** From this size on a guest is large. */
  readonly largeGiB: number;
}

/** From this share of the link on, a guest that changes its memory is busy. */
const busyShare = 0.8;
/** Where no copy of it was ever seen: all are then compared by their memory. */
const assumedRate = 125_000_000;

/** Those that begin now, in their order. One that cannot yet keeps those behind it from what it waits for. */
export function movesToBegin(
  queue: readonly QueuedMove[],
  flights: readonly Flight[],
  limits: MoveLimits,
  now: number,
): QueuedMove[] {
  const out = new Budget(limits.outgoing, limits.largeGiB);
  const into = new Budget(limits.incoming, limits.largeGiB);
  for (const { source, target, memoryMiB } of flights) {
    out.take(source, memoryMiB);
    into.take(target, memoryMiB);
  }
  let free = limits.zone - flights.length;
  const begin: QueuedMove[] = [];
  for (const move of inOrder(queue)) {
    if (move.notBefore > now) continue;
    if (free <= 0) break;
    const { source, to, memoryMiB } = move;
    if (!out.has(source, memoryMiB)) {
      out.close(source);
      continue;
    }
    if (to !== null && !into.has(to, memoryMiB)) {
      into.close(to);
      continue;
    }
    out.take(source, memoryMiB);
    if (to !== null) into.take(to, memoryMiB);
    free--;
    begin.push(move);
  }
  return begin;
}

/** Hosts that can be nobody's target now, for a guest of this size. */
export function fullTargets(flights: readonly Flight[], limits: MoveLimits, memoryMiB: number): HostId[] {
  const into = new Budget(limits.incoming, limits.largeGiB);
  for (const flight of flights) into.take(flight.target, flight.memoryMiB);
  return [...new Set(flights.map(({ target }) => target))].filter((target) => !into.has(target, memoryMiB));
}

export function inOrder(queue: readonly QueuedMove[]): QueuedMove[] {
  return queue
    .map((move) => ({ move, key: keyOf(move) }))
    .toSorted((a, b) => compare(a.key, b.key))
    .map(({ move }) => move);
}

function keyOf(move: QueuedMove): (number | string)[] {
  const { id, by, strikes, askedAt, memoryMiB } = move;
  if (by === "operator") return [0, strikes, askedAt, id];
  return [1, isBusy(move) ? 1 : 0, strikes, -memoryMiB, -expectedSeconds(move), id];
}

function isBusy({ strikes, observed }: QueuedMove): boolean {
  return strikes > 0 || (observed !== null && observed.dirty >= busyShare * observed.sent);
}

/** Each pass sends what was changed during the one before. */
function expectedSeconds({ memoryMiB, observed }: QueuedMove): number {
  const rate = observed === null || observed.sent <= 0 ? assumedRate : observed.sent;
  const share = observed === null ? 0 : Math.min(0.99, observed.dirty / rate);
  return (memoryMiB * 2 ** 20) / rate / (1 - share);
}

function compare(a: readonly (number | string)[], b: readonly (number | string)[]): number {
  for (const [index, left] of a.entries()) {
    const right = b[index] ?? 0;
    if (left !== right) return left < right ? -1 : 1;
  }
  return 0;
}

class Budget {
  readonly #limit: number;
  readonly #largeMiB: number;
  readonly #taken = new Map<HostId, number>();

  constructor(limit: number, largeGiB: number) {
    this.#limit = limit;
    this.#largeMiB = largeGiB * 1024;
  }

  has(host: HostId, memoryMiB: number): boolean {
    return (this.#taken.get(host) ?? 0) + this.#weight(memoryMiB) <= this.#limit;
  }

  take(host: HostId, memoryMiB: number): void {
    this.#taken.set(host, (this.#taken.get(host) ?? 0) + this.#weight(memoryMiB));
  }

  close(host: HostId): void {
    this.#taken.set(host, Infinity);
  }

  #weight(memoryMiB: number): number {
    return memoryMiB >= this.#largeMiB ? this.#limit : 1;
  }
}
