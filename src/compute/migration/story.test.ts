/** A migration's story on the disk: what a Compute that begins anew still has of it. */
import { appendFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { storyLinesMax } from "../../core/migration/story.ts";
import { exists } from "../../lib/files.ts";
import { createLog } from "../../lib/log.ts";
import { Story } from "./story.ts";

const log = createLog("test", { part: "story" });
let directory = "";
let file = "";

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "story-"));
  file = join(directory, "mig-aaaaaaaa.story");
});
afterEach(() => rm(directory, { recursive: true }));

const look = {
  is: "look",
  ...{ at: 1, pass: 1, passMs: 0, totalBytes: 4 },
  ...{ remainingBytes: 3, dirtyBytesPerSecond: 2, bytesPerSecond: 1 },
} as const;
const stayed = { is: "stayed", reason: "restarted", message: "it began anew" } as const;

it("goes on after a death, without the line that it tore", async () => {
  const before = new Story(file, log);
  before.begin({ policy: "finish", aimMs: 30, ceilingMs: 300 });
  before.add(look);
  await before.write();
  before.step("paused");
  await Promise.all([before.write(), before.write()]);
  await appendFile(file, '\n{"is":"look","at":12');
  const after = new Story(file, log);
  await after.read();
  await after.read();
  expect(after.lines.map(({ is }) => is)).toEqual(["began", "look", "step"]);
  after.end(stayed);
  after.end(stayed);
  await after.write();
  const third = new Story(file, log);
  await third.read();
  expect(third.lines.map(({ is }) => is)).toEqual(["began", "look", "step", "stayed"]);
  await third.remove();
  expect(await exists(file)).toBe(false);
});

it("shows the policy what came after it was full, and how the copy began", () => {
  const story = new Story(file, log);
  for (let at = 1; at <= 10_000; at++) story.add({ ...look, at });
  expect(story.lines.length).toBeLessThan(storyLinesMax);
  const seen = story.seen.map(({ at }) => at);
  expect([seen[0], seen.at(-1)]).toEqual([1, 10_000]);
  expect(seen.length).toBeLessThan(5_000);
  // The last of them without a gap.
  expect(seen.slice(-1_500)).toEqual(Array.from({ length: 1_500 }, (_, i) => 8_501 + i));
});

it("has an end, and room for it", async () => {
  const story = new Story(file, log);
  await story.read();
  for (let n = 0; n < 2 * storyLinesMax; n++) story.add(look);
  story.add({ is: "lever", at: 2, lever: { pull: "give_up" }, why: "too fast" });
  story.end(stayed);
  await story.write();
  expect(story.lines.length).toBeLessThanOrEqual(storyLinesMax);
  expect(story.lines.slice(-2).map(({ is }) => is)).toEqual(["lever", "stayed"]);
  expect((await readFile(file, "utf8")).trim().split("\n")).toHaveLength(story.lines.length);
});

it("is kept to its end however long it is, here and on the disk, and goes on after a death", async () => {
  const story = new Story(file, log);
  story.begin({ policy: "throttle", aimMs: 30, ceilingMs: 300 });
  for (let at = 1; at <= 20_000; at++) {
    story.add({ ...look, at });
    if (at === 5_000) story.add({ is: "lever", at, lever: { pull: "throttle", percent: 10 }, why: "too fast" });
    if (at % 100 === 0) await story.write();
  }
  const looks = story.lines.filter((line) => line.is === "look");
  expect(looks.reduce((sum, { stands = 1 }) => sum + stands, 0)).toBe(20_000);
  expect(looks.slice(-300).map(({ at }) => at)).toEqual(Array.from({ length: 300 }, (_, n) => 19_701 + n));
  const kept = (await readFile(file, "utf8")).trim().split("\n");
  expect(kept.map((line) => JSON.parse(line) as unknown)).toEqual(story.lines);
  const after = new Story(file, log);
  await after.read();
  expect(after.lines).toEqual(story.lines);
  expect(after.notable).toBe(1);
  after.end(stayed);
  await after.write();
  expect((await readFile(file, "utf8")).trim().split("\n")).toHaveLength(kept.length + 1);
});

it("makes room for what happens after many looks", () => {
  const story = new Story(file, log);
  for (let at = 1; at <= 940; at++) story.add({ ...look, at });
  for (let at = 1; at <= 100; at++) story.step(at % 2 === 1 ? "broken" : "rejoined");
  story.end(stayed);
  expect(story.notable).toBe(100);
  expect(story.lines.at(-1)).toMatchObject(stayed);
  expect(story.lines.length).toBeLessThanOrEqual(storyLinesMax);
});

it("ends no earlier than what was told of it before, whatever the clock says since", () => {
  const story = new Story(file, log);
  const ahead = Date.now() + 3_600_000;
  story.add({ ...look, at: ahead });
  story.end(stayed);
  expect(story.lines.at(-1)?.at).toBe(ahead);
});

it("is no reason for anything where it cannot be written", async () => {
  const story = new Story(join(directory, "not-there", "story"), log);
  await story.read();
  story.begin({ policy: "gentle", aimMs: 30, ceilingMs: 300 });
  await story.write();
  expect(story.lines).toHaveLength(1);
});
