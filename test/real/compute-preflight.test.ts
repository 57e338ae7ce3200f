/**
 * What two real hosts say before a guest moves between them, and what a move comes to where they find something: each reason is made
 * on the target for real (by mounts in its own namespace, and by a host that lacks a feature of the processor), and no memory moves.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { linkFactsSchema, sourceCheckSchema, targetCheckSchema } from "../../src/api/agent-preflight.ts";
import { noLimits } from "../../src/api/agent-storage.ts";
import type { WantedInstance } from "../../src/api/agent.ts";
import { sharedMark } from "../../src/compute/storage/disk-files.ts";
import { compareForetold } from "../../src/core/migration/foretold.ts";
import { refusalsOf, type PreflightReason } from "../../src/core/migration/preflight.ts";
import type { StoryLine } from "../../src/core/migration/story.ts";
import { operationCodeOf } from "../../src/core/migration/migration.ts";
import { newId } from "../../src/lib/ids.ts";
import { UndoStack } from "../../src/lib/undo.ts";
import { until } from "../until.ts";
import { ComputeBed } from "./support/compute-bed.ts";
import { GuestShell } from "./support/guest-shell.ts";
import { Move, type Place } from "./support/move.ts";
import { tinyInstance } from "./support/wanted-documents.ts";

type Wanted = Omit<WantedInstance, "generation">;

const patience = 120_000;
const undo = new UndoStack();
let shared = "";
let here: Place;
let there: Place;
/** Its guests have no AVX2. */
let lesser: Place;
const guests: { wanted: Wanted; at: Place }[] = [];

beforeAll(async () => {
  shared = mkdtempSync(join(tmpdir(), "vstation-shared-"));
  writeFileSync(join(shared, sharedMark), "");
  undo.push("shared", () => rmSync(shared, { recursive: true }));
  const bed = await ComputeBed.begin();
  undo.push("bed", () => bed.end());
  const begin = async (number: number, withoutCpuFeatures: string[]): Promise<Place> => {
    const shape = { cores: 4, memoryMiB: 8192, diskGiB: 50, withoutCpuFeatures };
    const place = await bed.host({ number, sharedDir: shared, shape });
    place.host.startCompute();
    const isReady = () => place.session.check("libvirt") === "ok" && place.session.check("migration") === "ok";
    await until("libvirt to answer, and QEMU to have a certificate", isReady, patience);
    return place;
  };
  here = await begin(1, []);
  there = await begin(2, []);
  lesser = await begin(3, ["avx2"]);
}, 240_000);

afterAll(async () => {
  const failures: string[] = [];
  await undo.unwind((name, error) => failures.push(`${name}: ${String(error)}`));
  if (failures.length > 0) throw new Error(failures.join("; "));
}, 120_000);

afterEach(async () => {
  for (const { wanted, at } of guests.splice(0)) {
    at.session.want({ ...wanted, power: { state: "gone" } });
    await at.session.untilPhase(wanted.id, "gone", patience);
    at.session.forget(wanted.id);
  }
});

/** It has booted, with its disk in the shared folder. */
async function boot(at: Place, spec: Partial<Wanted["spec"]> = {}): Promise<Wanted> {
  const systemDisk = { id: newId("disk"), sizeGiB: 2, driver: "shared" as const, limits: noLimits };
  const wanted = tinyInstance({ systemDisk, ...spec });
  at.session.want(wanted);
  guests.push({ wanted, at });
  await at.session.untilPhase(wanted.id, "running", patience);
  const log = `${at.host.stateDir}/instances/${wanted.id}/console-1.log`;
  await until("the guest to have booted", () => readFileSync(log, "latin1").includes("tiny: ready"), patience);
  return wanted;
}

let shells = 0;
/** What the guest's kernel says of its processor. */
async function flagsOf(at: Place, { id }: Wanted): Promise<string[]> {
  const shell = await GuestShell.open(at.session, id, `shell-${++shells}`);
  const said = await shell.run("cat /proc/cpuinfo");
  return /^flags\s*: (.*)$/m.exec(said)?.[1]?.trim().split(" ") ?? [];
}

/** What the two say, as VStation asks it. */
async function look(wanted: Wanted, from: Place, to: Place) {
  const { id: instanceId, spec } = wanted;
  const source = sourceCheckSchema.parse(await from.session.ask({ kind: "migration.source-check", instanceId }));
  const { hostId: sourceHostId } = from.session;
  const asked = { kind: "migration.target-check", instanceId, sourceHostId, spec } as const;
  const target = targetCheckSchema.parse(await to.session.ask(asked));
  return { source, target: target.facts, port: target.port };
}

async function reasons(wanted: Wanted, from: Place, to: Place): Promise<PreflightReason[]> {
  const { source, target } = await look(wanted, from, to);
  return refusalsOf(source, target, target.nowMs - source.nowMs).map(({ reason }) => reason);
}

/** Both a dry look and a move find it, and the guest is where it was, running. */
async function expectRefused(wanted: Wanted, from: Place, to: Place, reason: PreflightReason): Promise<string> {
  expect(await reasons(wanted, from, to)).toEqual([reason]);
  const move = new Move(wanted, from, to, () => expect.fail("it moved"));
  await move.untilOver();
  expect(move.end).toMatchObject({ as: "FAILED", code: operationCodeOf[reason] });
  expect(from.session.phase(wanted.id)?.is).toBe("running");
  expect(to.host.qemuPid(wanted.id)).toBeUndefined();
  return move.end?.as === "FAILED" ? move.end.message : "";
}

/** Something lies over a place of that host, for as long as `during` takes. */
async function covered<T>({ host }: Place, mount: string, place: string, during: () => Promise<T>): Promise<T> {
  host.sh(`mount ${mount} ${place}`);
  try {
    return await during();
  } finally {
    host.sh(`umount ${place}`);
  }
}

test("nothing speaks against two equal hosts, and the link between them is measured by their certificates", async () => {
  const guest = await boot(here);
  const { source, target, port } = await look(guest, here, there);
  expect(refusalsOf(source, target, target.nowMs - source.nowMs)).toEqual([]);
  expect(source).toMatchObject({
    guest: "running",
    busy: null,
    blocked: [],
    memoryBytes: guest.spec.memoryMiB * 2 ** 20,
    // It has handed none over yet.
    switchover: { limitMs: 10, fixedMs: 20 },
  });
  expect(source).not.toHaveProperty("untrusted");
  expect(source.residentBytes).toBeGreaterThan(2 ** 20);
  expect(source.cpuFeatures).toContain("avx2");
  expect(source.machineType).toMatch(/^pc-q35-/);
  expect(target).toMatchObject({ imageHere: true, local: null });
  const peer = { address: there.host.address, port };
  const ask = { kind: "migration.link-probe", targetHostId: there.session.hostId, ...peer } as const;
  // The port is for that one source.
  await expect(lesser.session.ask(ask)).rejects.toThrow("MigrationLinkLost");
  const again = await look(guest, here, there);
  const link = linkFactsSchema.parse(await here.session.ask({ ...ask, port: again.port }));
  process.stdout.write(`${Math.round(link.bytesPerSecond / 2 ** 20)} MiB/s, ${link.roundTripMs.toFixed(3)} ms\n`);
  expect(link.bytesPerSecond).toBeGreaterThan(2 ** 20);
  expect(link.roundTripMs).toBeGreaterThan(0);
});

test("a processor that lacks a feature of the guest's, which is named, or has one more", async () => {
  const guest = await boot(here);
  const other = await boot(lesser);
  expect(await flagsOf(here, guest)).toContain("avx2");
  // The kernel in the guest does not have it: what is declared is what a guest gets.
  const fewer = await flagsOf(lesser, other);
  expect(fewer).toContain("avx");
  expect(fewer).not.toContain("avx2");
  expect(await expectRefused(guest, here, lesser, "cpu_differs")).toContain("lacks what the guest has: avx2");
  expect(await expectRefused(other, lesser, here, "cpu_differs")).toContain("avx2");
});

test("a zone's processor that both have makes unequal hosts equal, and one that needs more is refused a guest", async () => {
  const baseline = { model: "Nehalem", features: [] };
  const machine = { ...tinyInstance().spec.machine, baseline };
  const guest = await boot(here, { machine });
  expect(await reasons(guest, here, lesser)).toEqual([]);
  const more = { ...baseline, features: [{ name: "avx2", policy: "require" as const }] };
  const refused = tinyInstance({ machine: { ...machine, baseline: more } });
  lesser.session.want(refused);
  guests.push({ wanted: refused, at: lesser });
  await lesser.session.untilPhase(refused.id, "failed", patience);
  expect(lesser.session.phase(refused.id)).toMatchObject({
    reason: "machine_unavailable",
    message: expect.stringContaining("avx2"),
  });
});

test("a disk that is not there at the target, is another one, or lies in another folder", async () => {
  const guest = await boot(here);
  const disks = join(shared, "disks");
  const file = join(disks, `${guest.spec.systemDisk.id}.qcow2`);
  const missing = () => expectRefused(guest, here, there, "disk_missing");
  expect(await covered(there, "-t tmpfs tmpfs", disks, missing)).toContain(guest.spec.systemDisk.id);
  const other = join(shared, "other.qcow2");
  there.host.sh(`qemu-img create -q -f qcow2 ${other} 3G`);
  const differs = () => expectRefused(guest, here, there, "disk_differs");
  expect(await covered(there, `--bind ${other}`, file, differs)).toContain(`${3 * 2 ** 30} at the target`);
  await covered(there, "-t tmpfs tmpfs", shared, async () => {
    expect(await reasons(guest, here, there)).toEqual(["disk_missing"]);
    there.host.sh(`mkdir ${disks}; touch -d 2001-01-01 ${join(shared, sharedMark)}`);
    expect(await reasons(guest, here, there)).toEqual(["disk_differs"]);
  });
});

test("memory that others have taken at the target", async () => {
  const guest = await boot(here);
  const fake = join(shared, "meminfo");
  there.host.sh(`sed 's/^MemAvailable:.*/MemAvailable: 4096 kB/' /proc/meminfo > ${fake}`);
  const refused = () => expectRefused(guest, here, there, "memory_missing");
  expect(await covered(there, `--bind ${fake}`, "/proc/meminfo", refused)).toContain("the target has 4 MiB free");
});

test("a guest that is paused on its host, or that QEMU is busy with", async () => {
  const guest = await boot(here);
  here.host.sh(`virsh -q suspend ${guest.id}`);
  expect(await reasons(guest, here, there)).toEqual(["guest_not_running"]);
  here.host.sh(`virsh -q resume ${guest.id}`);
  const copy = join(shared, "copy.qcow2");
  here.host.sh(`virsh -q blockcopy ${guest.id} vda --dest ${copy} --transient-job`);
  expect(await reasons(guest, here, there)).toEqual(["guest_busy"]);
  here.host.sh(`virsh -q blockjob ${guest.id} vda --abort`);
  expect(await reasons(guest, here, there)).toEqual([]);
});

/** Moves it, and returns what the source tells of that. */
async function storyOf(wanted: Wanted, from: Place, to: Place): Promise<readonly StoryLine[]> {
  const guest = guests.find((one) => one.wanted.id === wanted.id);
  const move = new Move(wanted, from, to, () => {
    Object.assign(guest ?? {}, { at: to, wanted: { ...wanted, epoch: wanted.epoch + 1 } });
  });
  move.holdOver = true;
  await move.until("the guest to have left", () => move.moved && move.source?.is === "left", patience);
  const half = from.session.seenMigrations.get(move.id);
  const story = half?.is === "source" ? (half.story ?? []) : [];
  await move.untilOver();
  return story;
}

/** For so long it is tried anew; the last try may end later. */
const foretoldMs = 300_000;
const isForetold = (story: readonly StoryLine[]): boolean => story.some(({ is }) => is === "foretold");

test("a move is foretold before any memory moves, and what came stands beside it", async () => {
  let wanted = await boot(here);
  let story: readonly StoryLine[] = [];
  let [from, to] = [here, there];
  // Nothing waits long for it: hosts that are busy with other things do not foretell every move, and are so for minutes.
  for (const end = performance.now() + foretoldMs; performance.now() < end && !isForetold(story);) {
    story = await storyOf(wanted, from, to);
    wanted = { ...wanted, epoch: wanted.epoch + 1 };
    [from, to] = [to, from];
  }
  const steps = story.map((line) => (line.is === "step" ? line.step : line.is));
  expect(steps.slice(0, 4)).toEqual(["began", "dialled", "prepared", "foretold"]);
  const { prediction } = story.find((line) => line.is === "foretold")!;
  // Which verdict depends on what else the two hosts have to do.
  expect(prediction.limitMs).toBeGreaterThan(0);
  expect(prediction.linkBytesPerSecond).toBeGreaterThan(2 ** 20);
  expect(prediction.memoryBytes).toBeGreaterThan(2 ** 24);
  const { copyMs, pauseMs } = compareForetold(story)!;
  expect(copyMs.came).toBeGreaterThan(0);
  expect(pauseMs.came).toBeGreaterThan(0);
}, 600_000);
