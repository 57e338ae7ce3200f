/**
 * A host with more running guests than move at a time is emptied by the command line alone: each of them runs on at the other host, the same
 * boot as before, by the very connection that was open. Then the host is taken in again, and the way back goes by it.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { BeatListener } from "../../guest/beat-listener.ts";
import { ProbeClient } from "../../guest/probe-client.ts";
import { asId, connectCloud } from "../../bench/cloud.ts";
import { TestLab } from "../../lab/testing.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { until } from "../until.ts";

const guests = 3;
const patience = ["--wait", "--timeout", "600"] as const;
const lab = new TestLab();
const probes = new Map<InstanceId, ProbeClient>();
const boots = new Map<InstanceId, string>();
let beats: BeatListener;

beforeAll(async () => {
  await lab.start({ hosts: 2 });
  await lab.cli("host", "cordon", "host2");
  const run = ["instance", "run", "--image", "tiny", "--type", "T1.SMALL1", "--disk-type", "CLOUD_PREMIUM"];
  const said = await lab.cli("--json", ...run, "--count", String(guests), ...patience);
  const ids = new Set(said.match(/ins-[a-z0-9]{8}/g)?.map((found) => asId("instance", found)));
  await lab.cli("host", "uncordon", "host2");
  beats = await BeatListener.open({ host: lab.plan.guests.edge.ip });
  const cloud = connectCloud(lab.home.credentialsFile);
  for (const id of ids) {
    const { ip } = await cloud.instance(id);
    const probe = await until(`guest ${id} answers`, () => ProbeClient.connect(ip), 300_000);
    probes.set(id, probe);
    boots.set(id, (await probe.info()).bootId);
    await probe.beatStart(lab.plan.guests.edge.ip, beats.port, 10_000);
  }
}, 900_000);
afterAll(async () => {
  for (const probe of probes.values()) probe.close();
  await beats?.close();
  await lab.destroy();
});

/** Where it runs is decided when a command returns; its former host lets go of it a moment later. */
async function untilOnlyAt(id: InstanceId, host: string): Promise<void> {
  await until(
    `only ${host} has ${id}`,
    () =>
      lab
        .guestsOf(id)
        .map((guest) => guest.host)
        .join() === host,
    60_000,
  );
}

async function expectAllAt(host: string): Promise<void> {
  for (const id of probes.keys()) await untilOnlyAt(id, host);
  const asked = [...probes].map(async ([id, probe]) => [id, (await probe.info(120_000)).bootId] as const);
  expect(new Map(await Promise.all(asked))).toEqual(boots);
}

it("is empty after a drain, and every guest runs on elsewhere", { timeout: 900_000 }, async () => {
  expect(probes.size).toBe(guests);
  await expectAllAt("host1");
  const said = await lab.cli("host", "drain", "host1", ...patience);
  expect(said).toContain(`host1 is drained: ${guests} of ${guests} moved.`);
  expect(await lab.cli("host", "list")).toMatch(/host1 +ready, drained/);
  await expectAllAt("host2");
  // Each was booted once, and none ran twice at any time.
  const { bootIds, repeated } = await beats.report();
  expect(new Set(bootIds)).toEqual(new Set(boots.values()));
  expect(repeated).toBe(0);
});

it("takes guests again once the drain is ended", { timeout: 900_000 }, async () => {
  await lab.cli("host", "undrain", "host1");
  expect(await lab.cli("host", "list")).toMatch(/host1 +ready /);
  const [id] = [...probes.keys()] as [InstanceId];
  await lab.cli("instance", "migrate", id, ...patience);
  await untilOnlyAt(id, "host1");
});
