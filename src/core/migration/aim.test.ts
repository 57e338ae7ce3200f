/** The limit of the next pause follows from those that were. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { aimAfter, classOf, mostPauses, remember, usualBeyond, type GuestClass, type Pause } from "./aim.ts";

const small: GuestClass = { vcpus: 1, devices: 2, memoryMiB: 1024, disks: false };
const large: GuestClass = { vcpus: 16, devices: 8, memoryMiB: 65_536, disks: false };
const pause = (pauseMs: number, limitMs = 10, of = small): Pause => ({ of, pauseMs, limitMs });

test("what earlier pauses took beyond their limit is not there for the next one", () => {
  expect(aimAfter([])).toBe(10);
  expect(aimAfter([pause(35), pause(34.6), pause(36)], small)).toBe(25);
  expect([usualBeyond([]), usualBeyond([pause(35), pause(34), pause(36), pause(5)])]).toEqual([null, 25]);
});

test("is neither so short that nothing reaches it nor longer than it ever needs to be", () => {
  expect(aimAfter([pause(400)])).toBe(5);
  expect(aimAfter([pause(12)])).toBe(30);
  expect(aimAfter([pause(3)])).toBe(30);
});

test("one odd pause changes nothing, and old ones are forgotten", () => {
  expect(aimAfter([pause(40), pause(900), pause(40)])).toBe(20);
  let pauses: readonly Pause[] = [];
  for (const ms of [900, 900, 900, 900, 40, 40, 40]) pauses = remember(pauses, pause(ms), 10);
  expect(pauses).toHaveLength(5);
  expect(aimAfter(pauses)).toBe(20);
});

test("a pause that was allowed to be long tells nothing of one that is not", () => {
  const before = [pause(40)];
  // A move by `finish`, whose limit had come to 1,485 ms.
  expect(remember(before, pause(800, 1_485), 10)).toEqual(before);
  // A quiet guest, which was paused before the limit came to what was aimed at.
  expect(remember(before, pause(31, 1), 10)).toHaveLength(2);
});

test("a guest's own class counts, then guests of other sizes, and disks that go along for themselves alone", () => {
  const copied = { ...small, disks: true };
  const pauses = [pause(40), pause(60, 10, large), pause(300, 10, copied)];
  expect([small, large, copied].map((of) => usualBeyond(pauses, of))).toEqual([30, 50, 290]);
  expect(usualBeyond(pauses, { ...large, vcpus: 4 })).toBe(50);
  expect(usualBeyond(pauses, { ...large, disks: true })).toBe(290);
  expect(usualBeyond(pauses.slice(0, 2), copied)).toBeNull();
  expect(usualBeyond(pauses)).toBe(50);
});

test("of too many classes the one is forgotten that was seen last the longest ago", () => {
  const many = Array.from({ length: mostPauses }, (_, n) => pause(40, 10, { ...large, devices: n }));
  const known = [...many, pause(60, 10, many[0]?.of)].reduce<readonly Pause[]>(
    (pauses, one) => remember(pauses, one, 10),
    [],
  );
  expect(known).toHaveLength(mostPauses);
  expect(known[0]?.of.devices).toBe(2);
  expect(known.slice(-2).map(({ of, pauseMs }) => [of.devices, pauseMs])).toEqual([
    [0, 40],
    [0, 60],
  ]);
});

test("guests of nearly one size are of one class", () => {
  const guest = { vcpus: 3, devices: 5, memoryMiB: 1_500, disks: false };
  expect(classOf(guest)).toEqual({ vcpus: 4, devices: 8, memoryMiB: 2_048, disks: false });
  expect(classOf(classOf(guest))).toEqual(classOf(guest));
  expect(classOf({ ...guest, devices: 0 }).devices).toBe(1);
});

const classes = fc.record({
  vcpus: fc.nat(64),
  devices: fc.nat(30),
  memoryMiB: fc.integer({ min: 64, max: 2 ** 20 }),
  disks: fc.boolean(),
});
const pausesOf = (of: fc.Arbitrary<GuestClass>) =>
  fc.array(fc.record({ of: of.map(classOf), pauseMs: fc.nat(2_000), limitMs: fc.integer({ min: 1, max: 2_000 }) }), {
    maxLength: 300,
  });
const after = (pauses: readonly Pause[]) =>
  pauses.reduce<readonly Pause[]>((known, one) => remember(known, one, 30), []);

test("whatever was measured, it is within its bounds, and what is remembered within its own", () => {
  fc.assert(
    fc.property(pausesOf(classes), classes, (pauses, guest) => {
      const known = after(pauses);
      const aim = aimAfter(known, classOf(guest));
      expect(aim >= 5 && aim <= 30).toBe(true);
      expect(known.length).toBeLessThanOrEqual(mostPauses);
      expect(known.every(({ limitMs }) => limitMs <= 30)).toBe(true);
    }),
  );
});

test("other guests' pauses change nothing for a class that has some of its own", () => {
  const others = classes.filter((guest) => JSON.stringify(classOf(guest)) !== JSON.stringify(small));
  fc.assert(
    // So few that none is forgotten.
    fc.property(fc.array(fc.nat(2_000), { minLength: 1, maxLength: 9 }), pausesOf(others), (own, theirs) => {
      const mine = own.map((ms) => pause(ms));
      const few = theirs.slice(0, mostPauses - 5);
      for (const all of [
        [...few, ...mine],
        [...mine, ...few],
      ]) {
        expect(aimAfter(after(all), small)).toBe(aimAfter(after(mine), small));
      }
    }),
  );
});
