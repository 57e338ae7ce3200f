/**
 * A running guest goes from one host to the other and back, asked for by the command line alone, while it writes memory and disk and
 * beats every millisecond to a place that is neither host. What nobody may notice is looked at from there: one boot, every
 * beat once, every acknowledged record on the disk, every page as it was last written.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { BeatListener } from "../../guest/beat-listener.ts";
import { ProbeClient } from "../../guest/probe-client.ts";
import { connectCloud, type CloudClient } from "../../bench/cloud.ts";
import { run } from "../../lab/run.ts";
import { TestLab } from "../../lab/testing.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { until } from "../until.ts";

/** A guest under TCG that has just moved, and writes all the time, has much to do before it answers; a deadline missed ends the connection. */
const answerMs = 120_000;

const lab = new TestLab();
let cloud: CloudClient;
let beats: BeatListener;
let id: InstanceId;
let probe: ProbeClient;

async function hostOfIt(): Promise<string> {
  const { hostId } = await cloud.instance(id);
  const host = (await cloud.hosts()).find((each) => each.id === hostId);
  return host?.name ?? "nowhere";
}

beforeAll(async () => {
  await lab.start({ hosts: 2 });
  cloud = connectCloud(lab.home.credentialsFile);
  beats = await BeatListener.open({ host: lab.plan.guests.edge.ip });
  const asked = ["instance", "run", "--image", "tiny", "--disk-type", "CLOUD_PREMIUM", "--name", "mover", "--wait"];
  const said = await lab.cli("--json", ...asked);
  id = /ins-[a-z0-9]{8}/.exec(said)?.[0] as InstanceId;
  const { ip } = await cloud.instance(id);
  probe = await until("the guest answers", () => ProbeClient.connect(ip), 120_000);
  await probe.beatStart(lab.plan.guests.edge.ip, beats.port);
  await probe.dirtyStart({ mib: 32, rateMiBps: 8 });
  await probe.recordsStart(5_000);
});
afterAll(async () => {
  probe?.close();
  await beats?.close();
  await lab.destroy();
});

it("moves to the other host and back, and is not felt", async () => {
  const { bootId } = await probe.info(answerMs);
  for (let turn = 0; turn < 2; turn++) {
    const from = await hostOfIt();
    const to = from === "host1" ? "host2" : "host1";
    const before = await probe.recordsStatus(answerMs);
    await lab.cli("instance", "migrate", id, "--to", to, "--wait");
    expect(await hostOfIt()).toBe(to);
    // The move is over for its owner when the guest runs there; what is left of it here, paused, is cleared up after that.
    const places = (): string =>
      lab
        .guestsOf(id)
        .map(({ host }) => host)
        .join(" and ");
    await until(`its one machine to be at ${to}`, () => places() === to);
    // The very connection that was open before goes on.
    expect((await probe.info(answerMs)).bootId).toBe(bootId);
    expect(await probe.checksum()).toMatchObject({ pages: 8192 });
    expect((await probe.recordsStatus(answerMs)).acked).toBeGreaterThan(before.acked);
    const left = join(lab.home.hostDir(from), "state/instances", id);
    await until("its former host has nothing of it", () => !existsSync(left), 30_000);
    expect((await cloud.instance(id)).state).toBe("RUNNING");
  }
  // It talked from both hosts, and the machine's tunnel end has learned of neither.
  const learned = (await run("bridge", ["fdb", "show", "dev", lab.plan.guests.edge.device])).split("\n");
  expect(learned.filter((line) => line !== "" && !line.startsWith("00:00:00:00:00:00 "))).toEqual([]);
  const { bootIds, repeated, gaps } = await beats.report();
  expect(bootIds).toEqual([bootId]);
  expect(repeated).toBe(0);
  process.stdout.write(`longest silence of the beat over two moves: ${gaps?.max.toFixed(0)} ms\n`);
});

it("is like any other instance afterwards: stops, starts, and its records are there", async () => {
  const { acked } = await probe.recordsStop(answerMs);
  expect(acked).toBeGreaterThan(0);
  await lab.cli("instance", "reboot", id, "--wait");
  const { ip } = await cloud.instance(id);
  const again = await until("the guest answers", () => ProbeClient.connect(ip), 120_000);
  const { boots } = await again.info(answerMs);
  expect(boots).toBe(2);
  again.close();
  await lab.cli("instance", "terminate", id, "--yes", "--wait");
  for (const host of ["host1", "host2"]) {
    expect(existsSync(join(lab.home.hostDir(host), "state/instances", id))).toBe(false);
  }
});
