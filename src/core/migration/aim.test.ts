/** The limit of the next pause follows from those that were. */
import { expect, test } from "vitest";
import { aimAfter, remember, usualBeyond, type Pause } from "./aim.ts";

const pause = (pauseMs: number, limitMs = 10): Pause => ({ pauseMs, limitMs });

test("what earlier pauses took beyond their limit is not there for the next one", () => {
  expect(aimAfter([])).toBe(10);
  expect(aimAfter([pause(35), pause(34.6), pause(36)])).toBe(25);
  expect([usualBeyond([]), usualBeyond([pause(35), pause(34), pause(36), pause(5)])]).toEqual([null, 25]);
});

test("is neither so short that nothing reaches it nor longer than it ever needs to be", () => {
  expect(aimAfter([pause(400)])).toBe(5);
  expect(aimAfter([pause(12)])).toBe(30);
  expect(aimAfter([pause(3)])).toBe(30);
});

test("one odd pause changes nothing, and old ones are forgotten", () => {
  expect(aimAfter([pause(40), pause(900), pause(40)])).toBe(20);
  const pauses: Pause[] = [];
  for (const ms of [900, 900, 900, 900, 40, 40, 40]) remember(pauses, pause(ms));
  expect(pauses).toHaveLength(5);
  expect(aimAfter(pauses)).toBe(20);
});
