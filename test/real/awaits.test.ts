/**
 * A sample of what `npm run test:faults` does at every await of both programs: some of them, drawn by the source, at which the program
 * is killed, or PostgreSQL or libvirtd under it, in the middle of an instance's whole life.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { moments, victims } from "../faults/awaits/orders.ts";
import { readReach, victimsAt } from "../faults/awaits/reach.ts";
import { AwaitBed } from "../faults/awaits/run.ts";
import { sourceHash } from "../faults/rows.ts";
import { pick, seeded } from "../faults/seeded.ts";

const random = seeded(Number.parseInt(sourceHash().slice(0, 8), 16));
const reach = readReach();
const kills = 8;

let bed: AwaitBed | undefined;
beforeAll(async () => {
  bed = await AwaitBed.begin();
});
afterAll(async () => {
  await bed?.bed.finish();
});

it.each(victims)("a life goes its way while %s is killed at awaits", async (victim) => {
  const all = Object.keys(reach).filter((step) => reach[step] === "life" && victimsAt(step).includes(victim));
  const steps = [...new Set(Array.from({ length: kills }, () => pick(random, all)))];
  const struck = await bed?.run({ walk: "life", victim, moment: pick(random, moments), steps });
  expect(struck?.length).toBeGreaterThan(0);
});
