/** What QEMU is told, in order; that it obeys is test/nested/migration.test.ts's and test/real/compute-migration-faults.test.ts's business. */
import { expect, test } from "vitest";
import type { DomainRef } from "../../libvirt/contract.ts";
import { brakeOf } from "./brake.ts";

const domain: DomainRef = { name: "ins-00000001", uuid: "00000000-0000-0000-0000-000000000000", id: 1 };
const rates = [
  { id: 0, "dirty-rate": 200 },
  { id: 1, "dirty-rate": 0 },
  { id: 2, "dirty-rate": 3 },
];

function told() {
  const said: unknown[] = [];
  const qmp = (_: DomainRef, command: string, args?: object): Promise<unknown> => {
    said.push([command, ...(args === undefined ? [] : [args])]);
    return Promise.resolve(command === "query-dirty-rate" ? { status: "measured", "vcpu-dirty-rate": rates } : {});
  };
  return { said, qmp };
}

test("a guest with a ring is slowed by processor, from what each wrote before or what all of them may, and let go again", async () => {
  const { said, qmp } = told();
  const brake = brakeOf({ qmp }, domain, { dirtyRing: true });
  await brake.arm();
  expect(said).toEqual([]);
  await brake.pull(50);
  await brake.pull(90);
  const limit = (cpu: number, rate: number) => ["set-vcpu-dirty-limit", { "cpu-index": cpu, "dirty-rate": rate }];
  const unit = { "calc-time-unit": "millisecond" };
  const measured = [
    ["calc-dirty-rate", { "calc-time": 1_000, ...unit, mode: "dirty-ring" }],
    ["query-dirty-rate", unit],
  ];
  const halved = [limit(0, 100), limit(1, 101), limit(2, 1)];
  expect(said).toEqual([...measured, ...halved, limit(0, 19), limit(1, 20), limit(2, 1)]);
  said.length = 0;
  await brake.pull(0);
  await brake.release();
  expect(said).toEqual([["cancel-vcpu-dirty-limit"], ["cancel-vcpu-dirty-limit"]]);
});

test("a brake that is released while it is being pulled holds nobody up afterwards", async () => {
  const { said, qmp } = told();
  const brake = brakeOf({ qmp }, domain, { dirtyRing: true });
  const pulling = brake.pull(50);
  await brake.release();
  await pulling;
  const commands = said.map((one) => (one as [string])[0]);
  expect(commands).toEqual(["calc-dirty-rate", "cancel-vcpu-dirty-limit"]);
});

test("one without rests as a whole, by the level that is asked for", async () => {
  const { said, qmp } = told();
  const brake = brakeOf({ qmp }, domain, { dirtyRing: false });
  await brake.arm();
  await brake.pull(30);
  await brake.release();
  const levels = said.map((one) => (one as [string, Record<string, number>])[1]["max-cpu-throttle"]);
  expect(levels).toEqual([1, 30, 99]);
});
