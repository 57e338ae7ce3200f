/**
 * What a dry run tells of a move, against what is true: a guest that writes its memory at a rate and to a set that are known moves
 * nowhere, and is told of by the command line alone.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { connectCloud, type CloudClient } from "../../bench/cloud.ts";
import { ProbeClient } from "../../guest/probe-client.ts";
import { TestLab } from "../../lab/testing.ts";
import type { MigrationPlanWire } from "../../src/api/native/migrations.ts";
import { dirtied } from "../../src/core/migration/prediction.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { until } from "../until.ts";

const mib = 2 ** 20;
const lab = new TestLab();
let cloud: CloudClient;
let id: InstanceId;
let probe: ProbeClient;

const plan = async (...args: string[]): Promise<MigrationPlanWire> =>
  JSON.parse(await lab.cli("--json", "instance", "migrate", id, "--dry-run", ...args)) as MigrationPlanWire;

function some<T>(value: T | null): T {
  if (value === null) throw new Error("it was not foretold");
  return value;
}

beforeAll(async () => {
  await lab.start({ hosts: 2 });
  cloud = connectCloud(lab.home.credentialsFile);
  const run = ["instance", "run", "--image", "tiny", "--disk-type", "CLOUD_PREMIUM", "--name", "writer", "--wait"];
  id = /ins-[a-z0-9]{8}/.exec(await lab.cli("--json", ...run))?.[0] as InstanceId;
  const { ip } = await cloud.instance(id);
  probe = await until("the guest answers", () => ProbeClient.connect(ip), 120_000);
});
afterAll(async () => {
  probe?.close();
  await lab.destroy();
});

it("finds the rate and the set that a guest writes to, by measuring, and changes nothing", async () => {
  const { hostId: from } = await cloud.instance(id);
  const to = (await cloud.hosts()).find((host) => host.id !== from);
  const quiet = await plan();
  await probe.dirtyStart({ mib: 32, rateMiBps: 16, order: "random" });
  const before = await probe.dirtyStatus();
  const busy = await plan("--to", to?.name ?? "");
  const after = await probe.dirtyStatus();
  const pages = after.writtenPages - before.writtenPages;
  const rate = (pages * 4096 * 1e6) / (after.elapsedUs - before.elapsedUs);
  const { curve } = some(busy.prediction);
  const [said, counted] = [curve.bytesPerSecond, rate].map((each) => (each / mib).toFixed(1));
  const set = (curve.workingSetBytes / mib).toFixed(1);
  process.stdout.write(`told ${said} MiB/s to ${set} MiB; the guest counted ${counted} MiB/s, and has 32 MiB\n`);
  // Pages are looked at here and there, and the guest writes other things, too.
  expect(curve.bytesPerSecond / rate).toBeGreaterThan(0.5);
  expect(curve.bytesPerSecond / rate).toBeLessThan(2);
  expect(curve.workingSetBytes / mib).toBeGreaterThan(20);
  expect(curve.workingSetBytes / mib).toBeLessThan(64);
  // Little, however fast: its curve is that of a small set.
  expect(dirtied(some(quiet.prediction).curve, 4)).toBeLessThan(dirtied(curve, 4) / 2);
  const hosts = await cloud.hosts();
  for (const told of [quiet, busy]) {
    expect(told.refusals).toEqual([]);
    expect(told).toMatchObject({ sourceHostId: from, targetHostId: to?.id });
    expect(told.link?.bytesPerSecond).toBeGreaterThan(0);
  }
  expect(await cloud.instance(id)).toMatchObject({ state: "RUNNING", epoch: 1 });
  expect(hosts.find((host) => host.id === to?.id)).toMatchObject({ used: { instances: 0 } });
  expect(JSON.parse(await lab.cli("--json", "migration", "list"))).toMatchObject({ total: 0 });
});
