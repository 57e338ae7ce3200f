/** The owner's day (support/owner-day.ts) on a nested host: its own kernel, and guests that run by real KVM. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { TestLab } from "../../lab/testing.ts";
import { ownerDay } from "./support/owner-day.ts";

const lab = new TestLab();
beforeAll(() => lab.start({ hosts: 0, nested: 1 }), 600_000);
afterAll(() => lab.destroy());

it("is a whole day under KVM", { timeout: 2_700_000 }, async () => {
  expect(await lab.hosts()).toEqual(new Map([["nested1", "ready"]]));
  const { closedAfterMs } = await ownerDay(lab);
  process.stdout.write(`a rule's removal closed its port after ${Math.round(closedAfterMs)} ms\n`);
});
