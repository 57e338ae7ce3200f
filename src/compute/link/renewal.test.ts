import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isDue, waitMs, type Life } from "./renewal.ts";

const day = 86_400_000;
const lives = fc
  .record({ begins: fc.integer({ min: 0, max: 1e12 }), ms: fc.integer({ min: 10_000, max: 3_650 * day }) })
  .map(({ begins, ms }): Life => ({ begins: new Date(begins), ends: new Date(begins + ms) }));
const early = fc.double({ min: 0, max: 0.06, noNaN: true });

const at = ({ begins, ends }: Life, share: number): number =>
  begins.getTime() + (ends.getTime() - begins.getTime()) * share;

describe("a certificate's renewal", () => {
  it("is due when two thirds of its time are over or a little before, and not earlier", () => {
    const unlike = fc.sample(fc.tuple(lives, early), 500).filter(([life, by]) => {
      const due = [0, 0.3, 0.6, 0.667, 1, 2].map((share) => isDue(life, by, at(life, share)));
      return due.join() !== "false,false,false,true,true,true";
    });
    expect(unlike).toEqual([]);
  });

  it("is looked at soon enough to be tried often before the end, and seldom before it is due", () => {
    const tried = ([life, by]: readonly [Life, number]): { looks: number; tries: number } => {
      let [looks, tries] = [0, 0];
      for (let now = life.begins.getTime(); now < life.ends.getTime() && tries < 5; now += waitMs(life, by, now)) {
        if (isDue(life, by, now)) tries++;
        else looks++;
      }
      return { looks, tries };
    };
    const all = fc.sample(fc.tuple(lives, early), 50).map(tried);
    expect(Math.min(...all.map(({ tries }) => tries))).toBeGreaterThanOrEqual(3);
    expect(Math.max(...all.map(({ looks }) => looks))).toBeLessThan((3_650 * day) / 3_600_000 + 2);
  });

  it("waits an hour at most and a second at least, whatever the clock says", () => {
    const life = { begins: new Date(0), ends: new Date(90 * day) };
    expect([1e13, -1e13].map((now) => waitMs(life, 0, now))).toEqual([1_000, 3_600_000]);
  });
});
