/** A move as a picture: what its story tells is drawn, and nothing else is. */
import { expect, test } from "vitest";
import { drawMigration } from "./picture.ts";
import { predict } from "./prediction.ts";
import type { StoryLine } from "./story.ts";

const mib = 2 ** 20;
const look = { is: "look", totalBytes: 100 * mib, dirtyBytesPerSecond: 20 * mib, bytesPerSecond: 25 * mib } as const;
const start = Date.parse("2026-01-02T03:04:05.000Z");
const measured = { memoryBytes: 100 * mib, linkBytesPerSecond: 25 * mib, limitMs: 30, fixedMs: 20 };
const prediction = predict({ ...measured, curve: { bytesPerSecond: 0, workingSetBytes: 0 } })!;
const copying: StoryLine[] = [
  { is: "began", at: start, policy: "finish", aimMs: 30, ceilingMs: 500 },
  { is: "step", at: start + 500, step: "prepared" },
  { is: "foretold", at: start + 500, prediction },
  { ...look, at: start + 2_000, pass: 1, passMs: 1_000, remainingBytes: 75 * mib },
  { ...look, at: start + 5_000, pass: 2, passMs: 10, remainingBytes: 50 * mib },
  { is: "lever", at: start + 5_000, lever: { pull: "throttle", percent: 20 }, why: "no pass came <closer>" },
];
const handedOver: StoryLine[] = [
  { is: "step", at: start + 8_000, step: "paused" },
  { is: "step", at: start + 8_200, step: "copied" },
  { is: "step", at: start + 8_400, step: "resumed" },
  { is: "left", at: start + 10_000, pauseMs: 400 },
];
const draw = (lines: StoryLine[], silences: { at: number; ms: number }[] | null = null) =>
  drawMigration({ title: "a move", lines, silences, notes: ["made so"] });

test("of a move that arrived: all of its memory down to nothing, the lever, the pause, and what was foretold", () => {
  const svg = draw([...copying, ...handedOver])!;
  // Ten seconds are 800 wide, from 64 on; 100 MiB are 96 high, below 74.
  expect(svg).toContain('<path class="s s0" d="M144 74L224 98L464 122L720 170"/>');
  expect(svg).toContain('<path class="s s1" d="M224 ');
  expect(svg).toContain("2: 5.0 s, slowed by 20 %: no pass came &lt;closer&gt;");
  expect(svg.match(/<rect class="band" x="704" y="\d+" width="32"/g)).toHaveLength(3);
  expect(svg).toContain("it runs at the target, paused for 400 ms");
  expect(svg).toContain("copied in: foretold 4.0 s, came 7.0 s; paused for: foretold 20 ms, came 400 ms");
  expect(svg).toContain("made so");
  expect(svg).not.toContain("silence");
});

test("where the guest was heard its silences are a panel of their own", () => {
  const svg = draw([...copying, ...handedOver], [{ at: start + 8_000, ms: 1_000 }])!;
  expect(svg).toContain("silence of the guest&#39;s beat (ms, logarithmic)".replace("&#39;", "'"));
  expect(svg).toMatch(/<path class="d0" d="M704 \d+V\d+h80V\d+z"\/>/);
});

test("of one that is under way, or was never looked at, what there is; of none nothing", () => {
  expect(draw(copying)).toContain("it is under way");
  const stayed: StoryLine = {
    is: "stayed",
    at: start + 9,
    reason: "link_lost",
    message: "the two hosts lost each other",
  };
  const svg = draw([...copying.slice(0, 1), stayed])!;
  expect(svg).toContain("it stays where it is: the two hosts lost each other");
  expect(svg).not.toMatch(/NaN|Infinity|undefined|class="band" x/);
  expect(draw([])).toBeNull();
});
