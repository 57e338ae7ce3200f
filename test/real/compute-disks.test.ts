/** Disks and snapshots on real hosts, as their guests see them: two hosts with one shared folder. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { noLimits, type DataDisk, type DiskRef, type SeenDisk, type SnapshotRef } from "../../src/api/agent-storage.ts";
import type { WantedInstance } from "../../src/api/agent.ts";
import { imageCache } from "../../setup/root.mjs";
import { sharedMark } from "../../src/compute/storage/disk-files.ts";
import { newId } from "../../src/lib/ids.ts";
import { UndoStack } from "../../src/lib/undo.ts";
import { until } from "../until.ts";
import { ComputeBed } from "./support/compute-bed.ts";
import type { ComputeHost } from "./support/compute-host.ts";
import type { FakeHostSession } from "./support/fake-vstation.ts";
import { GuestShell } from "./support/guest-shell.ts";
import { tinyInstance } from "./support/wanted-documents.ts";

const patience = 120_000;
const undo = new UndoStack();
const hosts: ComputeHost[] = [];
const sessions: FakeHostSession[] = [];
let shared = "";

beforeAll(async () => {
  shared = mkdtempSync(join(tmpdir(), "vstation-shared-"));
  writeFileSync(join(shared, sharedMark), "");
  undo.push("shared", () => rmSync(shared, { recursive: true }));
  const bed = await ComputeBed.begin();
  undo.push("bed", () => bed.end());
  for (const number of [1, 2]) {
    const { host, session } = await bed.host({ number, sharedDir: shared });
    host.startCompute();
    hosts.push(host);
    sessions.push(session);
  }
  for (const session of sessions) await until("libvirt to answer", () => session.check("libvirt") === "ok", patience);
}, 240_000);

afterAll(async () => {
  const failures: string[] = [];
  await undo.unwind((name, error) => failures.push(`${name}: ${String(error)}`));
  if (failures.length > 0) throw new Error(failures.join("; "));
}, 120_000);

type Wanted = Omit<WantedInstance, "generation">;

let shells = 0;

/** A guest that has booted on the first host (or another), with a shell on its console. */
async function boot(dataDisks: DataDisk[], at = 0): Promise<{ wanted: Wanted; shell: GuestShell }> {
  const wanted = tinyInstance({ dataDisks });
  const [host, session] = [hosts[at]!, sessions[at]!];
  session.want(wanted);
  await session.untilPhase(wanted.id, "running", patience);
  return { wanted, shell: await shellOf(host, session, wanted, 1) };
}

async function shellOf(
  host: ComputeHost,
  session: FakeHostSession,
  wanted: Wanted,
  start: number,
): Promise<GuestShell> {
  const log = `${host.stateDir}/instances/${wanted.id}/console-${start}.log`;
  await until("the guest to have booted", () => readFileSync(log, "latin1").includes("tiny: ready"), patience);
  return await GuestShell.open(session, wanted.id, `shell-${++shells}`);
}

function dataDisk(changes: Partial<DataDisk> = {}): DataDisk {
  return { id: newId("disk"), sizeGiB: 1, driver: "shared", limits: noLimits, slot: 0, made: false, ...changes };
}

const withDisks = (wanted: Wanted, dataDisks: DataDisk[]): Wanted => ({
  ...wanted,
  spec: { ...wanted.spec, dataDisks },
});

async function seenDisk(
  session: FakeHostSession,
  wanted: Wanted,
  disk: DataDisk,
  passes: (seen: SeenDisk | undefined) => boolean,
) {
  const look = (): SeenDisk | undefined => session.seen.get(wanted.id)?.disks?.find(({ id }) => id === disk.id);
  const isTold = (): boolean => session.seen.get(wanted.id)?.generation === session.generation;
  await until(`${disk.id} to be seen so`, () => isTold() && passes(look()), patience).catch((error: unknown) => {
    throw new Error(`seen: ${JSON.stringify(session.seen.get(wanted.id))}`, { cause: error });
  });
}

async function end(wanted: Wanted, at = 0): Promise<void> {
  const session = sessions[at]!;
  session.want({ ...wanted, power: { state: "gone" } });
  await session.untilPhase(wanted.id, "gone", patience);
}

const refOf = (disk: DataDisk, wanted: Wanted | null): DiskRef => {
  const { id, driver, sizeGiB, made } = disk;
  return { id, driver, sizeGiB, made, usage: "data", instanceId: wanted?.id ?? null };
};

async function job(at: number, ...order: Parameters<FakeHostSession["wantJob"]>): Promise<void> {
  const session = sessions[at]!;
  const id = session.wantJob(...order);
  await session.untilJob(id, "done", patience);
  session.endJob(id);
  await until("the job to be forgotten", () => !existsSync(`${hosts[at]!.stateDir}/jobs/${id}.json`), patience);
}

/** The device that a guest has given a disk, found as udev finds it: by the serial number. */
async function deviceOf(shell: GuestShell, { id }: { id: string }): Promise<string> {
  const line = `for d in /sys/block/vd*; do [ "$(cat $d/serial)" = ${id} ] && echo /dev/\${d##*/}; done`;
  return (await shell.until(line, (printed) => printed.trim() !== "")).trim();
}

/** Eight characters in the middle of the disk, on the disk when this returns. */
async function write(shell: GuestShell, device: string, text: string): Promise<void> {
  await shell.run(`printf ${text} | dd of=${device} bs=512 seek=300000 conv=fsync 2>/dev/null`);
}

async function read(shell: GuestShell, device: string): Promise<string> {
  return (await shell.run(`dd if=${device} bs=512 skip=300000 count=1 2>/dev/null | head -c 8; echo`)).trim();
}

const blocks = "cat /sys/block/vdc/size 2>/dev/null || echo none";
const sectors = (gib: number): string => String((gib * 2 ** 30) / 512);

test("a running guest sees a disk come, with its id, grow, be limited, and go", async () => {
  const { wanted, shell } = await boot([]);
  const [session] = sessions as [FakeHostSession];
  expect((await shell.run(blocks)).trim()).toBe("none");

  const disk = dataDisk();
  session.want(withDisks(wanted, [disk]));
  await seenDisk(session, wanted, disk, (seen) => seen?.sizeGiB === 1);
  await shell.until(blocks, (printed) => printed.trim() === sectors(1), patience);
  expect((await shell.run("cat /sys/block/vdc/serial; echo")).trim()).toBe(disk.id);

  const larger = { ...disk, sizeGiB: 3, limits: { bytes: 20_000_000, iops: 500 } };
  session.want(withDisks(wanted, [larger]));
  await seenDisk(session, wanted, disk, (seen) => seen?.sizeGiB === 3);
  await shell.until(blocks, (printed) => printed.trim() === sectors(3), patience);
  const tuned = (): string => hosts[0]!.sh(`virsh blkdeviotune ${wanted.id} vdc`);
  await until("limits", () => /total_bytes_sec\s*: 20000000/.test(tuned()) && /total_iops_sec\s*: 500/.test(tuned()));

  session.want(withDisks(wanted, []));
  await seenDisk(session, wanted, disk, (seen) => seen === undefined);
  await shell.until(blocks, (printed) => printed.trim() === "none", patience);
  // A detached disk stays; a removed one is gone.
  const file = join(shared, "disks", `${disk.id}.qcow2`);
  expect(existsSync(file)).toBe(true);
  await job(0, { kind: "disk.delete", disk: refOf({ ...disk, made: true }, null) });
  expect(existsSync(file)).toBe(false);
  await end(wanted);
}, 400_000);

test("a shared folder that is not mounted is said to be, and no disk is made in its place", async () => {
  const { wanted } = await boot([]);
  const [session] = sessions as [FakeHostSession];
  renameSync(join(shared, sharedMark), join(shared, "away"));
  const disk = dataDisk();
  session.want(withDisks(wanted, [disk]));
  await seenDisk(session, wanted, disk, (seen) => seen?.sizeGiB === 0 && /not mounted/.test(seen.problem ?? ""));
  expect(existsSync(join(shared, "disks", `${disk.id}.qcow2`))).toBe(false);
  renameSync(join(shared, "away"), join(shared, sharedMark));
  await seenDisk(session, wanted, disk, (seen) => seen?.sizeGiB === 1);
  await end(withDisks(wanted, [disk]));
  await job(0, { kind: "disk.delete", disk: refOf({ ...disk, made: true }, null) });
}, 300_000);

test("what was written is there on another host; a snapshot of a running disk, put back, undoes damage", async () => {
  const disk = dataDisk({ slot: 3 });
  const { wanted, shell } = await boot([disk]);
  const [session, other] = sessions as [FakeHostSession, FakeHostSession];
  expect(await deviceOf(shell, wanted.spec.systemDisk)).toBe("/dev/vda");
  const device = await deviceOf(shell, disk);
  await write(shell, device, "precious");
  const made = { ...disk, made: true };

  const snapshot: SnapshotRef = { id: newId("snapshot"), driver: "shared" };
  await job(0, { kind: "snapshot.create", disk: refOf(made, wanted), snapshot });
  expect(readdirSync(join(shared, "snapshots"))).toEqual([`${snapshot.id}.qcow2`]);
  const nodes = hosts[0]!.sh(`virsh qemu-monitor-command ${wanted.id} '{"execute":"query-named-block-nodes"}'`);
  expect(nodes).not.toContain("copy-job");

  await write(shell, device, "damaged!");
  session.want(withDisks(wanted, []));
  await seenDisk(session, wanted, disk, (seen) => seen === undefined);
  await end(wanted);

  const there = await boot([{ ...made, slot: 0 }], 1);
  expect(await read(there.shell, await deviceOf(there.shell, disk))).toBe("damaged!");
  other.want({ ...there.wanted, power: { state: "stopped", how: "hard" } });
  await other.untilPhase(there.wanted.id, "stopped");
  await job(1, { kind: "snapshot.apply", disk: refOf(made, there.wanted), snapshot });
  other.want({ ...there.wanted, power: { state: "running", incarnation: 2, resets: 0 } });
  await other.untilPhase(there.wanted.id, "running", patience);
  const back = await shellOf(hosts[1]!, other, there.wanted, 2);
  expect(await read(back, await deviceOf(back, disk))).toBe("precious");
  await end(there.wanted, 1);

  await job(1, { kind: "snapshot.delete", snapshot });
  await job(1, { kind: "disk.delete", disk: refOf(made, null) });
  expect(readdirSync(join(shared, "snapshots"))).toEqual([]);
  expect(readdirSync(join(shared, "disks"))).toEqual([]);
}, 600_000);

test("a copy of a running disk takes as long as what was written to it, not as its size, and stands on nothing", async () => {
  const disk = dataDisk({ sizeGiB: 8_192 });
  const wanted = tinyInstance({
    dataDisks: [disk],
    systemDisk: { id: newId("disk"), sizeGiB: 1_024, driver: "local", limits: noLimits },
  });
  const [host, session] = [hosts[0]!, sessions[0]!];
  session.want(wanted);
  await session.untilPhase(wanted.id, "running", patience);
  const shell = await shellOf(host, session, wanted, 1);
  await write(shell, await deviceOf(shell, disk), "precious");
  // Far behind the file system that the image came with.
  await shell.run("printf precious | dd of=/dev/vda bs=1M seek=500000 conv=fsync 2>/dev/null");

  const { id, sizeGiB } = wanted.spec.systemDisk;
  const systemDisk: DiskRef = { id, driver: "local", usage: "system", sizeGiB, made: true, instanceId: wanted.id };
  const data: SnapshotRef = { id: newId("snapshot"), driver: "shared" };
  const system: SnapshotRef = { id: newId("snapshot"), driver: "local" };
  // At the pace that guests are left alone by, holes as large as these would take hours.
  await job(0, { kind: "snapshot.create", disk: refOf({ ...disk, made: true }, wanted), snapshot: data });
  await job(0, { kind: "snapshot.create", disk: systemDisk, snapshot: system });

  const files = { data: join(shared, "snapshots"), system: join(host.stateDir, "snapshots") };
  expect([readdirSync(files.data), readdirSync(files.system)]).toEqual([[`${data.id}.qcow2`], [`${system.id}.qcow2`]]);
  const [ofData, ofSystem] = [join(files.data, `${data.id}.qcow2`), join(files.system, `${system.id}.qcow2`)];
  for (const file of [ofData, ofSystem]) {
    expect(host.sh(`qemu-img check ${file}`)).toContain("No errors");
    expect(host.sh(`qemu-img info ${file}`)).not.toContain("backing file");
  }
  const at = (file: string, offset: number): string =>
    host.sh(`qemu-io -r -f qcow2 -c 'read -v ${offset} 512' ${file} | grep -E '^[0-9a-f]+: '`);
  expect(at(ofData, 512 * 300_000)).toContain("precious");
  expect(at(ofSystem, 500_000 * 2 ** 20)).toContain("precious");
  // Of what the image brought: a spare superblock, which nobody writes.
  const base = join(imageCache, wanted.spec.imageId, "disk.qcow2");
  expect(at(ofSystem, 128 * 2 ** 20)).toBe(at(base, 128 * 2 ** 20));

  await end(wanted);
  await job(0, { kind: "snapshot.delete", snapshot: data });
  await job(0, { kind: "snapshot.delete", snapshot: system });
  await job(0, { kind: "disk.delete", disk: refOf({ ...disk, made: true }, null) });
}, 600_000);

test("an instance that is reinstalled starts from a new system disk; the data disk stays, and nothing is left of the former one", async () => {
  const disk = dataDisk({ driver: "local" });
  const { wanted, shell } = await boot([disk]);
  const [host, session] = [hosts[0]!, sessions[0]!];
  await write(shell, await deviceOf(shell, disk), "precious");
  await shell.run("echo kept >/disk/note; sync");
  const spec = { ...wanted.spec, systemDisk: { ...wanted.spec.systemDisk, id: newId("disk"), sizeGiB: 3 } };
  const renewed: Wanted = { ...wanted, spec: { ...spec, dataDisks: [{ ...disk, made: true }] } };
  session.want({ ...renewed, power: { state: "stopped", how: "hard" } });
  await session.untilPhase(wanted.id, "stopped", patience);
  session.want({ ...renewed, power: { state: "running", incarnation: 2, resets: 0 } });
  await session.untilPhase(wanted.id, "running", patience);
  const again = await shellOf(host, session, wanted, 2);
  expect((await again.run("cat /disk/note 2>&1")).trim()).toContain("No such file");
  expect(await deviceOf(again, spec.systemDisk)).toBe("/dev/vda");
  expect((await again.run("cat /sys/block/vda/size")).trim()).toBe(sectors(3));
  expect(await read(again, await deviceOf(again, disk))).toBe("precious");
  const files = readdirSync(`${host.stateDir}/instances/${wanted.id}`).filter((name) => name.startsWith("disk-"));
  expect(files).toEqual([`${spec.systemDisk.id}.qcow2`]);
  await end(renewed);
  await job(0, { kind: "disk.delete", disk: refOf({ ...disk, made: true }, null) });
  expect(readdirSync(join(host.stateDir, "disks"))).toEqual([]);
}, 400_000);

test("a snapshot of a disk at rest holds its guest off until it is made, and one that is called off leaves nothing", async () => {
  const { wanted } = await boot([]);
  const [host, session] = [hosts[0]!, sessions[0]!];
  session.want({ ...wanted, power: { state: "stopped", how: "hard" } });
  await session.untilPhase(wanted.id, "stopped", patience);
  const system: DiskRef = {
    id: wanted.spec.systemDisk.id,
    driver: "local",
    usage: "system",
    sizeGiB: 2,
    made: true,
    instanceId: wanted.id,
  };
  const kept: SnapshotRef = { id: newId("snapshot"), driver: "local" };
  const dropped: SnapshotRef = { id: newId("snapshot"), driver: "local" };
  const first = session.wantJob({ kind: "snapshot.create", disk: system, snapshot: kept });
  const second = session.wantJob({ kind: "snapshot.create", disk: system, snapshot: dropped });
  session.want({ ...wanted, power: { state: "running", incarnation: 2, resets: 0 } });
  session.endJob(second);
  await session.untilJob(first, "done", patience);
  await session.untilPhase(wanted.id, "running", patience);
  session.endJob(first);
  await job(0, { kind: "snapshot.delete", snapshot: dropped });
  const folder = join(host.stateDir, "snapshots");
  const left = (): string[] => readdirSync(folder).filter((name) => !name.startsWith(kept.id));
  await until("nothing of the snapshot that was called off", () => left().length === 0, patience);
  expect(readdirSync(folder)).toEqual([`${kept.id}.qcow2`]);
  expect(host.sh(`qemu-img check ${join(folder, `${kept.id}.qcow2`)}`)).toContain("No errors");
  await job(0, { kind: "snapshot.delete", snapshot: kept });
  await end(wanted);
}, 300_000);

test("Compute, QEMU and libvirtd may die in the middle of a copy, of a plug and of an unplug: it all comes about, once", async () => {
  const disk = dataDisk();
  const { wanted } = await boot([]);
  const [host, session] = [hosts[0]!, sessions[0]!];
  const killsAt = async (point: string, work: () => Promise<void>): Promise<void> => {
    await host.killCompute("SIGTERM");
    const marker = join(host.dir, `crashed-${point}`);
    const supervised = host.superviseCompute({ VSTATION_CRASH_AT: point, VSTATION_CRASH_ONCE: marker });
    await work();
    expect(existsSync(marker), `${point} was not come by`).toBe(true);
    await supervised.stop();
    const { fulls } = session;
    host.startCompute();
    // It says how all of its guests are once it knows them, and opens no console before.
    await until("Compute to know its guests", () => session.fulls > fulls, patience);
  };
  // The console's stream ends with the Compute that carried it.
  const newShell = (): Promise<GuestShell> => GuestShell.open(session, wanted.id, `shell-${++shells}`);
  const pid = host.qemuPid(wanted.id);
  await killsAt("vm.disk-plug.done", async () => {
    session.want(withDisks(wanted, [disk]));
    await seenDisk(session, wanted, disk, (seen) => seen?.sizeGiB === 1);
  });
  const shell = await newShell();
  await write(shell, await deviceOf(shell, disk), "precious");
  const made = { ...disk, made: true };
  const snapshot: SnapshotRef = { id: newId("snapshot"), driver: "shared" };
  await killsAt("job.backup.begun", async () => {
    await job(0, { kind: "snapshot.create", disk: refOf(made, wanted), snapshot });
  });
  expect(readdirSync(join(shared, "snapshots"))).toEqual([`${snapshot.id}.qcow2`]);
  expect(host.sh(`virsh qemu-monitor-command ${wanted.id} '{"execute":"query-named-block-nodes"}'`)).not.toContain(
    "copy-job",
  );
  await killsAt("vm.disk-unplug.asked", async () => {
    session.want(withDisks(wanted, []));
    await seenDisk(session, wanted, disk, (seen) => seen === undefined);
  });
  expect(host.qemuPid(wanted.id)).toBe(pid);
  for (const point of ["job.apply.written", "job.place.renamed", "job.run.worked", "job.run.end-recorded"]) {
    await killsAt(point, () => job(0, { kind: "snapshot.apply", disk: refOf(made, null), snapshot }));
  }
  expect(readdirSync(join(shared, "disks"))).toEqual([`${disk.id}.qcow2`]);
  session.want(withDisks(wanted, [made]));
  await seenDisk(session, wanted, disk, (seen) => seen?.sizeGiB === 1);
  const again = await newShell();
  expect(await read(again, await deviceOf(again, disk))).toBe("precious");

  // The guest goes while QEMU copies its disk: the copy is made again, at rest.
  const second: SnapshotRef = { id: newId("snapshot"), driver: "shared" };
  const copying = session.wantJob({ kind: "snapshot.create", disk: refOf(made, wanted), snapshot: second });
  host.sh(`kill -9 ${host.qemuPid(wanted.id)}`);
  await session.untilJob(copying, "done", patience);
  session.endJob(copying);
  expect(host.sh(`qemu-img check ${join(shared, "snapshots", `${second.id}.qcow2`)}`)).toContain("No errors");
  await end(withDisks(wanted, [made]));
  for (const each of [snapshot, second]) await job(0, { kind: "snapshot.delete", snapshot: each });
  await job(0, { kind: "disk.delete", disk: refOf(made, null) });
  expect([...readdirSync(join(shared, "disks")), ...readdirSync(join(shared, "snapshots"))]).toEqual([]);
}, 900_000);
