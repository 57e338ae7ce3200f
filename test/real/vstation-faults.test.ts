/**
 * VStation and PostgreSQL killed in the middle of everything. The crash points are collected from the source: each one is passed
 * by the walk below with the process ending itself there, once, and a point that the walk does not reach fails the test.
 */
import { describe, expect, it } from "vitest";
import type { NativeClient } from "../../src/api/native/client.ts";
import { isFailure } from "../../src/lib/errors.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { familyOf } from "../faults/cases.ts";
import { crashPoints } from "../faults/points.ts";
import { until } from "../until.ts";
import { areGone, inState, list, run, show, start, stop, terminate } from "./support/cloud.ts";
import { CvmCaller } from "./support/cvm.ts";
import { vstationForEach } from "./support/vstation-for.ts";
import { persistently, type TestVstation } from "./support/vstation.ts";

/** PostgreSQL that was killed recovers first, which takes many seconds of a busy disk. */
const recoveryMs = 120_000;

/** The walk waits for no turn and drains no host: vstation-migration-edges.test.ts kills at these. */
const ofTheQueue = ["queue.drain", "queue.refused", "queue.try"];

const points = crashPoints()
  .filter((point) => point.program === "vstation" && !ofTheQueue.includes(familyOf(point)))
  .map(({ name }) => name);

let vstation: TestVstation;

const postgres = vstationForEach((made) => {
  vstation = made;
  vstation.sharedDir = "/shared";
});

/** Asks for a change until it is accepted, or finds that an earlier try whose answer was lost had been. */
async function insist(work: (native: NativeClient) => Promise<unknown>): Promise<void> {
  await persistently(async () => {
    try {
      await work(vstation.native);
    } catch (error) {
      if (!isFailure(error, "conflict", "not_found")) throw error;
    }
  });
}

/** Placement reads what a host offers in its own time, so a walk that begins at once may find one of two. */
async function placementKnowsBoth(): Promise<void> {
  const room = async (): Promise<number> => {
    const { instanceTypes } = await persistently(() => vstation.native.call("instanceTypeList", {}));
    return instanceTypes[0]?.room ?? 0;
  };
  await vstation.addHost();
  const one = await until("room for instances", async () => (await room()) || undefined);
  await vstation.addHost();
  await until("twice the room", async () => (await room()) === 2 * one);
}

/** A disk that is plugged in, copied to a snapshot and taken out again; nothing of it is left. */
async function diskAndSnapshot(instanceId: InstanceId): Promise<void> {
  const request = { name: "data", sizeGiB: 10, clientToken: "walk" };
  const { ids } = await persistently(() => vstation.native.call("diskCreate", { request }));
  const [diskId] = ids;
  if (diskId === undefined) throw new Error("no id");
  const query = { id: [diskId] };
  const becomes = (state: string) =>
    until(`${diskId} ${state}`, async () => {
      const { disks } = await persistently(() => vstation.native.call("diskList", { query }));
      return disks[0]?.state === state ? true : undefined;
    });
  await insist((native) => native.call("diskAttach", { request: { ids, instanceId } }));
  await becomes("ATTACHED");
  const snapshots = async () => (await persistently(() => vstation.native.call("snapshotList", {}))).snapshots;
  await insist(async (native) => {
    if ((await snapshots()).length === 0) await native.call("snapshotCreate", { request: { diskId, name: "copy" } });
  });
  const made = await until("the snapshot", async () => {
    const [snapshot] = await snapshots();
    return snapshot?.state === "NORMAL" ? snapshot : undefined;
  });
  await insist((native) => native.call("snapshotDelete", { params: { id: made.id } }));
  await insist((native) => native.call("diskDetach", { request: { ids } }));
  await becomes("UNATTACHED");
  await insist((native) => native.call("diskDelete", { params: { id: diskId } }));
  expect((await persistently(() => vstation.native.call("diskList", { query }))).disks).toEqual([]);
  expect(await snapshots()).toEqual([]);
}

/** While it runs; nothing of the move is open any more. */
async function toTheOtherHost(id: InstanceId): Promise<void> {
  const { hostId, incarnation } = await persistently(() => show(vstation.native, id));
  const to = vstation.hosts.find((host) => host.id !== hostId)?.id ?? null;
  await insist((native) => native.call("instanceMigrate", { params: { id }, request: { to } }));
  await until("the move is over", async () => {
    const { migrations } = await persistently(() => vstation.native.call("migrationList", {}));
    return migrations.length === 1 && migrations[0]?.phase === "ended";
  });
  const [moved] = await inState(vstation, [id], "RUNNING");
  expect(moved).toMatchObject({ hostId: to, incarnation });
}

/** No start was made twice, nothing is under way, and nothing is held by what is over. */
async function expectClean(): Promise<void> {
  for (const host of vstation.hosts) {
    for (const machine of host.machines.values()) {
      for (const count of machine.starts.values()) expect(count).toBe(1);
    }
  }
  const open =
    "select i.id, o.kind, i.power, i.seen, i.due_at from operation o join instance i on i.id = o.instance_id";
  expect(await vstation.sql(`${open} where o.ended_at is null`)).toEqual([]);
  const held = "select a.ip from address a join instance i on i.id = a.instance_id";
  expect(await vstation.sql(`${held} where a.released_at is null and i.deleted_at is not null`)).toEqual([]);
  expect(await vstation.sql(`${held} where a.released_at is null and a.held_as <> 'own'`)).toEqual([]);
}

describe("VStation killed", () => {
  it("has points to be killed at", () => {
    expect(points.length).toBeGreaterThan(10);
    expect(new Set(points).size).toBe(points.length);
  });

  it.each(points)("at %s, every accepted request ends as it should", async (point) => {
    await vstation.supervise({ crashAt: point });
    await until("credentials", () => vstation.credentials);
    await placementKnowsBoth();
    // Both are empty: the lower id is tried first, and its starts fail.
    const first = vstation.hosts.toSorted((a, b) => (a.id < b.id ? -1 : 1))[0];
    first?.setDefaultFaults({ startFails: { reason: "start_failed", message: "no" } });
    const walker = { clientToken: "walk", systemDiskType: "CLOUD_PREMIUM" as const };
    const ids = await persistently(() => run(vstation.native, walker));
    expect(ids).toHaveLength(1);
    const [running] = await inState(vstation, ids, "RUNNING");
    expect(running?.epoch).toBe(2);
    const [id] = ids;
    if (id === undefined) throw new Error("no id");
    // By the other of the two APIs.
    const rename = { InstanceIds: [id], InstanceName: "renamed" };
    await persistently(() => new CvmCaller(vstation.credentials).call("ModifyInstancesAttribute", rename));
    expect((await persistently(() => show(vstation.native, id))).name).toBe("renamed");
    await insist((native) => stop(native, ids));
    await inState(vstation, ids, "STOPPED");
    await insist((native) => start(native, ids));
    await inState(vstation, ids, "RUNNING");
    await diskAndSnapshot(id);
    const { vpcId: VpcId, subnetId: SubnetId } = await persistently(() => show(vstation.native, id));
    const elsewhere = { VpcId, SubnetId, PrivateIpAddresses: ["10.200.77.7"] };
    const move = { InstanceIds: ids, VirtualPrivateCloud: elsewhere };
    await persistently(() => new CvmCaller(vstation.credentials).call("ModifyInstancesVpcAttribute", move));
    const [moved] = await inState(vstation, ids, "RUNNING");
    expect(moved?.ip).toBe("10.200.77.7");
    const request = { id, instanceType: "S5.MEDIUM2", mayStop: true };
    await insist((native) => native.call("instanceResize", { request }));
    const [resized] = await inState(vstation, ids, "RUNNING");
    expect(resized).toMatchObject({ instanceType: "S5.MEDIUM2", vcpus: 2 });
    await toTheOtherHost(id);
    expect(await persistently(() => run(vstation.native, walker))).toEqual(ids);
    expect(await persistently(() => list(vstation.native))).toHaveLength(1);
    await insist((native) => terminate(native, ids));
    await areGone(vstation, ids);
    expect(vstation.crashed).toBe(true);
    await expectClean();
  });
});

describe("PostgreSQL killed", () => {
  it("again and again under load costs VStation no restart and no request its end", async () => {
    await vstation.start();
    // Room for all that the workers may make: a start that takes long has them make more between two looks.
    await vstation.addHosts(3, { shape: { cores: 128, memoryMiB: 262_144, diskGiB: 1_000 } });
    const { pid } = vstation;
    const made: InstanceId[] = [];
    const enough = new AbortController();
    const load = async (worker: number): Promise<void> => {
      for (let n = 0; !enough.signal.aborted && n < 60; n++) {
        made.push(...(await persistently(() => run(vstation.native, { clientToken: `w${worker}-${n}` }))));
      }
    };
    const workers = [0, 1, 2].map(load);
    for (let round = 0; round < 3; round++) {
      const before = made.length;
      await until("some more instances", () => made.length > before + 3, recoveryMs);
      await postgres.kill();
      await expect(list(vstation.native)).rejects.toMatchObject({ code: "DatabaseUnavailable" });
      await postgres.start();
    }
    const before = made.length;
    await until("instances made after the last kill", () => made.length > before + 3, recoveryMs);
    enough.abort();
    await Promise.all(workers);
    expect(new Set(made).size).toBe(made.length);
    await until("all of them run", async () => {
      const all = await list(vstation.native, { limit: 500 });
      return all.length === made.length && all.every((one) => one.state === "RUNNING");
    });
    await until("nothing is under way", async () => {
      const open = await vstation.sql("select id from operation where ended_at is null");
      return open.length === 0;
    });
    await expectClean();
    expect(vstation.pid).toBe(pid);
    const ids = made.slice(0, 1);
    await stop(vstation.native, ids);
    await inState(vstation, ids, "STOPPED");
    // On a machine that is busy enough a host is missed for a moment.
    await until(
      "it needs no attention",
      async () => (await show(vstation.native, ids[0] as InstanceId)).attention === null,
    );
  }, 600_000);
});
