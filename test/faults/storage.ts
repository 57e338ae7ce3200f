/**
 * The life of a disk and of its snapshot beside a running guest, by the SDK as a client with patience asks: made, put in, grown,
 * limited, copied while in use, taken out, overwritten by the copy, put in again, and removed without a trace. A request whose answer
 * was lost is sent again; when it is then refused because it took place, that is what was wanted.
 */
import { randomUUID } from "node:crypto";
import type { LabSession } from "../../bench/lab-session.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { expectThat, until } from "../until.ts";
import { patienceMs } from "./bed.ts";
import { insist } from "./requests.ts";

export async function storageLife(lab: LabSession, instanceId: InstanceId): Promise<void> {
  const { cbs, zone } = lab.cloud;
  const created = {
    Placement: { Zone: zone },
    DiskChargeType: "POSTPAID_BY_HOUR",
    DiskType: "CLOUD_PREMIUM",
    DiskName: "subject",
    DiskSize: 10,
    ClientToken: randomUUID(),
  };
  const { DiskIdSet } = await insist(() => cbs.CreateDisks(created));
  const id = DiskIdSet?.[0] ?? "";
  const disk = async () => (await insist(() => cbs.DescribeDisks({ DiskIds: [id] }))).DiskSet?.[0];
  const untilDisk = (state: string, size: number): Promise<true> =>
    until(
      `${id} is ${state} with ${size} GiB`,
      async () => {
        const now = await disk();
        const is = `${now?.DiskState} with ${now?.DiskSize}: ${now?.ErrorPrompt}`;
        expectThat(now?.DiskState === state && now.DiskSize === size, is);
        return true;
      },
      patienceMs,
    );
  const attach = (): Promise<void> =>
    ask(() => cbs.AttachDisks({ DiskIds: [id], InstanceId: instanceId }), /InvalidDisk.Attached/);
  const detach = (): Promise<void> => ask(() => cbs.DetachDisks({ DiskIds: [id] }), /StateError/);
  const resize = (size: number): Promise<void> =>
    ask(() => cbs.ResizeDisk({ DiskId: id, DiskSize: size }), /DiskSizeNotMatch/);

  await attach();
  await untilDisk("ATTACHED", 10);
  await resize(20);
  await untilDisk("ATTACHED", 20);
  await insist(() => cbs.ModifyDiskExtraPerformance({ DiskId: id, ThroughputPerformance: 100 }));

  const name = randomUUID();
  const made = async () => {
    const { SnapshotSet } = await insist(() =>
      cbs.DescribeSnapshots({ Filters: [{ Name: "snapshot-name", Values: [name] }] }),
    );
    return SnapshotSet?.[0];
  };
  // There is no token for it: one that was made without an answer is there under its name.
  await insist(async () => {
    if ((await made()) === undefined) await cbs.CreateSnapshot({ DiskId: id, SnapshotName: name });
  });
  const snapshotId = await until(
    `the snapshot of ${id} is there`,
    async () => {
      const snapshot = await made();
      expectThat(snapshot?.SnapshotState === "NORMAL", `it is ${snapshot?.SnapshotState} at ${snapshot?.Percent} %`);
      return snapshot?.SnapshotId ?? "";
    },
    patienceMs,
  );

  await detach();
  await untilDisk("UNATTACHED", 20);
  await resize(30);
  await untilDisk("UNATTACHED", 30);
  await insist(() => cbs.ApplySnapshot({ SnapshotId: snapshotId, DiskId: id }));
  await untilDisk("UNATTACHED", 30);
  await resize(40);
  await attach();
  await untilDisk("ATTACHED", 40);
  await detach();
  await untilDisk("UNATTACHED", 40);

  await ask(() => cbs.DeleteSnapshots({ SnapshotIds: [snapshotId] }), /InvalidSnapshotId.NotFound/);
  await ask(() => cbs.TerminateDisks({ DiskIds: [id] }), /InvalidDiskId.NotFound/);
  expectThat((await disk()) === undefined, `${id} is still listed`);
}

/** Sent until it is accepted, or refused in a way that says that it took place. */
async function ask(work: () => Promise<unknown>, done: RegExp): Promise<void> {
  let tries = 0;
  await insist(async () => {
    tries++;
    try {
      await work();
    } catch (error) {
      const { code } = error as { code?: string };
      if (tries > 1 && done.test(code ?? "")) return;
      throw error;
    }
  });
}
