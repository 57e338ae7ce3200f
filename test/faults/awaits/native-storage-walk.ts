/** A disk's and a snapshot's life by the native API, as the command line uses it, beside a guest that runs. */
import type { LabSession } from "../../../bench/lab-session.ts";
import type { DiskWire } from "../../../src/api/native/storage.ts";
import type { DiskId, InstanceId, SnapshotId } from "../../../src/lib/ids.ts";
import { expectThat, until } from "../../until.ts";
import { patienceMs } from "../bed.ts";
import { ask, insist } from "../requests.ts";

export async function nativeStorage(lab: LabSession, instanceId: InstanceId, tag: string): Promise<void> {
  const { native } = lab.cloud;
  const created = { name: tag, sizeGiB: 10, clientToken: `${tag}d` };
  const { ids } = await insist(() => native.call("diskCreate", { request: created }));
  const [id] = ids;
  if (id === undefined) throw new Error("the answer has no id");
  await ask(() => native.call("diskAttach", { request: { ids, instanceId } }));
  await diskIs(lab, id, ({ state, instanceId: holder }) => state === "ATTACHED" && holder === instanceId);
  const change = { sizeGiB: 20, limits: { iops: 500 } };
  await ask(() => native.call("diskModify", { params: { id }, request: change }));
  await diskIs(lab, id, ({ state, sizeGiB }) => state === "ATTACHED" && sizeGiB === 20);
  const snapshotId = await snapshotOf(lab, id, tag);
  await ask(() => native.call("diskDetach", { request: { ids } }));
  await diskIs(lab, id, ({ state }) => state === "UNATTACHED");
  await ask(() => native.call("snapshotApply", { params: { id: snapshotId }, request: { diskId: id } }));
  await diskIs(lab, id, ({ state }) => state === "UNATTACHED");
  await ask(() => native.call("snapshotDelete", { params: { id: snapshotId } }));
  await ask(() => native.call("diskDelete", { params: { id } }));
}

async function snapshotOf(lab: LabSession, diskId: DiskId, name: string): Promise<SnapshotId> {
  const { native } = lab.cloud;
  const made = async () => (await insist(() => native.call("snapshotList", { query: { name: [name] } }))).snapshots[0];
  await insist(async () => {
    if ((await made()) === undefined) await native.call("snapshotCreate", { request: { diskId, name } });
  });
  return until(
    `the snapshot ${name} is there`,
    async () => {
      const snapshot = await made();
      expectThat(snapshot?.state === "NORMAL", `it is ${snapshot?.state} at ${snapshot?.percent} %`);
      if (snapshot === undefined) throw new Error("it is not listed");
      return snapshot.id;
    },
    patienceMs,
  );
}

async function diskIs(lab: LabSession, id: DiskId, passes: (disk: DiskWire) => boolean): Promise<void> {
  await until(
    `${id} is as it should be`,
    async () => {
      const { disks } = await insist(() => lab.cloud.native.call("diskList", { query: { id: [id] } }));
      const [disk] = disks;
      expectThat(disk !== undefined && passes(disk), JSON.stringify(disk));
      return true;
    },
    patienceMs,
  );
}
