/**
 * A guest that changes its memory faster than the cable between its hosts carries it, on real hosts: what a policy does to it for the copy's
 * sake, that nothing of that is left, and what the story tells of it. The cable is made for what the guest was seen to write, so that the one is always
 * too much for the other; and what is waited for is a word of the story, however long that takes on this machine. (Why a policy does what it
 * does: src/core/migration/policy.test.ts.)
 */
import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ProbeClient } from "../../guest/probe-client.ts";
import { connectCloud } from "../../bench/cloud.ts";
import { TestLab } from "../../lab/testing.ts";
import type { MigrationWire, StoryLineWire } from "../../src/api/native/migrations.ts";
import { replay } from "../../src/core/migration/story.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { sleep } from "../../src/lib/retry.ts";
import { until } from "../until.ts";

const lab = new TestLab();
const hosts = ["host1", "host2"] as const;
/** Of 4 KiB each: all of them are written anew while one copy of them goes over the cable. */
const regionMiB = 8;
/** The guest writes so many times what the cable carries. */
const tooFast = 6;
/** A move's own deadline, and some more. */
const longMs = 900_000;
let id: InstanceId;
let probe: ProbeClient;
let bootId: string;

type Shown = MigrationWire & { story: StoryLineWire[] };
const show = async (): Promise<Shown> => JSON.parse(await lab.cli("--json", "migration", "show", id)) as Shown;

/** In the network of a host. */
function shell(host: string, line: string): string {
  const into = ["-t", String(lab.pidOf(`${host}/libvirtd`)), "-m", "-n", "-u", "-p", "-r"];
  return execFileSync("nsenter", [...into, "sh", "-c", line], { encoding: "utf8" });
}

const levers = (story: readonly StoryLineWire[]) => story.flatMap((line) => (line.is === "lever" ? [line.lever] : []));

/** Of the running guest at its host, by QEMU's own word. */
function parameters(): Record<string, unknown> {
  const host = lab.hostOf(id);
  if (host === undefined) throw new Error(`${id} runs nowhere`);
  const query = `virsh qemu-monitor-command ${id} '{"execute":"query-migrate-parameters"}'`;
  return (JSON.parse(shell(host, query)) as { return: Record<string, unknown> }).return;
}

/** It was never let go, every page is as it was written last, and it is free to run. */
async function expectWhole(host: string | undefined): Promise<void> {
  await until("both hosts to let go of it", async () => (await show()).phase === "ended", 120_000);
  expect(lab.guestsOf(id).map((guest) => guest.host)).toEqual([host]);
  expect((await probe.info(120_000)).bootId).toBe(bootId);
  expect(await probe.checksum()).toMatchObject({ pages: regionMiB * 256 });
  expect(parameters()).toMatchObject({ "max-cpu-throttle": 99, "cpu-throttle-initial": 20 });
}

beforeAll(async () => {
  await lab.start({ hosts: 2 });
  const cloud = connectCloud(lab.home.credentialsFile);
  const run = ["instance", "run", "--image", "tiny", "--type", "T1.SMALL1", "--disk-type", "CLOUD_PREMIUM", "--wait"];
  id = /ins-[a-z0-9]{8}/.exec(await lab.cli("--json", ...run))?.[0] as InstanceId;
  const { ip } = await cloud.instance(id);
  probe = await until("the guest answers", () => ProbeClient.connect(ip), 300_000);
  bootId = await probe.bootId();
  await probe.dirtyStart({ mib: regionMiB, rateMiBps: 64 });
  const before = await probe.dirtyStatus();
  await sleep(3_000);
  const after = await probe.dirtyStatus();
  const seconds = (after.elapsedUs - before.elapsedUs) / 1e6;
  const mibPerSecond = (after.writtenPages - before.writtenPages) / 256 / seconds;
  const kbit = Math.round((mibPerSecond / tooFast) * 8 * 1_048.576);
  for (const host of hosts) {
    shell(host, `tc qdisc replace dev eth0 root tbf rate ${kbit}kbit burst 64k latency 100ms`);
  }
  process.stdout.write(`the guest writes ${mibPerSecond.toFixed(0)} MiB/s, the cable carries ${kbit} kbit/s\n`);
}, longMs);

afterAll(async () => {
  probe?.close();
  await lab.destroy();
});

it(
  "throttle: it is slowed while it is copied, and not any more once that is called off",
  { timeout: longMs },
  async () => {
    const at = lab.hostOf(id);
    await lab.cli("instance", "migrate", id, "--policy", "throttle", "--no-retry");
    const { story } = await until(
      "the guest to be slowed, or the move to end",
      async () => {
        const shown = await show();
        return (levers(shown.story).length > 0 || shown.phase === "ended") && shown;
      },
      longMs,
    );
    expect(levers(story)).toEqual([{ pull: "throttle", percent: expect.toBeOneOf([10, 20, 30, 50]) }]);
    await lab.cli("migration", "cancel", id, "--wait");
    await expectWhole(at);
    expect(await show()).toMatchObject({ state: "FAILED", error: { code: "MigrationCancelled" } });
  },
);

it(
  "finish: it is slowed, paused for longer if need be, and arrives; the story tells it all",
  { timeout: longMs },
  async () => {
    const at = lab.hostOf(id);
    await lab.cli("instance", "migrate", id, "--policy", "finish", "--ceiling", "10000", "--wait", "--timeout", "900");
    await expectWhole(hosts.find((host) => host !== at));
    const { story } = await show();
    const pulled = levers(story);
    expect(pulled[0]).toEqual({ pull: "throttle", percent: expect.toBeOneOf([20, 40]) });
    const limits = pulled.flatMap((lever) => (lever.pull === "pause" ? [lever.limitMs] : []));
    expect(Math.max(0, ...limits)).toBeLessThanOrEqual(10_000);
    // What was decided then is what is decided from the story alone, unless that is of so many looks that not all are kept.
    for (const { then, now } of replay(story) ?? []) expect(now?.lever ?? null).toEqual(then?.lever ?? null);
    const shown = await lab.cli("migration", "show", id);
    process.stdout.write(shown);
    expect(shown).toMatch(/slowed by [24]0 %[^]*paused[^]*it runs at the target/);
  },
);
