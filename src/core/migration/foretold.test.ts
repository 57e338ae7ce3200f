/** What was foretold of a move, beside what came. */
import { expect, test } from "vitest";
import { forecast } from "./forecast.ts";
import { compareForetold } from "./foretold.ts";
import { predict } from "./prediction.ts";
import type { StoryLine } from "./story.ts";

const mib = 2 ** 20;
const prediction = predict({
  memoryBytes: 400 * mib,
  curve: { bytesPerSecond: 8 * mib, workingSetBytes: 32 * mib },
  linkBytesPerSecond: 100 * mib,
  limitMs: 30,
  fixedMs: 20,
})!;
const look = { is: "look", totalBytes: 400 * mib, remainingBytes: 300 * mib } as const;
const lines: StoryLine[] = [
  { is: "began", at: 0, policy: "gentle", aimMs: 30, ceilingMs: 300 },
  { is: "step", at: 900, step: "prepared" },
  { is: "foretold", at: 1_000, prediction },
  { ...look, at: 3_000, pass: 1, passMs: 800, dirtyBytesPerSecond: 0, bytesPerSecond: 90 * mib },
  { ...look, at: 4_000, pass: 2, passMs: 800, dirtyBytesPerSecond: 20 * mib, bytesPerSecond: 80 * mib },
  { ...look, at: 5_000, pass: 3, passMs: 800, dirtyBytesPerSecond: 24 * mib, bytesPerSecond: 10 * mib },
];
const end: StoryLine[] = [
  { is: "step", at: 7_200, step: "paused" },
  { is: "left", at: 7_300, pauseMs: 44 },
];

test("the copy counts from its memory's first byte to the pause; of what was seen often the middle", () => {
  const { dirtyBytesPerSecond, linkBytesPerSecond, copyMs, pauseMs } = compareForetold([...lines, ...end])!;
  // Twice 8 MiB/s, of a working set of 32 MiB: not all of it is different.
  expect(dirtyBytesPerSecond.foretold / mib).toBeCloseTo(12.6, 1);
  expect(dirtyBytesPerSecond.came).toBe(24 * mib);
  expect(linkBytesPerSecond).toEqual({ foretold: 100 * mib, came: 80 * mib });
  expect(copyMs).toEqual({ foretold: prediction.copyMs, came: 5_000 });
  expect(pauseMs).toEqual({ foretold: prediction.pauseMs, came: 44 });
});

test("a guest that writes too fast is foretold by the policy of its move", () => {
  const fast = predict({ ...prediction, curve: { bytesPerSecond: 90 * mib, workingSetBytes: 32 * mib } })!;
  expect(fast.verdict.is).toBe("brake");
  const of = (policy: "gentle" | "finish") =>
    compareForetold([
      { is: "began", at: 0, policy, aimMs: 30, ceilingMs: 5_000 },
      { is: "foretold", at: 1, prediction: fast },
    ])!;
  expect(of("gentle").pauseMs.foretold).toBe(fast.pauseMs);
  const finish = forecast(fast, { policy: "finish", ceilingMs: 5_000 })!;
  expect(finish.verdict.is).toBe("pause");
  expect(of("finish")).toMatchObject({ copyMs: { foretold: finish.copyMs }, pauseMs: { foretold: finish.pauseMs } });
  expect(finish.pauseMs).toBeGreaterThan(2 * fast.pauseMs);
});

test("what did not come, or was never looked at, is not made up", () => {
  expect(compareForetold(lines.slice(0, 2))).toBeNull();
  expect(compareForetold([...lines.slice(0, 3), { is: "step", at: 1_600, step: "paused" }])).toMatchObject({
    dirtyBytesPerSecond: { came: null },
    linkBytesPerSecond: { came: null },
    copyMs: { came: 600 },
    pauseMs: { came: null },
  });
  const stayed: StoryLine = { is: "stayed", at: 6_000, reason: "link_lost", message: "the link is gone" };
  expect(compareForetold([...lines, stayed])).toMatchObject({ copyMs: { came: null }, pauseMs: { came: null } });
});
