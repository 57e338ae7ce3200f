import { expect, test } from "vitest";
import { isBehind } from "./disk-backlog.ts";

const mib = 2 ** 20;

test("what goes over in the longest pause is no backlog, on any link, and what a mirror has on its way is none", () => {
  const fast = { bytesPerSecond: 200 * mib, ceilingMs: 300 };
  expect(isBehind(60 * mib, fast)).toBe(false);
  expect(isBehind(61 * mib, fast)).toBe(true);
  const slow = { bytesPerSecond: mib, ceilingMs: 300 };
  expect(isBehind(16 * mib, slow)).toBe(false);
  expect(isBehind(17 * mib, slow)).toBe(true);
});
