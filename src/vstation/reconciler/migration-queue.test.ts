import { expect, test } from "vitest";
import { refusedSince } from "./migration-queue.ts";

test("what refuses a request counts from its first refusal in a row, and not from when it was queued", () => {
  const now = Date.parse("2026-11-27T12:00:00Z");
  const minutes = (ago: number): Date => new Date(now - ago * 60_000);
  expect(refusedSince({ refused_at: null, not_before: minutes(40) }, now)).toEqual(minutes(0));
  expect(refusedSince({ refused_at: minutes(14), not_before: minutes(0) }, now)).toEqual(minutes(14));
  // It had its turn again after others.
  expect(refusedSince({ refused_at: minutes(14), not_before: minutes(10) }, now)).toEqual(minutes(0));
});
