/** What happens while a projection is being read is true of it, too. */
import { expect, it } from "vitest";
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

it("knows a host that joins between the reading of a projection and its use", async () => {
  const loading = Promise.withResolvers<unknown>();
  const answers: Promise<unknown>[] = [loading.promise, Promise.resolve(joined)];
  let asked = 0;
  const store = { read: () => answers[asked++] } as unknown as Store;
  const keeper = new ProjectionKeeper({ store, zone: "z", log: createLog("test") });
  keeper.begin({ epoch: 1 } as Lease);
  await until("the projection to be on its way", () => asked === 1);
  await keeper.refreshHosts();
  // Read before the host was there.
  loading.resolve([[], [], [], []]);
  await keeper.whenReady();
  const room = keeper.current().projection.room("z", 50);
  expect(Math.max(...room.values())).toBeGreaterThan(0);
});
