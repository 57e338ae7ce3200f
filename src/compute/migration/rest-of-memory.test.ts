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

const mib = 2 ** 20;

/** A source whose QEMU says `status` with so much left, at a time that the test sets. */
function source() {
  const qemu = { status: "postcopy-active", remaining: 1_000 * mib, refuses: false, error: {}, answers: true };
  const done: string[] = [];
  const qmp = (_: DomainRef, command: string): Promise<unknown> => {
    if (command !== "query-migrate") done.push(command);
    if (command === "migrate-pause" && qemu.refuses) return Promise.reject(new Error("it is none yet"));
    if (!qemu.answers) return Promise.reject(new Error("the monitor does not answer"));
    return Promise.resolve({ status: qemu.status, ram: { remaining: qemu.remaining }, ...qemu.error });
  };
  const told = {
    step: (name: string) => void done.push(`story: ${name}`),
    write: () => Promise.resolve(),
  };
  const log = { debug: () => {}, warn: () => {}, error: () => void done.push("aloud") };
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
  qemu.remaining = 900 * mib;
  await look(6_000);
  await look(10_900);
  expect(done).toEqual([]);
  await look(11_000);
  expect(done).toEqual(["migrate-pause"]);
  await look(11_100);
  expect(done).toEqual(["migrate-pause"]);
});

test("one on which the last of it does not move is left to TCP: QEMU would let the guest go on here", async () => {
  const { qemu, done, look } = source();
  for (const remaining of [0, 15 * mib]) {
    Object.assign(qemu, { remaining });
    await look(0);
    await look(60_000);
  }
  expect(done).toEqual([]);
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
  const { qemu, rest, look, pass } = source();
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
  qemu.status = "postcopy-recover-setup";
  await look(90_000);
  expect(rest.mayRejoin()).toBe(true);
  pass(9_900);
  expect(rest.mayRejoin()).toBe(false);
  qemu.status = "postcopy-active";
  pass(100);
  await look(100_000);
  expect(rest.mayRejoin()).toBe(true);
  pass(1_000);
  expect(rest.mayRejoin()).toBe(true);
});

test("a join that is tried for long is given up where QEMU lets it be, and does not hide how long it has been broken", async () => {
  const { qemu, done, look } = source();
  qemu.status = "postcopy-paused";
  for (const at of [0, 9_900]) await look(at);
  Object.assign(qemu, { status: "postcopy-recover-setup", refuses: true });
  for (const at of [10_000, 15_000, 59_000]) expect(await look(at)).toBe("joining");
  expect(done).toEqual(["story: broken", "migrate-pause"]);
  await look(61_000);
  expect(done).toEqual(["story: broken", "migrate-pause", "aloud"]);
});

test("a switch that came to nothing is known for it when that lasts, and is somebody's business", async () => {
  const { qemu, rest, done, look } = source();
  Object.assign(qemu, { status: "device", error: { "error-desc": "postcopy_start: Migration stream error" } });
  expect([await look(0), await look(4_900)]).toEqual(["unknown", "unknown"]);
  qemu.status = "postcopy-active";
  expect(await look(5_000)).toBe("flowing");
  qemu.status = "device";
  expect(await look(6_000)).toBe("unknown");
  Object.assign(qemu, { status: "cancelling", answers: false });
  expect(await look(7_000)).toBe("unknown");
  expect([rest.isStuck, done]).toEqual([false, []]);
  qemu.answers = true;
  expect([await look(11_000), await look(12_000)]).toEqual(["stuck", "stuck"]);
  expect([rest.isStuck, done]).toEqual([true, ["aloud"]]);
});
