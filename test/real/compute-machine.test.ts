/**
 * What a guest's machine is made of, read where it cannot lie: the affinity of QEMU's threads and the pages of its memory from /proc,
 * the queues and nodes from inside the guest. Processors are dealt out over kills of Compute, too.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { WantedInstance } from "../../src/api/agent.ts";
import { plainPromise, type Machine } from "../../src/core/machine.ts";
import { until } from "../until.ts";
import { ComputeBed } from "./support/compute-bed.ts";
import type { ComputeHost } from "./support/compute-host.ts";
import type { FakeHostSession } from "./support/fake-vstation.ts";
import { tinyInstance } from "./support/wanted-documents.ts";

type Wanted = Omit<WantedInstance, "generation">;

const pagesFile = "/proc/sys/vm/nr_hugepages";
const hugepagesMiB = 1024;
const machineCpus = cpus().length;
/** Several lives of Compute and guests of many vCPUs share two processors here. */
const patienceMs = 240_000;
/** Within a test's own time, so that a failure tells what the guest said. */
const saidMs = 150_000;

let bed: ComputeBed;
let host: ComputeHost;
let session: FakeHostSession;
let pagesBefore = "";

beforeAll(async () => {
  pagesBefore = readFileSync(pagesFile, "utf8");
  writeFileSync(pagesFile, String(Number(pagesBefore) + hugepagesMiB / 2));
  bed = await ComputeBed.begin();
  const shape = { cores: 8, memoryMiB: 8192, diskGiB: 100, numaNodes: 4, hugepagesMiB };
  ({ host, session } = await bed.host({ shape }));
  host.startCompute();
  await until("hello", () => session.hello !== null, patienceMs);
});

afterAll(async () => {
  try {
    await bed?.end();
  } finally {
    writeFileSync(pagesFile, pagesBefore);
  }
});

/** What a test has left, its failure included, is not the next one's. */
afterEach(async () => {
  const left = [...session.instances.values()].filter(({ id }) => session.phase(id)?.is !== "gone");
  if (left.length > 0) await end(...left);
});

const dedicated: Machine = { ...plainPromise, baseline: "host", cpu: "dedicated", iothreads: 1, nicQueues: 2 };

/** Says what the guest sees of its machine, once, on its console. */
const tells = Buffer.from(
  `#!/bin/sh
echo "machine: cpus=$(nproc) nodes=$(ls -d /sys/devices/system/node/node* | wc -l) queues=$(ls -d /sys/class/net/eth0/queues/rx-* | wc -l) flags=$(grep -m1 ^flags /proc/cpuinfo | cut -d: -f2) name=$(grep -m1 '^model name' /proc/cpuinfo | cut -d: -f2 | tr ' ' _) end"
`,
).toString("base64");

async function start(changes: Partial<Wanted["spec"]>): Promise<Wanted> {
  const wanted = tinyInstance(changes);
  session.want(wanted);
  await session.untilPhase(wanted.id, "running", patienceMs);
  return wanted;
}

async function end(...all: Wanted[]): Promise<void> {
  session.want(...all.map((wanted) => ({ ...wanted, power: { state: "gone" as const } })));
  for (const { id } of all) await session.untilPhase(id, "gone", patienceMs);
}

interface Thread {
  readonly name: string;
  readonly cpus: string;
}

/** QEMU's threads with the processors that the kernel lets them run on. */
function threads(wanted: Wanted): Thread[] {
  const pid = host.qemuPid(wanted.id);
  const text = host.sh(`for t in /proc/${pid}/task/*; do cat $t/comm; grep Cpus_allowed_list $t/status; done`);
  return [...text.matchAll(/^(.+)\nCpus_allowed_list:\s*(\S+)$/gm)].map(([, name = "", list = ""]) => ({
    name,
    cpus: list,
  }));
}

const vcpusOf = (all: readonly Thread[]): string[] =>
  all.filter(({ name }) => /^CPU \d+\/TCG/.test(name)).map(({ cpus: list }) => list);

function held(wanted: Wanted): number[] {
  const text = readFileSync(`${host.stateDir}/instances/${wanted.id}/allotment.json`, "utf8");
  const file = JSON.parse(text) as { allotment: { shares: { held: number[] }[] } };
  return file.allotment.shares.flatMap((share) => share.held);
}

/** The kernel's words for what the emulator does now and then to a guest of several processors: it loses a timer, and the guest hangs for good. */
const lostTimer = /Possible timer handling issue|rcu: INFO: .* detected (expedited )?stalls/;

/** A guest that the emulator has lost a timer of is reset, which is all that can be done about it. */
async function said(wanted: Wanted): Promise<string> {
  const file = `${host.stateDir}/instances/${wanted.id}/console-1.log`;
  let [resets, from] = [0, 0];
  try {
    return await until(
      "the guest to describe its machine",
      () => {
        const console = readFileSync(file, "latin1");
        if (lostTimer.test(console.slice(from))) {
          [resets, from] = [resets + 1, console.length];
          session.want({ ...wanted, power: { state: "running", incarnation: 1, resets } });
        }
        return /machine: (.*) end/.exec(console)?.[1];
      },
      saidMs,
    );
  } catch (error) {
    throw new Error(`on its console:\n${readFileSync(file, "latin1").slice(-2_000)}`, { cause: error });
  }
}

/** The processors of the machine on which a list of declared ones lies. */
const below = (places: readonly number[]): string[] => places.map((place) => String(place % machineCpus));

test("offers what it has, and says that declared processors are dedicated in the books only", () => {
  expect(session.hello?.inventory.offers).toEqual({ dedicated: 7, pages2MiB: hugepagesMiB, pages1GiB: 0 });
  const check = session.hello?.readiness.checks.find(({ name }) => name === "machine");
  expect(check?.message).toMatch(/7 of 8 processors .* hugepages: 256 MiB of 2M pages on node 0, .*; disks by \w+/);
});

test("a dedicated guest's vCPUs run on its own processors, its memory is in hugepages, its card has queues", async () => {
  const machine = { ...dedicated, hugepages: "2M" as const };
  const wanted = await start({ vcpus: 2, memoryMiB: 192, machine, userData: tells });
  const places = held(wanted);
  expect(places).toHaveLength(2);
  expect(places).not.toContain(0);
  expect(vcpusOf(threads(wanted))).toEqual(below(places));
  const pid = host.qemuPid(wanted.id);
  const rollup =
    host.sh(`grep -h Private_Hugetlb /proc/${pid}/smaps_rollup`) +
    host.sh(`grep -h Shared_Hugetlb /proc/${pid}/smaps_rollup`);
  const hugeKiB = [...rollup.matchAll(/(\d+) kB/g)].reduce((sum, [, kib]) => sum + Number(kib), 0);
  expect(hugeKiB).toBe(192 * 1024);
  const xml = host.sh(`virsh -c qemu:///system dumpxml ${wanted.id}`);
  expect(xml).toContain("<iothreads>1</iothreads>");
  expect(xml).toMatch(/io='(io_uring|native|threads)'/);
  expect(await said(wanted)).toMatch(/^cpus=2 nodes=1 queues=2 /);
  await end(wanted);
  expect(host.sh(`ls ${host.stateDir}/instances`).trim()).toBe("");
});

test("a guest that needs more than one node has, sees the nodes as they are", async () => {
  // Each node has two processors, and the host keeps the very first one: the fullest pair of nodes is the first two.
  const wanted = await start({ vcpus: 3, memoryMiB: 256, machine: dedicated, userData: tells });
  expect(held(wanted).toSorted((a, b) => a - b)).toEqual([1, 2, 3]);
  expect(await said(wanted)).toMatch(/^cpus=3 nodes=2 queues=2 /);
  await end(wanted);
});

test("no processor is given twice over kills of Compute, a stopped guest keeps its own, and one too many is refused", async () => {
  const all: Wanted[] = [];
  for (let index = 0; index < 3; index++) {
    const wanted = tinyInstance({ vcpus: 2, memoryMiB: 128, machine: dedicated });
    all.push(wanted);
    session.want(wanted);
    await host.killCompute();
    host.startCompute();
    await session.untilPhase(wanted.id, "running", patienceMs);
  }
  const places = all.map(held);
  expect(new Set(places.flat()).size).toBe(6);
  const [first] = all;
  if (first === undefined) throw new Error("nothing was started");
  session.want({ ...first, power: { state: "stopped", how: "hard" } });
  await session.untilPhase(first.id, "stopped", patienceMs);
  const late = tinyInstance({ vcpus: 2, memoryMiB: 128, machine: dedicated });
  session.want(late);
  expect(await session.untilPhase(late.id, "failed", patienceMs)).toMatchObject({ reason: "machine_unavailable" });
  expect(session.phase(late.id)).toHaveProperty(
    "message",
    "this host has not 2 processors left to give to one instance",
  );
  session.want({ ...first, power: { state: "running", incarnation: 2, resets: 0 } });
  await session.untilPhase(first.id, "running", patienceMs);
  expect(held(first)).toEqual(places[0]);
  // Once one is gone there is room.
  await end(first);
  await session.untilPhase(late.id, "running", patienceMs);
  await end(late, ...all.slice(1));
});

test("running guests that share make way for a dedicated one, and get everything back after it", async () => {
  const shared = await start({ memoryMiB: 128 });
  const everything = machineCpus === 1 ? "0" : `0-${machineCpus - 1}`;
  expect(vcpusOf(threads(shared))).toEqual([everything]);
  // All that can be given away: what is left is the host's first processor.
  const large = await start({ vcpus: 7, memoryMiB: 256, machine: dedicated });
  const emulator = (wanted: Wanted): string | undefined =>
    threads(wanted).find(({ name }) => name.startsWith("qemu"))?.cpus;
  await until(
    "the shared guest to make way",
    () => vcpusOf(threads(shared))[0] === "0" && emulator(shared) === "0",
    patienceMs,
  );
  expect(emulator(large)).toBe("0");
  expect(
    threads(large)
      .filter(({ name }) => name.startsWith("IO iothread"))
      .map((thread) => thread.cpus),
  ).toEqual(["0"]);
  // A guest that comes now starts there, and a Compute that comes now puts back whom somebody moved.
  const later = await start({ memoryMiB: 128 });
  expect(vcpusOf(threads(later))).toEqual(["0"]);
  host.sh(`virsh -c qemu:///system vcpupin ${shared.id} 0 ${everything} --live`);
  await host.killCompute();
  host.startCompute();
  await until("the shared guest to be put back", () => vcpusOf(threads(shared))[0] === "0", patienceMs);
  await end(large);
  await until(
    "the shared guests to have everything again",
    () => vcpusOf(threads(later))[0] === everything,
    patienceMs,
  );
  await end(shared, later);
});

test("what cannot be read hides what is taken: nothing more is given, and guests go on", async () => {
  const one = await start({ vcpus: 2, memoryMiB: 128, machine: dedicated });
  const file = readdirSync(`${host.stateDir}/instances/${one.id}`).find((name) => name === "allotment.json");
  writeFileSync(`${host.stateDir}/instances/${one.id}/${file}`, "{");
  await host.killCompute();
  session.hello = null;
  host.startCompute();
  await until("hello", () => session.hello !== null, patienceMs);
  expect(session.check("machine")).toBe("warning");
  const other = tinyInstance({ vcpus: 2, memoryMiB: 128, machine: dedicated });
  session.want(other);
  expect(await session.untilPhase(other.id, "failed", patienceMs)).toMatchObject({ reason: "machine_unavailable" });
  await session.untilPhase(one.id, "running", patienceMs);
  await end(one);
  await session.untilPhase(other.id, "running", patienceMs);
  await end(other);
});

test("a zone's named processor is what the guest has, without what is taken from it; what a host cannot give it refuses by name", async () => {
  const baseline = { model: "Nehalem", features: [{ name: "sse4.2", policy: "disable" as const }] };
  const wanted = await start({ memoryMiB: 128, machine: { ...plainPromise, baseline }, userData: tells });
  const guest = await said(wanted);
  const flags = / flags=(.*) name=/.exec(guest)?.[1]?.trim().split(" ") ?? [];
  expect(guest).toContain("name=_Intel_Core_i7_9xx_(Nehalem_Class_Core_i7)");
  expect(flags).toEqual(expect.arrayContaining(["ssse3", "sse4_1", "popcnt"]));
  expect(flags.filter((flag) => ["sse4_2", "avx", "avx2", "aes", "bmi2"].includes(flag))).toEqual([]);
  await end(wanted);

  // Beside it, the host's own: what was absent above is there.
  const own = await start({ memoryMiB: 128, userData: tells });
  expect(/ flags=(.*) name=/.exec(await said(own))?.[1]?.split(" ")).toEqual(
    expect.arrayContaining(["sse4_2", "avx2"]),
  );
  await end(own);

  const beyond = { model: "Nehalem", features: [{ name: "avx512f", policy: "require" as const }] };
  const refused = tinyInstance({ memoryMiB: 128, machine: { ...plainPromise, baseline: beyond } });
  session.want(refused);
  expect(await session.untilPhase(refused.id, "failed", patienceMs)).toMatchObject({ reason: "machine_unavailable" });
  expect(session.phase(refused.id)).toHaveProperty("message", expect.stringContaining("avx512f"));
  await end(refused);
});

test("a host that cannot give the zone's processor says so, with the features that it lacks", async () => {
  session.cpuBaseline = { model: "Nehalem", features: [{ name: "avx512f", policy: "require" }] };
  await host.killCompute();
  host.startCompute();
  await until("the host to be not ready", () => session.check("processor") === "error", patienceMs);
  const check = session.hello?.readiness.checks.find(({ name }) => name === "processor");
  expect(check?.message).toMatch(/^guests cannot have the zone's processor, Nehalem: .*avx512f/);
  session.cpuBaseline = { model: "Nehalem", features: [] };
  await host.killCompute();
  host.startCompute();
  await until("the host to be ready again", () => session.check("processor") === "ok", patienceMs);
  session.cpuBaseline = "host";
});
