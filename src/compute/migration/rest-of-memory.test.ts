/** When a way is given up and when two halves are joined anew; that this mends a guest is test/real/migration-postcopy.test.ts's business. */
import { performance } from "node:perf_hooks";
import { afterEach, expect, test, vi } from "vitest";
import type { InstanceId, MigrationId } from "../../lib/ids.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import { RestOfMemory } from "./rest-of-memory.ts";

const domain: DomainRef = { name: "ins-00000001", uuid: "00000000-0000-0000-0000-000000000000", id: 1 };
const looked = { guest: "paused", neverRan: false, domain } as const;
const ids = { id: "mig-00000001" as MigrationId, instanceId: "ins-00000001" as InstanceId };

afterEach(() => {
  vi.restoreAllMocks();
});

/** A source whose QEMU says `status` with so much left, at a time that the test sets. */
function source() {
  const qemu = { status: "postcopy-active", remaining: 100 };
  const done: string[] = [];
  const qmp = (_: DomainRef, command: string): Promise<unknown> => {
    if (command !== "query-migrate") done.push(command);
    return Promise.resolve({ status: qemu.status, ram: { remaining: qemu.remaining } });
  };
  const told = {
    step: (name: string) => void done.push(`story: ${name}`),
    write: () => Promise.resolve(),
  };
  const log = { warn: () => {}, error: () => void done.push("aloud") };
  let now = 0;
  vi.spyOn(performance, "now").mockImplementation(() => now);
  const rest = new RestOfMemory({ libvirt: { qmp }, log }, ids, told);
  const look = async (atMs: number, isHeard = false) => {
    now = atMs;
    return (await rest.look(looked, isHeard)).is;
  };
  return { qemu, done, rest, look, pass: (ms: number) => (now += ms) };
}

test("a way on which nothing moves for five seconds is given up, once", async () => {
  const { qemu, done, look } = source();
  expect(await look(0)).toBe("flowing");
  await look(4_000);
  qemu.remaining = 90;
  await look(6_000);
  await look(10_900);
  expect(done).toEqual([]);
  await look(11_000);
  expect(done).toEqual(["migrate-pause"]);
  await look(11_100);
  expect(done).toEqual(["migrate-pause"]);
});

test("it is not given up while the target is heard", async () => {
  const { done, look } = source();
  await look(0);
  await look(60_000, true);
  expect(done).toEqual([]);
});

test("a break is in the story once, and is somebody's business after a minute, once", async () => {
  const { qemu, done, look } = source();
  qemu.status = "postcopy-paused";
  expect(await look(0)).toBe("broken");
  await look(59_000);
  expect(done).toEqual(["story: broken"]);
  await look(61_000);
  await look(99_000);
  expect(done).toEqual(["story: broken", "aloud"]);
  qemu.status = "postcopy-active";
  await look(100_000);
  qemu.status = "postcopy-paused";
  await look(101_000);
  expect(done).toEqual(["story: broken", "aloud", "story: broken"]);
});

test("a join that came to nothing makes the next one wait longer, until something flows", async () => {
  const { rest, look, pass } = source();
  const waits: number[] = [];
  for (let joins = 0; joins < 6; joins++) {
    let waited = 0;
    while (!rest.mayRejoin()) {
      pass(100);
      waited += 100;
    }
    waits.push(waited);
  }
  expect(waits).toEqual([0, 1_000, 2_000, 5_000, 10_000, 10_000]);
  pass(10_000);
  await look(100_000);
  expect(rest.mayRejoin()).toBe(true);
  pass(1_000);
  expect(rest.mayRejoin()).toBe(true);
});
