/** A long story in fewer lines: what a person reads of it is the same, and what the policy reads of it is not there any more. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { replay, thin, type StoryLine, type ToldLook } from "./story.ts";

const lookAt = (at: number, remainingBytes = 3): ToldLook => ({
  ...{ is: "look", at, pass: 1, passMs: 0, totalBytes: 1_000 },
  ...{ remainingBytes, dirtyBytesPerSecond: 2, bytesPerSecond: 1 },
});
const leverAt = (at: number): StoryLine => ({ is: "lever", at, lever: { pull: "throttle", percent: 10 }, why: "" });
const began: StoryLine = { is: "began", at: 0, policy: "throttle", aimMs: 30, ceilingMs: 300 };

/** Looks, some further apart than others, and now and then a lever. */
const stories = fc
  .array(fc.record({ ms: fc.constantFrom(200, 1_000, 15_000), left: fc.nat(1_000), lever: fc.nat(60) }), {
    minLength: 280,
    maxLength: 950,
    size: "max",
  })
  .map((steps) => {
    const lines: StoryLine[] = [began];
    let at = 0;
    for (const { ms, left, lever } of steps) {
      at += ms;
      lines.push(lookAt(at, left));
      if (lever === 0) lines.push(leverAt(at + 1));
    }
    return lines;
  });
const looksOf = (lines: readonly StoryLine[]) => lines.filter((line) => line.is === "look");
/** The other lines, and what is told of the looks before each of them. */
function read(lines: readonly StoryLine[]) {
  const told = [];
  let looks: ToldLook[] = [];
  for (const line of [...lines, null]) {
    if (line?.is === "look") looks.push(line);
    else {
      told.push([line, looks.at(-1), Math.min(...looks.map((look) => look.remainingBytes))]);
      looks = [];
    }
  }
  return told;
}
const standing = (lines: readonly StoryLine[]) => looksOf(lines).reduce((sum, { stands = 1 }) => sum + stands, 0);

test("it reads the same, each look is one of its own or counted in one, and the newest are untouched", () => {
  fc.assert(
    fc.property(stories, (lines) => {
      const once = thin(lines);
      for (const thinned of [once, thin(once)]) {
        expect(read(thinned)).toEqual(read(lines));
        expect(standing(thinned)).toBe(looksOf(lines).length);
        expect(looksOf(thinned).slice(-300)).toEqual(looksOf(lines).slice(-300));
        expect(looksOf(thinned)[0]).toEqual(looksOf(lines)[0]);
        expect(thinned.map(({ at }) => at)).toEqual(thinned.map(({ at }) => at).toSorted((a, b) => a - b));
        const others = lines.length - looksOf(lines).length;
        // For each of the others there is one look that stays, and one that begins anew after it.
        expect(thinned.length).toBeLessThanOrEqual(300 + 301 + 3 * others);
      }
    }),
    // To make such a long story a shorter one takes minutes.
    { numRuns: 50, endOnFailure: true },
  );
});

test.each([31, 1])("however long it becomes, it is told evenly from its beginning on (%i)", (levels) => {
  let lines: StoryLine[] = [began];
  const seconds = 10 * 3_600;
  for (let second = 1; second <= seconds; second++) {
    if (lines.length >= 950) lines = thin(lines);
    // The lowest of a stretch is now here, now there; or there is none.
    lines.push(lookAt(1_000 * second, (second * 7) % levels));
  }
  expect(lines.length).toBeLessThanOrEqual(950);
  const looks = looksOf(lines);
  const gaps = looks.slice(1).map(({ at }, index) => at - (looks[index]?.at ?? 0));
  // A look lies anywhere in its stretch.
  expect(Math.max(...gaps)).toBeLessThan((3 * 1_000 * seconds) / 300);
  expect(standing(lines)).toBe(seconds);
});

test("a short one stays as it is, and one without looks", () => {
  const short = [began, ...Array.from({ length: 300 }, (_, n) => lookAt(n)), leverAt(300)];
  expect(thin(short)).toEqual(short);
  const many = Array.from({ length: 1_000 }, (_, n) => leverAt(n));
  expect(thin(many)).toEqual(many);
});

test("is not replayed once looks were left out of it", () => {
  const whole = [began, ...Array.from({ length: 900 }, (_, n) => lookAt(1_000 * n))];
  expect(replay(whole)).toHaveLength(900);
  expect(replay(thin(whole))).toBeNull();
});
