/** Disks and snapshots as VStation keeps them: states, refusals, what becomes of them with their instances. Hosts are simulated. */
import { afterEach, expect, it } from "vitest";
import type { Disk } from "tencentcloud-sdk-nodejs/tencentcloud/services/cbs/v20170312/cbs_models.js";
import { CloudClient, credentialsSchema } from "../../bench/cloud.ts";
import type { DiskId, InstanceId } from "../../src/lib/ids.ts";
import { until } from "../until.ts";
import { areGone, endAll, inState, run, show, stop, terminate } from "./support/cloud.ts";
import { vstationForAll } from "./support/vstation-for.ts";
import type { TestVstation } from "./support/vstation.ts";

let vstation: TestVstation;
let sdk: CloudClient["cbs"];
let machines: CloudClient["sdk"];

const postgres = vstationForAll(async (made) => {
  vstation = made;
  await vstation.start({ hosts: 2 });
  ({ cbs: sdk, sdk: machines } = new CloudClient(credentialsSchema.parse(vstation.credentials)));
});
afterEach(async () => {
  await endAll(vstation);
  const { disks } = await vstation.native.call("diskList", {});
  for (const { id } of disks) await vstation.native.call("diskDelete", { params: { id } });
  vstation.expectNoErrors();
});

async function one(request = {}): Promise<InstanceId> {
  const ids = await run(vstation.native, request);
  await inState(vstation, ids, "RUNNING");
  return ids[0] as InstanceId;
}

async function disk(changes: { DiskType?: string; DiskSize?: number; SnapshotId?: string } = {}): Promise<DiskId> {
  const { DiskIdSet } = await sdk.CreateDisks({
    Placement: { Zone: "ap-test-1" },
    DiskChargeType: "POSTPAID_BY_HOUR",
    DiskType: "CLOUD_PREMIUM",
    DiskName: "data",
    DiskSize: 10,
    ...changes,
  });
  return DiskIdSet?.[0] as DiskId;
}

async function described(id: string): Promise<Disk | undefined> {
  return (await sdk.DescribeDisks({ DiskIds: [id] })).DiskSet?.[0];
}

function inDiskState(id: string, state: string): Promise<Disk> {
  return until(`${id} to be ${state}`, async () => {
    const found = await described(id);
    return found?.DiskState === state ? found : undefined;
  });
}

const codeOf = (work: Promise<unknown>): Promise<unknown> => work.then(() => "ok", code);
const code = (error: unknown): unknown => (error as { code?: unknown }).code;

it("a disk is made once for a token, shown with every field that clients read unguarded, attached, grown and let go", async () => {
  const instance = await one();
  const request = {
    Placement: { Zone: "ap-test-1" },
    DiskChargeType: "POSTPAID_BY_HOUR",
    DiskType: "CLOUD_SSD",
    DiskSize: 20,
    DiskCount: 2,
    ThroughputPerformance: 150,
    ClientToken: "disks-1",
  };
  const [first, again] = [await sdk.CreateDisks(request), await sdk.CreateDisks(request)];
  expect(again.DiskIdSet).toEqual(first.DiskIdSet);
  expect(await sdk.CreateDisks({ ...request, DiskSize: 30 }).catch(code)).toBe("InvalidParameterCombination");
  const [id, other] = first.DiskIdSet as [string, string];
  expect(await described(id)).toMatchObject({
    DiskId: id,
    DiskName: "unnamed-1",
    DiskState: "UNATTACHED",
    DiskSize: 20,
    DiskType: "CLOUD_SSD",
    DiskUsage: "DATA_DISK",
    Encrypt: false,
    DeleteWithInstance: false,
    ThroughputPerformance: 150,
    Attached: false,
  });

  await sdk.AttachDisks({ InstanceId: instance, DiskIds: [id, other], DeleteWithInstance: true });
  await inDiskState(id, "ATTACHED");
  await inDiskState(other, "ATTACHED");
  await sdk.ResizeDisk({ DiskId: id, DiskSize: 40 });
  expect(await inDiskState(id, "ATTACHED")).toMatchObject({ DiskSize: 40, InstanceId: instance });
  expect((await show(vstation.native, instance)).dataDisks).toEqual([
    { id, type: "CLOUD_SSD", name: "unnamed-1", sizeGiB: 40 },
    { id: other, type: "CLOUD_SSD", name: "unnamed-2", sizeGiB: 20 },
  ]);
  expect(await sdk.TerminateDisks({ DiskIds: [id] }).catch(code)).toBe("InvalidDisk.Attached");
  expect(await sdk.ResizeDisk({ DiskId: id, DiskSize: 40 }).catch(code)).toBe("InvalidParameter.DiskSizeNotMatch");
  await sdk.DetachDisks({ DiskIds: [id] });
  await inDiskState(id, "UNATTACHED");
  expect(await sdk.DetachDisks({ DiskIds: [id] }).catch(code)).toBe("UnsupportedOperation.StateError");

  // What goes with the instance goes, what was let go of before stays.
  await terminate(vstation.native, [instance]);
  await areGone(vstation, [instance]);
  expect(await described(other)).toBeUndefined();
  expect(await described(id)).toMatchObject({ DiskState: "UNATTACHED", DiskSize: 40 });
  await until("the files' removal to be over", async () => {
    const open = await vstation.sql("select 1 from host_job where ended_at is null");
    return open.length === 0 ? true : undefined;
  });
});

it("RunInstances makes data disks, and a disk on a host's own storage stays on that host", async () => {
  const instance = await one({ dataDisks: [{ type: "LOCAL_BASIC", sizeGiB: 30, deleteWithInstance: false }] });
  const [data] = (await show(vstation.native, instance)).dataDisks;
  await inDiskState(data?.id ?? "", "ATTACHED");
  await sdk.DetachDisks({ DiskIds: [data?.id ?? ""], InstanceId: instance });
  await inDiskState(data?.id ?? "", "UNATTACHED");
  // Groups keep the two apart: the second one is on the other host.
  const group = await vstation.native.call("groupCreate", { request: { name: "apart" } });
  const [near] = await run(vstation.native, { count: 1, groupId: group.id });
  const [far] = await run(vstation.native, { count: 1, groupId: group.id });
  await inState(vstation, [near as InstanceId, far as InstanceId], "RUNNING");
  const hostOf = async (id: InstanceId) => (await show(vstation.native, id)).hostId;
  const home = await hostOf(instance);
  const away = (await hostOf(near as InstanceId)) === home ? far : near;
  const refusal = await sdk.AttachDisks({ InstanceId: away as string, DiskIds: [data?.id ?? ""] }).catch(code);
  expect(refusal).toBe("InvalidDisk.NotSupported");
  await sdk.AttachDisks({ InstanceId: instance, DiskIds: [data?.id ?? ""] });
  await inDiskState(data?.id ?? "", "ATTACHED");
  await terminate(vstation.native, [near as InstanceId, far as InstanceId]);
  await areGone(vstation, [near as InstanceId, far as InstanceId]);
  await vstation.native.call("groupDelete", { params: { id: group.id } });
});

it("a snapshot is made while the disk is in use, put back only while its instance is stopped, and fills new disks", async () => {
  const instance = await one();
  const id = await disk();
  await sdk.AttachDisks({ InstanceId: instance, DiskIds: [id] });
  await inDiskState(id, "ATTACHED");
  const { SnapshotId } = await sdk.CreateSnapshot({ DiskId: id, SnapshotName: "before" });
  const snapshot = await until("the snapshot", async () => {
    const found = (await sdk.DescribeSnapshots({ SnapshotIds: [SnapshotId ?? ""] })).SnapshotSet?.[0];
    return found?.SnapshotState === "NORMAL" ? found : undefined;
  });
  expect(snapshot).toMatchObject({ Percent: 100, DiskId: id, DiskSize: 10, DiskUsage: "DATA_DISK" });
  const apply = { SnapshotId: SnapshotId ?? "", DiskId: id };
  expect(await sdk.ApplySnapshot(apply).catch(code)).toBe("UnsupportedOperation.InstanceStateRunning");
  await stop(vstation.native, [instance], "hard");
  await inState(vstation, [instance], "STOPPED");
  await sdk.ApplySnapshot(apply);
  await inDiskState(id, "ATTACHED");

  expect(await disk({ DiskSize: 5, SnapshotId: SnapshotId ?? "" }).catch(code)).toBe(
    "InvalidParameter.DiskSizeNotMatch",
  );
  const filled = await disk({ SnapshotId: SnapshotId ?? "" });
  await inDiskState(filled, "UNATTACHED");
  await sdk.DeleteSnapshots({ SnapshotIds: [SnapshotId ?? ""] });
  expect((await sdk.DescribeSnapshots({ SnapshotIds: [SnapshotId ?? ""] })).TotalCount).toBe(0);
  expect(await sdk.DeleteSnapshots({ SnapshotIds: [SnapshotId ?? ""] }).catch(code)).toBe("InvalidSnapshotId.NotFound");
});

it("a guest that holds on to its disk keeps it, and the disk says so; a host that does not take one lets go of it", async () => {
  const instance = await one();
  const id = await disk();
  const [host] = vstation.hosts.filter((each) => each.machines.has(instance));
  await sdk.AttachDisks({ InstanceId: instance, DiskIds: [id] });
  await inDiskState(id, "ATTACHED");
  if (host === undefined) throw new Error("no host");
  // The host goes on telling that the disk is there.
  host.beforeSend = (message) => {
    if (message.type !== "seen") return message;
    const held = [{ id, sizeGiB: 10, made: true, problem: null }];
    return { ...message, instances: message.instances.map((each) => ({ ...each, disks: held })) };
  };
  await sdk.DetachDisks({ DiskIds: [id] });
  await inDiskState(id, "DETACHING");
  expect(await sdk.ResizeDisk({ DiskId: id, DiskSize: 20 }).catch(code)).toBe("ResourceBusy");
  await vstation.sql("update disk set due_at = now() where id = $1", [id]);
  const kept = await inDiskState(id, "ATTACHED");
  expect(kept.ErrorPrompt).toContain("did not let go");
  host.beforeSend = (message) => message;
  host.reportFull();
  await sdk.DetachDisks({ DiskIds: [id] });
  await inDiskState(id, "UNATTACHED");
});

it("ResetInstance gives a new system disk from the image, keeps the data disks, and starts the guest; a system disk grows while it runs", async () => {
  const instance = await one({ dataDisks: [{ type: "CLOUD_BASIC", sizeGiB: 10 }] });
  const before = await show(vstation.native, instance);
  await inDiskState(before.dataDisks[0]?.id ?? "", "ATTACHED");
  await machines.ResizeInstanceDisks({ InstanceId: instance, SystemDisk: { DiskSize: 5 }, ResizeOnline: true });
  await inDiskState(before.systemDisk.id, "ATTACHED");
  expect((await show(vstation.native, instance)).systemDisk.sizeGiB).toBe(5);
  const [host] = (await vstation.native.call("hostList", {})).hosts.filter(({ id }) => id === before.hostId);
  expect(host?.used.diskGiB).toBe(5);

  const holder = vstation.hosts.find(({ id }) => id === before.hostId);
  if (holder === undefined) throw new Error("no host");
  const tooSmall = { InstanceId: instance, SystemDisk: { DiskSize: 4 } };
  expect(await machines.ResetInstance(tooSmall).catch(code)).toBe("InvalidParameterValue.Range");
  // The first one is not over before the second has come.
  holder.setFaults(instance, { frozen: true });
  await machines.ResetInstance({ InstanceId: instance, SystemDisk: { DiskSize: 6 } });
  expect(await machines.ResetInstance({ InstanceId: instance }).catch(code)).toBe(
    "OperationDenied.InstanceOperationInProgress",
  );
  holder.setFaults(instance, { frozen: false });
  const [after] = await inState(vstation, [instance], "RUNNING");
  expect(after).toMatchObject({
    ip: before.ip,
    incarnation: before.incarnation + 1,
    dataDisks: before.dataDisks,
    latestOperation: { kind: "instance.reinstall", state: "SUCCEEDED" },
  });
  expect(after?.systemDisk).toMatchObject({ sizeGiB: 6 });
  expect(after?.systemDisk.id).not.toBe(before.systemDisk.id);
  expect(await described(before.systemDisk.id)).toBeUndefined();
});

it("quotas of disks are kept by starts and by new disks at once, and hold up nobody else's start", async () => {
  const quota = (quotas: object): Promise<unknown> =>
    postgres.query(vstation.database, "update account set quotas = $1", [quotas]);
  await quota({ disks: 3 });
  try {
    const dataDisks = [{ type: "LOCAL_BASIC" as const, sizeGiB: 10 }];
    const withDisk = Array.from({ length: 8 }, () => run(vstation.native, { dataDisks }));
    const plain = Array.from({ length: 4 }, () => run(vstation.native));
    const alone = Array.from({ length: 2 }, () =>
      vstation.native.call("diskCreate", { request: { name: "data", type: "LOCAL_BASIC", sizeGiB: 10 } }),
    );
    const [, ...outcomes] = await Promise.all([Promise.all(plain), ...[...withDisk, ...alone].map(codeOf)]);
    expect(outcomes.filter((outcome) => outcome === "ok")).toHaveLength(3);
    expect(outcomes.filter((outcome) => outcome === "QuotaExceeded")).toHaveLength(7);
    const { disks } = await vstation.native.call("diskList", { query: { usage: ["DATA_DISK"] } });
    expect(disks).toHaveLength(3);
  } finally {
    await quota({});
  }
});
