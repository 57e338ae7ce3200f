/**
 * A guest that runs by KVM moves from one machine to another, there and back, each with a kernel of its own. The machines are emulated, and
 * two of them on two processors are held up for seconds at a time; so this is not part of `npm test`.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { ProbeClient } from "../../guest/probe-client.ts";
import { asId, connectCloud } from "../../bench/cloud.ts";
import { TestLab } from "../../lab/testing.ts";
import { leftBehind, traces, type Traces } from "../../lab/traces.ts";
import { NativeClient } from "../../src/api/native/client.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { sleep } from "../../src/lib/retry.ts";
import { expectThat, until } from "../until.ts";

const patience = ["--wait", "--timeout", "900"] as const;
const machines = ["nested1", "nested2"] as const;
const lab = new TestLab();
let native: NativeClient;
let id: InstanceId;
let probe: ProbeClient;
let machineBefore: Traces;

beforeAll(async () => {
  machineBefore = await traces();
  await lab.start({ hosts: 0, nested: machines.length });
  const { nativeEndpoint, nativeToken } = lab.credentials;
  native = new NativeClient({ endpoint: nativeEndpoint, token: nativeToken });
  const said = await lab.cli("--json", "instance", "run", "--image", "tiny", "--type", "T1.SMALL1", ...patience);
  id = asId("instance", /ins-[a-z0-9]{8}/.exec(said)?.[0] ?? "");
  const { ip } = await connectCloud(lab.home.credentialsFile).instance(id);
  probe = await until(`guest ${id} answers`, () => ProbeClient.connect(ip), 600_000);
}, 1_800_000);
afterEach(({ task }) => {
  if (task.result?.state !== "fail") return;
  for (const machine of machines) {
    for (const log of ["compute", "libvirtd", "console", "reset"]) {
      const file = join(lab.home.hostDir(machine), `log/${log}.log`);
      process.stderr.write(`== ${machine}, ${log}\n${lastLines(file)}\n`);
    }
  }
});
afterAll(async () => {
  probe?.close();
  const n = lab.home.remembered()?.n;
  await lab.destroy();
  // By the home only: the lab's number may be another lab's by now.
  const left = n === undefined ? [] : leftBehind(machineBefore, await traces(), lab.home.path, n);
  const ours = left.filter((line) => line.includes(lab.home.path));
  expectThat(ours.length === 0, ours.join("\n"));
}, 300_000);

function lastLines(file: string): string {
  try {
    return readFileSync(file, "utf8").split("\n").slice(-25).join("\n");
  } catch (error) {
    return String(error);
  }
}

async function whereItIs(): Promise<string> {
  const [{ hostId }, { hosts }] = await Promise.all([
    native.call("instanceGet", { params: { id } }),
    native.call("hostList", { query: {} }),
  ]);
  return hosts.find((host) => host.id === hostId)?.name ?? "nowhere";
}

async function isCleared(): Promise<boolean> {
  return (await native.call("migrationList", { query: { open: "true" } })).migrations.length === 0;
}

/**
 * Where the guest is told to write without an end: some times what is sent between such machines, and little enough to leave its host the time to answer.
 */
const region = { mib: 64, rateMiBps: 6 };
const secondMs = 1_000;

async function writtenMiBps(): Promise<number> {
  const before = await probe.dirtyStatus();
  await sleep(secondMs);
  const after = await probe.dirtyStatus();
  return (after.writtenPages - before.writtenPages) / 256 / ((after.elapsedUs - before.elapsedUs) / 1e6);
}

it(
  "is slowed by its dirty ring while it writes too fast, paused for as long as that takes, and writes on where it is then",
  { timeout: 2_700_000 },
  async () => {
    await until("the move before to be cleared up", isCleared, 120_000);
    const { bootId } = await probe.info(300_000);
    await probe.dirtyStart(region, 300_000);
    const free = await writtenMiBps();
    const from = await whereItIs();
    // QEMU holds to a limit within 25 MiB/s, and between such machines some 3 MiB/s are sent: it takes a longer pause, too.
    const said = await lab.cli("instance", "migrate", id, "--policy", "finish", "--ceiling", "60000", ...patience);
    process.stdout.write(`${said}\n`);
    expect(await whereItIs()).not.toBe(from);
    const { migrations } = await native.call("migrationList", { query: { instanceId: [id], limit: 1 } });
    const [migration] = migrations;
    if (migration === undefined) throw new Error("it was not moved");
    const { lines } = await native.call("migrationStory", { params: { id: migration.id } });
    const levers = lines.flatMap((line) => (line.is === "lever" ? [line] : []));
    process.stdout.write(`${levers.map(({ lever, why }) => `${JSON.stringify(lever)}: ${why}`).join("\n")}\n`);
    expect(levers.map(({ lever }) => lever.pull)).toContain("throttle");
    for (const { why } of levers) expect(why).not.toContain("failed");
    const afterwards = await writtenMiBps();
    process.stdout.write(`it wrote ${free.toFixed(0)} MiB/s before the move, and ${afterwards.toFixed(0)} after it\n`);
    expect(afterwards).toBeGreaterThan(free / 4);
    await probe.dirtyStop();
    await probe.checksum(300_000);
    expect((await probe.info(300_000)).bootId).toBe(bootId);
  },
);

it("is the same boot after a move there and back", { timeout: 2_700_000 }, async () => {
  const { hosts } = await native.call("hostList", { query: {} });
  expect(hosts.map(({ readiness }) => readiness.accelerator)).toEqual(machines.map(() => "kvm"));
  const { bootId } = await probe.info(300_000);
  for (const _ of machines) {
    await until("the move before to be cleared up", isCleared, 120_000);
    const from = await whereItIs();
    const said = await lab.cli("instance", "migrate", id, ...patience);
    process.stdout.write(`${said}\n`);
    expect(await whereItIs()).not.toBe(from);
    expect((await probe.info(300_000)).bootId).toBe(bootId);
  }
});
