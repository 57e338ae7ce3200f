/** Of the beats that were heard, what is drawn: each long silence once, where it was. */
import { expect, test } from "vitest";
import { silencesOf } from "./picture.ts";

test("a long silence is drawn as it was, and not once more in each bin that it reaches into", () => {
  const longest = [
    { at: 1_150, ms: 190 },
    { at: 1_020, ms: 9 },
  ];
  const bins = [2, 9, 190, 190, 190, 3, 0].map((longestMs) => ({ beats: 1, longestMs }));
  expect(silencesOf({ longest, bins }, 900)).toEqual([
    { at: 900, ms: 2 },
    { at: 1_020, ms: 9 },
    { at: 1_150, ms: 190 },
    { at: 1_400, ms: 3 },
  ]);
});
