import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostId, MigrationId } from "../../lib/ids.ts";
import { fullTargets, inOrder, movesToBegin, type Flight, type MoveLimits, type QueuedMove } from "./queue.ts";

const limits: MoveLimits = { outgoing: 2, incoming: 2, zone: 100, largeGiB: 16 };
const gib = 1024;
const hosts = ["host-a", "host-b", "host-c", "host-d"] as HostId[];
const [a = "" as HostId, b = "" as HostId, c = "" as HostId] = hosts;

let made = 0;
function move(change: Partial<QueuedMove> = {}): QueuedMove {
  const id = `mig-${String(++made).padStart(8, "0")}` as MigrationId;
  const rest = { source: a, to: null, by: "drain", memoryMiB: gib, observed: null, strikes: 0 } as const;
  return { id, ...rest, notBefore: 0, askedAt: made, ...change };
}

const ids = (moves: readonly QueuedMove[]) => moves.map(({ id }) => id);

describe("what begins", () => {
  it("is one large or two small ones from a host, and to a host", () => {
    const small = [move(), move(), move()];
    expect(movesToBegin(small, [], limits, 0)).toHaveLength(2);
    const large = [move({ memoryMiB: 32 * gib }), move({ memoryMiB: 32 * gib })];
    expect(movesToBegin(large, [], limits, 0)).toHaveLength(1);
    const into = [a, b, c].map((source) => move({ source, to: hosts[3] ?? null }));
    expect(movesToBegin(into, [], limits, 0)).toHaveLength(2);
    const flight: Flight = { source: a, target: b, memoryMiB: gib };
    expect(movesToBegin(small, [flight], limits, 0)).toHaveLength(1);
    expect(fullTargets([flight], limits, gib)).toEqual([]);
    expect(fullTargets([flight], limits, 32 * gib)).toEqual([b]);
    expect(fullTargets([flight, flight], limits, gib)).toEqual([b]);
  });

  it("is a large one before the small ones that came after it, though they would fit", () => {
    const large = move({ memoryMiB: 32 * gib, by: "operator" });
    const small = move({ by: "operator" });
    expect(movesToBegin([small, large], [{ source: a, target: b, memoryMiB: gib }], limits, 0)).toEqual([]);
    const elsewhere = move({ source: c });
    expect(movesToBegin([large, elsewhere], [{ source: a, target: b, memoryMiB: gib }], limits, 0)).toEqual([
      elsewhere,
    ]);
  });

  it("waits for its time, and holds up nobody until then", () => {
    const later = move({ notBefore: 10, by: "operator" });
    const now = move();
    expect(movesToBegin([later, now], [], limits, 9)).toEqual([now]);
    expect(movesToBegin([later, now], [], limits, 10)).toEqual([later, now]);
  });

  const anyMove = fc.record({
    source: fc.constantFrom(...hosts),
    to: fc.option(fc.constantFrom(...hosts)),
    by: fc.constantFrom("operator" as const, "drain" as const),
    memoryMiB: fc.constantFrom(gib, 4 * gib, 16 * gib, 64 * gib),
    strikes: fc.nat(3),
    notBefore: fc.nat(2),
  });
  const anyFlight = fc.record({
    source: fc.constantFrom(...hosts),
    target: fc.constantFrom(...hosts),
    memoryMiB: fc.constantFrom(gib, 64 * gib),
  });

  it("never takes more than the budgets, and with nothing on its way something begins", () => {
    fc.assert(
      fc.property(fc.array(anyMove, { maxLength: 30 }), fc.array(anyFlight, { maxLength: 6 }), (asked, flights) => {
        const queue = asked.map((one) => move(one));
        const zone = flights.length + 3;
        const begun = movesToBegin(queue, flights, { ...limits, zone }, 1);
        expect(begun.length).toBeLessThanOrEqual(3);
        const weight = (memoryMiB: number) => (memoryMiB >= 16 * gib ? 2 : 1);
        for (const host of hosts) {
          const sum = (all: readonly { memoryMiB: number }[]) => all.reduce((n, one) => n + weight(one.memoryMiB), 0);
          const out = begun.filter(({ source }) => source === host);
          const into = begun.filter(({ to }) => to === host);
          const before = {
            out: flights.filter((f) => f.source === host),
            into: flights.filter((f) => f.target === host),
          };
          expect(out.length === 0 || sum(out) + sum(before.out) <= 2).toBe(true);
          expect(into.length === 0 || sum(into) + sum(before.into) <= 2).toBe(true);
        }
        const due = queue.filter(({ notBefore }) => notBefore <= 1);
        expect(flights.length > 0 || due.length === 0 || begun.length > 0).toBe(true);
      }),
    );
  });
});

describe("the order", () => {
  it("is operators first, then the quiet of a drain, the largest first, then the busy by how often they were late", () => {
    const drained = move({ memoryMiB: 4 * gib });
    const large = move({ memoryMiB: 32 * gib });
    const busy = move({ observed: { dirty: 90, sent: 100 }, memoryMiB: 64 * gib });
    const late = move({ strikes: 2 });
    const mine = move({ by: "operator", askedAt: 2 });
    const first = move({ by: "operator", askedAt: 1 });
    expect(ids(inOrder([late, busy, drained, large, mine, first]))).toEqual(
      ids([first, mine, large, drained, busy, late]),
    );
  });

  const guest = fc.record({
    memoryMiB: fc.constantFrom(gib, 2 * gib, 5 * gib, 8 * gib, 32 * gib),
    share: fc.constantFrom(0, 0.3, 0.6),
  });
  const moveOf = ({ memoryMiB, share }: { memoryMiB: number; share: number }) =>
    move({ memoryMiB, observed: { dirty: share * 1e8, sent: 1e8 } });

  it("ends a drain within a third of the best order that there is", () => {
    fc.assert(
      fc.property(fc.array(guest, { minLength: 1, maxLength: 6 }), (guests) => {
        const moves = guests.map(moveOf);
        const best = Math.min(...permutations(moves).map(makespan));
        expect(makespan(inOrder(moves))).toBeLessThanOrEqual(best * (4 / 3) + 1e-6);
      }),
      { numRuns: 60 },
    );
  });

  it("lets a guest whose copy never ends hold up nobody", () => {
    fc.assert(
      fc.property(fc.array(guest, { minLength: 1, maxLength: 20 }), fc.nat(20), (guests, at) => {
        const quiet = guests.map(moveOf);
        const busy = move({ observed: { dirty: 2e8, sent: 1e8 }, memoryMiB: 64 * gib });
        const order = ids(inOrder(quiet.toSpliced(at, 0, busy)));
        expect(order.at(-1)).toBe(busy.id);
        expect(order.slice(0, -1)).toEqual(ids(inOrder(quiet)));
      }),
    );
  });
});

/** How long it takes when each begins as soon as those before it have left room: two small ones at once, or one large one. */
function makespan(order: readonly QueuedMove[]): number {
  let running: { until: number; weight: number }[] = [];
  let now = 0;
  for (const { memoryMiB, observed } of order) {
    const weight = memoryMiB >= 16 * gib ? 2 : 1;
    for (;;) {
      running = running.filter(({ until }) => until > now);
      if (running.reduce((sum, one) => sum + one.weight, 0) + weight <= 2) break;
      now = Math.min(...running.map(({ until }) => until));
    }
    running.push({ until: now + memoryMiB / (1 - (observed?.dirty ?? 0) / 1e8), weight });
  }
  return Math.max(...running.map(({ until }) => until), now);
}

function permutations<T>(all: readonly T[]): T[][] {
  if (all.length <= 1) return [[...all]];
  return all.flatMap((one, index) => permutations(all.toSpliced(index, 1)).map((rest) => [one, ...rest]));
}
