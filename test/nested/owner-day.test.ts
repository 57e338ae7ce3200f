/**
 * The owner's day (test/real/support/owner-day.ts) on a nested host: its own kernel, and guests that run by real KVM. The machine is
 * emulated, and emulated KVM fails now and then: the machine goes down, or a guest is paused by its QEMU. A day on which that
 * happened has not been shown; so it is not part of `npm test`, and fails here.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { TestLab } from "../../lab/testing.ts";
import { ownerDay } from "../real/support/owner-day.ts";

const host = "nested1";
const lab = new TestLab();
beforeAll(async () => {
  const { stdout } = await lab.start({ hosts: 0, nested: 1 });
  process.stdout.write(`${/ready after [\d.]+ s/.exec(stdout)?.[0]}\n`);
}, 900_000);
afterAll(() => lab.destroy());

const restarts = () => lab.status().children[host]?.restarts;

function wentDown(cause?: unknown): Error {
  const lines = readFileSync(join(lab.home.hostDir(host), "log/console.log"), "utf8").split("\n");
  const lastWords = lines.filter((line) => /panic|BUG|Oops/.test(line)).join("\n");
  return new Error(`${host} itself went down in the middle of the day: ${lastWords}`, { cause });
}

it("is a whole day under KVM", { timeout: 2_700_000 }, async () => {
  expect(await lab.hosts()).toEqual(new Map([[host, "ready"]]));
  const before = restarts();
  const { closedAfterMs } = await ownerDay(lab).catch((error: unknown) => {
    throw restarts() === before ? error : wentDown(error);
  });
  if (restarts() !== before) throw wentDown();
  process.stdout.write(`a rule's removal closed its port after ${Math.round(closedAfterMs)} ms\n`);
});
