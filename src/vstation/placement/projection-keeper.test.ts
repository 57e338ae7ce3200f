/** What happens while a projection is being read is true of it, too; and who asks knows of the hosts what was there before. */
import { describe, expect, it } from "vitest";
import { emptyRoom } from "../../core/placement.ts";
import { createLog } from "../../lib/log.ts";
import { until } from "../../../test/until.ts";
import type { Store } from "../store/database.ts";
import type { HostRead } from "../store/hosts.ts";
import type { Lease } from "./lease.ts";
import { ProjectionKeeper } from "./projection-keeper.ts";

const inventory = { cores: 64, memoryMiB: 262_144, diskGiB: 100 };
const row = { id: "host-one00001", zone: "z", certificate_serial: "1", cordoned: false, removed_at: null, inventory };
const joined = [
  { row: { ...row, readiness: { checks: [] } }, connected: true, dataDiskGiB: 0, use: { ...emptyRoom, instances: 0 } },
] as unknown as HostRead[];

/** One whose readings of SQL are answered in this order: a projection's own are lists of hosts, instances, moves and addresses. */
function keeperThatReads(answers: readonly Promise<unknown>[]) {
  let asked = 0;
  const store = { read: () => answers[asked++] } as unknown as Store;
  const keeper = new ProjectionKeeper({ store, zone: "z", log: createLog("test"), onHosts: () => undefined });
  keeper.begin({ epoch: 1 } as Lease);
  return { keeper, asked: () => asked };
}

function roomOf(keeper: ProjectionKeeper): number {
  return Math.max(...keeper.current().projection.room("z", 50).values());
}

it("knows a host that joins between the reading of a projection and its use", async () => {
  const loading = Promise.withResolvers<unknown>();
  const { keeper, asked } = keeperThatReads([loading.promise, Promise.resolve(joined)]);
  await until("the projection to be on its way", () => asked() === 1);
  await keeper.refreshHosts();
  // Read before the host was there.
  loading.resolve([[], [], [], []]);
  await keeper.whenReady();
  expect(roomOf(keeper)).toBeGreaterThan(0);
});

describe("hosts that have changed", () => {
  it("are known to whoever asks after that, however long their reading takes", async () => {
    const stalled = Promise.withResolvers<unknown>();
    const { keeper } = keeperThatReads([Promise.resolve([[], [], [], []]), stalled.promise, Promise.resolve(joined)]);
    await keeper.whenReady();
    // The first reading began before the second change.
    const readings = [keeper.refreshHosts(), keeper.refreshHosts()];
    const ready = keeper.whenReady().then(() => roomOf(keeper));
    stalled.resolve([]);
    expect(await ready).toBeGreaterThan(0);
    await Promise.all(readings);
  });

  it("hold nobody up when they cannot be read", async () => {
    const { keeper } = keeperThatReads([Promise.resolve([joined, [], [], []]), Promise.reject(new Error("away"))]);
    await keeper.whenReady();
    const reading = keeper.refreshHosts();
    await Promise.all([expect(reading).rejects.toThrow("away"), keeper.whenReady()]);
    expect(roomOf(keeper)).toBeGreaterThan(0);
  });
});
