/**
 * Disks as a tenant meets them: the official SDK against a whole lab, and the guests' own word for what is on them. A data disk made with
 * one instance is copied while it is in use, damaged, moved to an instance on another host, and undone from the copy.
 */
import { existsSync, readdirSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { Disk } from "tencentcloud-sdk-nodejs/tencentcloud/services/cbs/v20170312/cbs_models.js";
import type { Instance } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/v20170312/cvm_models.js";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { connectCloud, type CloudClient } from "../../bench/cloud.ts";
import { TestLab } from "../../lab/testing.ts";

const imageId = "img-tiny0001";
const patience = { timeout: 240_000, interval: 500 };
const shellPort = 9001;
/** Runs what it is sent, until its sender is through. */
const shellService = `#!/bin/sh\nexec nc -ll -p ${shellPort} -e /bin/sh\n`;

const lab = new TestLab();
let machines: CloudClient["sdk"];
let storage: CloudClient["cbs"];
let zone = "";

beforeAll(async () => {
  // The SDK obeys it even for loopback.
  delete process.env["http_proxy"];
  delete process.env["HTTP_PROXY"];
  await lab.start({ hosts: 2 });
  ({ sdk: machines, cbs: storage, zone } = connectCloud(lab.home.credentialsFile));
}, 300_000);
afterAll(() => lab.destroy(), 120_000);

async function instance(id: string): Promise<Instance | undefined> {
  return (await machines.DescribeInstances({ InstanceIds: [id] })).InstanceSet?.[0];
}

function instanceIs(id: string, state: string): Promise<void> {
  return vi.waitFor(async () => {
    const now = await instance(id);
    expect([now?.InstanceState, now?.LatestOperationState]).toEqual([state, "SUCCESS"]);
  }, patience);
}

async function disk(id: string): Promise<Disk | undefined> {
  return (await storage.DescribeDisks({ DiskIds: [id] })).DiskSet?.[0];
}

function diskIs(id: string, state: string): Promise<void> {
  return vi.waitFor(async () => {
    const now = await disk(id);
    expect([now?.DiskState, now?.ErrorPrompt]).toEqual([state, ""]);
  }, patience);
}

/** What the guest prints when it runs these lines. */
function say(ip: string, lines: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = "";
    const socket = connect({ host: ip, port: shellPort, timeout: 30_000 });
    socket.on("connect", () => socket.end(`${lines}\n`));
    socket.on("data", (data: Buffer) => (said += data.toString()));
    socket.on("timeout", () => socket.destroy(new Error(`no answer from ${ip}`)));
    socket.on("error", reject);
    socket.on("close", () => resolve(said.trim()));
  });
}

async function run(changes: object): Promise<{ id: string; ip: string }> {
  const { InstanceIdSet } = await machines.RunInstances({
    Placement: { Zone: zone },
    ImageId: imageId,
    InstanceType: "T1.SMALL1",
    UserData: Buffer.from(shellService).toString("base64"),
    ...changes,
  });
  const id = InstanceIdSet?.[0] ?? "";
  await instanceIs(id, "RUNNING");
  const ip = (await instance(id))?.PrivateIpAddresses?.[0] ?? "";
  await vi.waitFor(async () => expect(await say(ip, "echo up")).toBe("up"), patience);
  return { id, ip };
}

/** The guest's device of a disk, by the serial number as udev would find it. */
const device = (id: string): string =>
  `for d in /sys/block/vd*; do [ "$(cat $d/serial)" = ${id} ] && dev=/dev/\${d##*/}; done`;
const write = (id: string, text: string): string =>
  `${device(id)}; printf ${text} | dd of=$dev bs=512 seek=300000 conv=fsync 2>/dev/null; echo written`;
const read = (id: string): string =>
  `${device(id)}; echo 3 >/proc/sys/vm/drop_caches; dd if=$dev bs=512 skip=300000 count=1 2>/dev/null | head -c 8`;

const filesOf = (folder: string): string[] => {
  const path = join(lab.home.sharedDir, folder);
  return existsSync(path) ? readdirSync(path) : [];
};

it("a disk keeps what is written from host to host, and a snapshot brings back what was damaged", async () => {
  const { DisasterRecoverGroupId } = await machines.CreateDisasterRecoverGroup({ Name: "apart", Type: "HOST" });
  const apart = { DisasterRecoverGroupIds: [DisasterRecoverGroupId ?? ""] };
  const data = { DiskType: "CLOUD_PREMIUM", DiskSize: 10, DeleteWithInstance: false };
  const [first, second] = [await run({ ...apart, DataDisks: [data] }), await run(apart)];

  const shown = await instance(first.id);
  expect(shown?.SystemDisk).toMatchObject({ DiskType: "LOCAL_BASIC", DiskSize: 50 });
  const id = shown?.DataDisks?.[0]?.DiskId ?? "";
  await diskIs(id, "ATTACHED");
  // CVM and CBS agree, or Terraform would see a change in every plan.
  const { DiskType, DiskSize, DeleteWithInstance, Encrypt, ThroughputPerformance } = (await disk(id)) ?? {};
  expect(shown?.DataDisks?.[0]).toMatchObject({
    DiskType,
    DiskSize,
    DeleteWithInstance,
    Encrypt,
    ThroughputPerformance,
  });
  expect(await disk(shown?.SystemDisk?.DiskId ?? "")).toMatchObject({ DiskUsage: "SYSTEM_DISK", DiskSize: 50 });

  expect(await say(first.ip, write(id, "precious"))).toBe("written");
  const { SnapshotId = "" } = await storage.CreateSnapshot({ DiskId: id, SnapshotName: "before" });
  await vi.waitFor(async () => {
    const { SnapshotSet } = await storage.DescribeSnapshots({ SnapshotIds: [SnapshotId] });
    expect([SnapshotSet?.[0]?.SnapshotState, SnapshotSet?.[0]?.Percent]).toEqual(["NORMAL", 100]);
  }, patience);
  expect(await say(first.ip, write(id, "damaged!"))).toBe("written");

  await storage.ResizeDisk({ DiskId: id, DiskSize: 20 });
  await diskIs(id, "ATTACHED");
  expect(await say(first.ip, `${device(id)}; cat /sys/block/\${dev##*/}/size`)).toBe(String((20 * 2 ** 30) / 512));

  await storage.DetachDisks({ DiskIds: [id] });
  await diskIs(id, "UNATTACHED");
  expect(await say(first.ip, `${device(id)}; echo "device:$dev"`)).toBe("device:");
  await storage.AttachDisks({ DiskIds: [id], InstanceId: second.id, DeleteWithInstance: true });
  await diskIs(id, "ATTACHED");
  expect(await say(second.ip, read(id))).toBe("damaged!");

  await machines.StopInstances({ InstanceIds: [second.id], StopType: "HARD" });
  await instanceIs(second.id, "STOPPED");
  await storage.ApplySnapshot({ SnapshotId, DiskId: id });
  await machines.StartInstances({ InstanceIds: [second.id] });
  await instanceIs(second.id, "RUNNING");
  await diskIs(id, "ATTACHED");
  await vi.waitFor(async () => expect(await say(second.ip, read(id))).toBe("precious"), patience);

  await machines.TerminateInstances({ InstanceIds: [first.id, second.id] });
  await storage.DeleteSnapshots({ SnapshotIds: [SnapshotId] });
  await vi.waitFor(async () => {
    expect((await storage.DescribeDisks({})).TotalCount).toBe(0);
    expect([...filesOf("disks"), ...filesOf("snapshots")]).toEqual([]);
  }, patience);
}, 900_000);
