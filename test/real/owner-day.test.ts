/** The owner's day (support/owner-day.ts) on two namespace hosts, without KVM. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { TestLab } from "../../lab/testing.ts";
import { ownerDay } from "./support/owner-day.ts";

const lab = new TestLab();
beforeAll(() => lab.start({ hosts: 2 }));
afterAll(() => lab.destroy());

it("is a whole day", { timeout: 1_800_000 }, async () => {
  const { closedAfterMs } = await ownerDay(lab);
  expect(closedAfterMs).toBeGreaterThanOrEqual(0);
  process.stdout.write(`a rule's removal closed its port after ${Math.round(closedAfterMs)} ms\n`);
});
