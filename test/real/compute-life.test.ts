/** Compute, whole, on a host of its own: joining, and everything that an instance can be asked for. */
import { readFileSync, renameSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { WantedInstance } from "../../src/api/agent.ts";
import { until } from "../until.ts";
import { ComputeBed } from "./support/compute-bed.ts";
import type { ComputeHost } from "./support/compute-host.ts";
import type { FakeHostSession } from "./support/fake-vstation.ts";
import { tinyInstance } from "./support/wanted-documents.ts";

let bed: ComputeBed;
let host: ComputeHost;
let session: FakeHostSession;

beforeAll(async () => {
  bed = await ComputeBed.begin();
  ({ host, session } = await bed.host());
  host.startCompute();
  await until("hello", () => session.hello !== null);
});

afterAll(() => bed?.end());

type Wanted = Omit<WantedInstance, "generation">;

async function startGuest(changes: Partial<Wanted["spec"]> = {}): Promise<Wanted> {
  const wanted = tinyInstance(changes);
  session.want(wanted);
  await session.untilPhase(wanted.id, "running");
  return wanted;
}

async function untilReady(wanted: Wanted, incarnation = 1): Promise<void> {
  const file = `${host.stateDir}/instances/${wanted.id}/console-${incarnation}.log`;
  await until("the guest's ready line", () => readFileSync(file, "latin1").includes("tiny: ready"), 60_000);
}

/** From its gateway: the host itself is no neighbour of its guests. */
async function answers(ip: string | undefined): Promise<void> {
  const ping = `nsenter --net=/run/netns/vstation-test0001 busybox ping -c1 -W1 ${ip} >/dev/null && echo up || true`;
  await until(`an answer to ping from ${ip}`, () => host.sh(ping).trim() === "up", 90_000);
}

const bootIds = (wanted: Wanted): string[] =>
  [...readFileSync(`${host.stateDir}/instances/${wanted.id}/console-1.log`, "latin1").matchAll(/boot_id=(\S+)/g)].map(
    (match) => match[1] ?? "",
  );

async function endGuest(wanted: Wanted): Promise<void> {
  session.want({ ...wanted, power: { state: "gone" } });
  await session.untilPhase(wanted.id, "gone");
}

test("says hello with what it is, and reports what it is ready for", async () => {
  expect(session.hello).toMatchObject({ wantedGeneration: 0, underlayAddress: host.address });
  expect(session.hello?.inventory).toMatchObject({ hostname: "h1", cores: 8, memoryMiB: 8192, diskGiB: 100 });
  expect(session.check("images")).toBe("ok");
  // A libvirtd that has just been started asks QEMU what it can do before it answers.
  await until("libvirt to answer", () => session.check("libvirt") === "ok", 90_000);
  await until("a whole report", () => session.fulls > 0);
});

test("the key stays on the host, readable by root alone, and a second start joins no second time", async () => {
  expect(host.sh(`stat -c %a ${host.stateDir}/identity/host.key`).trim()).toBe("600");
  await host.killCompute("SIGTERM");
  session.hello = null;
  host.startCompute();
  await until("hello", () => session.hello !== null);
  expect(bed.vstation.joins).toBe(1);
});

test("a guest runs, answers on its address, and is gone without a trace", async () => {
  const wanted = await startGuest();
  expect(session.phase(wanted.id)).toMatchObject({ is: "running", incarnation: 1, resets: 0 });
  await answers(wanted.spec.nics[0]?.ip);
  await endGuest(wanted);
  const left = `ls ${host.stateDir}/instances; ls /etc/libvirt/qemu/*.xml 2>/dev/null; ls /run/vstation/network/*/hosts; ip -o link | grep t0- || true`;
  expect(host.sh(left).trim()).toBe("");
  expect(host.qemuPid(wanted.id)).toBeUndefined();
});

test("the disk is as large as asked for and stays over stop and start; a start happens once", async () => {
  const wanted = await startGuest();
  await untilReady(wanted);
  session.want({ ...wanted, power: { state: "stopped", how: "soft" } });
  await session.untilPhase(wanted.id, "stopped");
  expect(session.history.some((h) => h.id === wanted.id && h.phase.is === "stopping")).toBe(true);
  expect(host.qemuPid(wanted.id)).toBeUndefined();
  const disk = `${host.stateDir}/instances/${wanted.id}/${wanted.spec.systemDisk.id}.qcow2`;
  const inode = host.sh(`stat -c %i ${disk}`);
  expect(JSON.parse(host.sh(`qemu-img info --output=json ${disk}`))).toMatchObject({ "virtual-size": 2 * 2 ** 30 });
  // The same incarnation again is no new start.
  session.want(wanted);
  expect(await session.untilPhase(wanted.id, "exited")).toMatchObject({ incarnation: 1 });
  session.want({ ...wanted, power: { state: "running", incarnation: 2, resets: 0 } });
  expect(await session.untilPhase(wanted.id, "running")).toMatchObject({ incarnation: 2 });
  expect(host.sh(`stat -c %i ${disk}`)).toBe(inode);
  await endGuest(wanted);
});

test("a reset starts the guest over in the same process, once for each time it is asked for", async () => {
  const wanted = await startGuest();
  await untilReady(wanted);
  const pid = host.qemuPid(wanted.id);
  session.want({ ...wanted, power: { state: "running", incarnation: 1, resets: 1 } });
  await until("the reset to be reported", () => JSON.stringify(session.phase(wanted.id)).includes('"resets":1'));
  await until("the second boot", () => bootIds(wanted).length === 2, 60_000);
  session.sendWhole();
  session.want({ ...wanted, power: { state: "running", incarnation: 1, resets: 1 } });
  await until("the repeated message to be taken", () => session.seenGeneration === session.generation);
  expect(host.qemuPid(wanted.id)).toBe(pid);
  expect(new Set(bootIds(wanted)).size).toBe(2);
  await endGuest(wanted);
});

test("a guest that ends by itself has exited, with the reason, and is not started again", async () => {
  const powersOff = Buffer.from("#!/bin/sh\npoweroff -f\n").toString("base64");
  const wanted = await startGuest({ userData: powersOff });
  expect(await session.untilPhase(wanted.id, "exited")).toMatchObject({ incarnation: 1, reason: "guest_shutdown" });
  session.sendWhole();
  const killed = await startGuest();
  host.sh(`kill -9 ${host.qemuPid(killed.id)}`);
  expect(await session.untilPhase(killed.id, "exited")).toMatchObject({ incarnation: 1, reason: "guest_crashed" });
  expect(session.phase(wanted.id)?.is).toBe("exited");
  await endGuest(wanted);
  await endGuest(killed);
});

test("a guest whose address changes while it is off has the new one, and the former one is another's at once", async () => {
  const wanted = await startGuest();
  await untilReady(wanted);
  const [nic] = wanted.spec.nics;
  if (nic === undefined) throw new Error("no nic");
  await answers(nic.ip);
  const off = { ...wanted, power: { state: "stopped", how: "hard" } } as const;
  session.want(off);
  await session.untilPhase(wanted.id, "stopped");
  const elsewhere = { ...wanted.spec, nics: [{ ...nic, ip: "10.77.0.200" }] };
  session.want({ ...off, spec: elsewhere });
  const leases = () => host.sh("cat /run/vstation/network/vpc-test0001/hosts/* 2>/dev/null || true");
  await until("an answer to the change", () => session.seen.get(wanted.id)?.generation === session.generation);
  // What it has answered to, it has done.
  expect(leases()).toBe("");
  const other = await startGuest({ nics: [{ ...nic, mac: "52:54:00:77:00:fe" }] });
  // It asks for its address while the one that had it before is off and has not said that it is done with it.
  await answers(nic.ip);
  session.want({ ...wanted, spec: elsewhere, power: { state: "running", incarnation: 2, resets: 0 } });
  expect(await session.untilPhase(wanted.id, "running")).toMatchObject({ incarnation: 2 });
  await answers("10.77.0.200");
  expect(leases().trim().split("\n").toSorted()).toEqual([
    `${nic.mac},10.77.0.200,infinite`,
    `52:54:00:77:00:fe,${nic.ip},infinite`,
  ]);
  await endGuest(wanted);
  await endGuest(other);
});

test("a disk that was there and is lost is never replaced by an empty one", async () => {
  const wanted = await startGuest();
  session.want({ ...wanted, power: { state: "stopped", how: "hard" } });
  await session.untilPhase(wanted.id, "stopped");
  const disk = `${host.stateDir}/instances/${wanted.id}/${wanted.spec.systemDisk.id}.qcow2`;
  renameSync(disk, `${disk}.away`);
  session.want({ ...wanted, power: { state: "running", incarnation: 2, resets: 0 } });
  expect(await session.untilPhase(wanted.id, "failed")).toMatchObject({ reason: "disk_missing" });
  renameSync(`${disk}.away`, disk);
  // It tries again by itself.
  await session.untilPhase(wanted.id, "running");
  await endGuest(wanted);
});

test("an image that is not here is a named failure; a document that is mended is taken at once", async () => {
  const wanted = tinyInstance({ imageId: "img-none0000" as Wanted["spec"]["imageId"] });
  session.want(wanted);
  expect(await session.untilPhase(wanted.id, "failed")).toMatchObject({ reason: "image_missing", incarnation: 1 });
  session.want({ ...wanted, spec: { ...wanted.spec, imageId: tinyInstance().spec.imageId } });
  await session.untilPhase(wanted.id, "running");
  await endGuest(wanted);
});

test("a guest that VStation does not know any more is a stranger and runs on; so does one of a newer placement", async () => {
  const wanted = await startGuest();
  const pid = host.qemuPid(wanted.id);
  session.forget(wanted.id);
  await until("it to be a stranger", () => session.phase(wanted.id)?.is === "stranger");
  expect(session.seen.get(wanted.id)).toMatchObject({ generation: 0, phase: { is: "stranger", running: true } });
  session.want({ ...wanted, epoch: 3 });
  await session.untilPhase(wanted.id, "running");
  session.want({ ...wanted, epoch: 2, power: { state: "gone" } });
  await until("the older placement to be refused", () => session.phase(wanted.id)?.is === "stranger");
  expect(host.qemuPid(wanted.id)).toBe(pid);
  session.want({ ...wanted, epoch: 3, power: { state: "gone" } });
  await session.untilPhase(wanted.id, "gone");
});

test("the console is read from its log and shared by those who open it", async () => {
  const wanted = await startGuest();
  await untilReady(wanted);
  const log = (await session.ask({ kind: "console.log", instanceId: wanted.id, bytes: 4096 })) as { data: string };
  expect(Buffer.from(log.data, "base64").toString("latin1")).toContain("tiny: ready");
  for (const name of ["one", "two"]) {
    await session.ask({ kind: "console.open", instanceId: wanted.id, session: name });
  }
  session.type("one", "echo $((6*7))-typed\n");
  for (const name of ["one", "two"]) {
    await until(`session ${name} to see the answer`, () => session.output.get(name)?.includes("42-typed") ?? false);
  }
  await endGuest(wanted);
  await until("both sessions to be closed with the guest", () => session.closedConsoles.size === 2);
  const late = session.ask({ kind: "console.open", instanceId: wanted.id, session: "late" });
  await expect(late).rejects.toThrow(/InstanceNotRunning/);
});
