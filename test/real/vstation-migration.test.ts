/**
 * A running guest moves to another host, as VStation sees it: real PostgreSQL, a real VStation, simulated hosts that say what their
 * halves of it do. What the halves themselves do is tested with real libvirts.
 */
import { describe, expect, it } from "vitest";
import type { WantedMigration } from "../../src/api/agent.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { until } from "../until.ts";
import { areGone, inState, list, show, stop, terminate } from "./support/cloud.ts";
import { CvmCaller } from "./support/cvm.ts";
import { readyHost, subnetsOn } from "./support/network.ts";
import { copying, dropped, listening, simulatedMoves, stayed } from "./support/simulated-moves.ts";
import type { TestVstation } from "./support/vstation.ts";

let vstation: TestVstation;
let cvm: CvmCaller;
let source: SimHost;
let target: SimHost;

const moves = simulatedMoves((world) => ({ vstation, cvm, source, target } = world));
const { subject, manual, begin, migration, becomes, halves, half, isForgotten, copy, used } = moves;

describe("a move", () => {
  it("takes address, epoch and wanted to the target, and its owner sees nothing of it", async () => {
    const id = await subject();
    const before = await show(vstation.native, id);
    const { AddressSet } = await cvm.call("AllocateAddresses", { AddressCount: 1 });
    await cvm.call("AssociateAddress", { AddressId: AddressSet[0], InstanceId: id });
    const described = async () => (await cvm.call("DescribeInstances", { InstanceIds: [id] })).InstanceSet[0];
    const shown = await described();
    manual();
    const move = await begin(id);
    await halves(move);
    expect((await half(source, move)).half).toMatchObject({
      is: "source",
      targetHostId: target.id,
      address: target.options.underlayAddress,
      port: null,
      fate: null,
      epoch: 1,
    });
    const mine = (await half(target, move)).half;
    expect(mine).toMatchObject({ is: "target", sourceHostId: source.id, epoch: 2, incarnation: 1, resets: 0 });
    // The same machine, with the networks that it needs, before it is there.
    expect(mine.is === "target" && mine.spec).toEqual(source.specs.get(id));
    expect(subnetsOn(target)).toEqual(subnetsOn(source));
    expect(await described()).toEqual(shown);
    expect(await migration(move)).toMatchObject({ phase: "preparing", state: "PENDING", moved: false });
    await copy(move);
    expect(await migration(move)).toMatchObject({ state: "RUNNING", source: copying(50), target: listening });
    expect(await described()).toEqual(shown);
    source.halves.say(move, { is: "handing" });
    target.halves.arrive(move);
    await becomes(move, { phase: "clearing", state: "SUCCEEDED", moved: true });
    const after = await show(vstation.native, id);
    expect(after).toMatchObject({ hostId: target.id, epoch: 2, incarnation: 1, state: "RUNNING", ip: before.ip });
    expect(after.latestOperation).toMatchObject({ kind: "instance.migrate", state: "SUCCEEDED" });
    expect(await described()).toEqual(shown);
    for (const host of [source, target]) {
      await until(`the peer has moved, says ${host.options.name}`, () => {
        return host.peers.get(before.ip)?.vtep === target.options.underlayAddress;
      });
    }
    // The target's worker has it; the source still has its half, and knows the target's word.
    await isForgotten(target, move);
    expect(target.specs.get(id)?.nics[0]?.elasticIp).not.toBeNull();
    await half(source, move, (one) => one.half.is === "source" && one.half.fate === "arrived");
    source.halves.say(move, { is: "left", pauseMs: 12 });
    await becomes(move, { phase: "ended" });
    await isForgotten(source, move);
    expect(source.machines.has(id)).toBe(false);
    expect((await migration(move)).endedAt).not.toBeNull();
    expect(subnetsOn(source)).toEqual([]);
    // It is the target's in every way: what is asked of it is done there, and nothing was started.
    expect(target.machines.get(id)?.starts.size).toBe(0);
    await stop(vstation.native, [id]);
    await inState(vstation, [id], "STOPPED");
    await terminate(vstation.native, [id]);
    await areGone(vstation, [id]);
  });

  it("goes by itself to the host that is asked for, and back", async () => {
    const id = await subject();
    await readyHost(vstation);
    for (const to of [target, source, target]) {
      const move = await begin(id, to.id);
      await becomes(move, { phase: "ended", state: "SUCCEEDED" });
      expect((await show(vstation.native, id)).hostId).toBe(to.id);
    }
    expect((await show(vstation.native, id)).epoch).toBe(4);
    const { migrations } = await vstation.native.call("migrationList", { query: { instanceId: [id] } });
    expect(migrations.map(({ targetHostId }) => targetHostId)).toEqual([target.id, source.id, target.id]);
    const open = await vstation.native.call("migrationList", { query: { open: "true" } });
    expect(open.migrations).toEqual([]);
  });

  it("that the target refuses leaves it where it is, and says the target's reason", async () => {
    const id = await subject();
    manual();
    const move = await begin(id);
    await halves(move);
    target.halves.say(move, dropped);
    await half(source, move, (one) => one.half.is === "source" && one.half.fate === "dropped");
    source.halves.say(move, { is: "stayed", reason: "target_refused", message: "the target gave up" });
    await becomes(move, { phase: "ended", state: "FAILED" });
    expect((await migration(move)).error).toEqual({ code: "MigrationTargetRefused", message: dropped.message });
    for (const host of [source, target]) await isForgotten(host, move);
    expect(await show(vstation.native, id)).toMatchObject({ hostId: source.id, epoch: 1, state: "RUNNING" });
    // Its host looks after it again, and another try is free to come.
    source.halves.auto = target.halves.auto = true;
    await becomes(await begin(id), { phase: "ended", state: "SUCCEEDED" });
  });

  it("that fails at the source gives the guest back to it before the target has cleared up", async () => {
    const id = await subject();
    manual();
    const move = await begin(id);
    await copy(move);
    source.halves.say(move, stayed);
    await becomes(move, { phase: "clearing", state: "FAILED" });
    await isForgotten(source, move);
    await half(target, move, ({ wish }) => wish === "cancel");
    expect(await used()).toEqual([1024, 1024]);
    await expect(begin(id)).rejects.toMatchObject({
      code: "MigrationUnfinished",
      message: expect.stringContaining(target.id),
    });
    await stop(vstation.native, [id]);
    await inState(vstation, [id], "STOPPED");
    target.halves.say(move, { ...dropped, reason: "cancelled" });
    await becomes(move, { phase: "ended" });
    await isForgotten(target, move);
    expect((await migration(move)).error).toEqual({ code: "MigrationCopyFailed", message: "QEMU gave up" });
  });

  it("in two halves by post-copy is nobody's to call off, and moves when it is whole", async () => {
    const id = await subject();
    manual();
    const move = await begin(id);
    await copy(move);
    target.halves.say(move, { is: "fetching", port: 4568 });
    const feeding = { is: "feeding", remainingBytes: 7, broken: true } as const;
    source.halves.say(move, feeding);
    await becomes(move, { phase: "fetching" });
    await half(
      source,
      move,
      ({ half: told }) => told.is === "source" && told.fate === "fetching" && told.port === 4568,
    );
    await expect(vstation.native.call("migrationCancel", { params: { id: move } })).rejects.toMatchObject({
      code: "MigrationTooLate",
      message: expect.stringContaining("neither host can give it up"),
    });
    await until("the source's word", async () => (await migration(move)).source?.is === "feeding");
    expect((await migration(move)).source).toEqual(feeding);
    expect(await migration(move)).toMatchObject({ moved: false, state: "RUNNING", cancelling: false });
    target.halves.arrive(move);
    await becomes(move, { moved: true, state: "SUCCEEDED" });
  });

  it("is called off at the source's word alone, and not once it is decided", async () => {
    const id = await subject();
    manual();
    const move = await begin(id);
    await copy(move);
    const called = await vstation.native.call("migrationCancel", { params: { id: move } });
    expect(called).toMatchObject({ cancelling: true, state: "RUNNING" });
    for (const host of [source, target]) await half(host, move, ({ wish }) => wish === "cancel");
    source.halves.say(move, { is: "stayed", reason: "cancelled", message: "it was cancelled" });
    target.halves.say(move, { ...dropped, reason: "cancelled" });
    await becomes(move, { phase: "ended", state: "FAILED" });
    expect((await migration(move)).error?.code).toBe("MigrationCancelled");
    await expect(vstation.native.call("migrationCancel", { params: { id: move } })).rejects.toMatchObject({
      code: "MigrationTooLate",
    });
    const next = await begin(id);
    await copy(next);
    target.halves.arrive(next);
    await becomes(next, { moved: true });
    await expect(vstation.native.call("migrationCancel", { params: { id: next } })).rejects.toMatchObject({
      code: "MigrationTooLate",
    });
    await expect(vstation.native.call("migrationCancel", { params: { id: "mig-00000000" } })).rejects.toMatchObject({
      code: "MigrationNotFound",
    });
  });

  it("arrives all the same when it is called off too late", async () => {
    const id = await subject();
    manual();
    const move = await begin(id);
    await copy(move);
    source.halves.say(move, { is: "handing" });
    await becomes(move, { phase: "handing" });
    await vstation.native.call("migrationCancel", { params: { id: move } });
    target.halves.arrive(move);
    source.halves.say(move, { is: "left", pauseMs: null });
    await becomes(move, { phase: "ended", state: "SUCCEEDED" });
    expect((await show(vstation.native, id)).hostId).toBe(target.id);
  });
});

describe("in the middle of a move", () => {
  it("both hosts come back with all that they have, and nothing is concluded from what they do not name", async () => {
    const id = await subject();
    manual();
    const move = await begin(id);
    await copy(move);
    for (const host of [source, target]) {
      await host.disconnect();
      await until("its loss is seen", async () => {
        const { hosts } = await vstation.native.call("hostList", {});
        return hosts.find((one) => one.id === host.id)?.state === "unreachable";
      });
      await host.connect();
      host.reportFull();
    }
    await half(source, move, (one) => one.half.is === "source" && one.half.port === 4567);
    target.halves.arrive(move);
    await becomes(move, { moved: true });
    await target.disconnect();
    await target.connect();
    target.reportFull();
    await isForgotten(target, move);
    expect(await show(vstation.native, id)).toMatchObject({ hostId: target.id, state: "RUNNING", attention: null });
    const [seen] = await vstation.sql("select seen ->> 'is' as seen from instance");
    expect(seen).toEqual({ seen: "running" });
    source.halves.say(move, { is: "left", pauseMs: null });
    await becomes(move, { phase: "ended" });
  });

  it.each(["preparing", "copying", "clearing"] as const)("VStation is killed (%s) and goes on", async (phase) => {
    const id = await subject();
    manual();
    const move = await begin(id);
    await halves(move);
    if (phase !== "preparing") await copy(move);
    if (phase === "clearing") {
      target.halves.arrive(move);
      await becomes(move, { phase });
    }
    await vstation.kill();
    // What the halves say meanwhile is told when it is back; they need no VStation for it.
    if (phase === "copying") {
      target.halves.arrive(move);
      source.halves.say(move, { is: "left", pauseMs: null });
    }
    await vstation.start();
    if (phase === "preparing") {
      await copy(move);
      target.halves.arrive(move);
    }
    if (phase !== "copying") {
      await until("the source is told the target's word", () => {
        const one = source.halves.wanted.get(move)?.half;
        return one?.is === "source" && one.fate === "arrived";
      });
      source.halves.say(move, { is: "left", pauseMs: null });
    }
    await becomes(move, { phase: "ended", state: "SUCCEEDED" });
    expect(await show(vstation.native, id)).toMatchObject({ hostId: target.id, epoch: 2, state: "RUNNING" });
    expect(await used()).toEqual([0, 1024]);
  });

  it("its deadline calls it off", async () => {
    const id = await subject();
    manual();
    const move = await begin(id);
    await copy(move);
    await vstation.sql("update migration set deadline = now()");
    for (const host of [source, target]) await half(host, move, ({ wish }) => wish === "cancel");
    source.halves.say(move, { is: "stayed", reason: "cancelled", message: "it was cancelled" });
    target.halves.say(move, { ...dropped, reason: "cancelled" });
    await becomes(move, { phase: "ended", state: "FAILED" });
    expect((await show(vstation.native, id)).latestOperation?.error?.code).toBe("MigrationNotInTime");
  });

  it("a host speaks only for its own half, and a final word stands", async () => {
    const id = await subject();
    manual();
    const move = await begin(id);
    await copy(move);
    const rogue = await readyHost(vstation);
    await until("it knows what is its own", () => rogue.halves.isTold);
    rogue.halves.wanted.set(move, source.halves.wanted.get(move) as WantedMigration);
    rogue.halves.say(move, { is: "left", pauseMs: null });
    await until("it is refused", () => vstation.errors.length > 0);
    expect(vstation.errors.splice(0)).toEqual([expect.objectContaining({ msg: expect.stringMatching(/not its own/) })]);
    expect((await migration(move)).source).toEqual(copying(50));
    rogue.halves.take([], true);
    target.halves.say(move, dropped);
    await becomes(move, { phase: "copying" });
    await half(source, move, (one) => one.half.is === "source" && one.half.fate === "dropped");
    target.halves.say(move, listening);
    source.halves.say(move, stayed);
    await becomes(move, { phase: "ended" });
    expect((await migration(move)).target).toEqual(dropped);
  });

  it("mere progress is written once a second, a change of phase at once", async () => {
    const id = await subject();
    manual();
    const move = await begin(id);
    await copy(move);
    const changes = async () =>
      Number(
        (await vstation.sql<{ n: number }>(`select count(*)::int as n from event where subject_id = '${move}'`))[0]?.n,
      );
    const before = await changes();
    const began = performance.now();
    for (let left = 49; left > 0; left--) {
      source.halves.say(move, copying(left));
      await until("it is acknowledged", () => source.idle);
    }
    const seconds = Math.ceil((performance.now() - began) / 1_000);
    expect((await changes()) - before).toBeLessThanOrEqual(seconds + 1);
    source.halves.say(move, { is: "handing" });
    await becomes(move, { phase: "handing" });
  });

  it("nothing is changed by its owner, and it is not moved twice", async () => {
    const id = await subject();
    const { ids } = await vstation.native.call("diskCreate", {
      request: { name: "d", type: "CLOUD_PREMIUM", sizeGiB: 10 },
    });
    manual();
    const move = await begin(id);
    const busy = { code: "OperationInProgress" };
    const { native } = vstation;
    const request = { ids: [id] };
    await expect(stop(native, [id])).rejects.toMatchObject(busy);
    await expect(native.call("instanceReboot", { request })).rejects.toMatchObject(busy);
    await expect(terminate(native, [id])).rejects.toMatchObject(busy);
    await expect(
      native.call("instanceResize", { request: { id, instanceType: "T1.MEDIUM2", mayStop: true } }),
    ).rejects.toMatchObject(busy);
    await expect(native.call("instanceReinstall", { params: { id }, request: {} })).rejects.toMatchObject(busy);
    await expect(native.call("diskAttach", { request: { ids, instanceId: id } })).rejects.toMatchObject(busy);
    const diskId = (await show(native, id)).systemDisk.id;
    await expect(native.call("diskModify", { params: { id: diskId }, request: { sizeGiB: 20 } })).rejects.toMatchObject(
      busy,
    );
    await expect(native.call("snapshotCreate", { request: { diskId } })).rejects.toMatchObject(busy);
    await expect(native.call("imageCreate", { request: { instanceId: id, name: "i" } })).rejects.toMatchObject(busy);
    await expect(begin(id)).rejects.toMatchObject(busy);
    const hostname = { InstanceIds: [id], HostName: "other", AutoReboot: true };
    expect(await cvm.refusal("ModifyInstancesAttribute", hostname)).toBe("OperationDenied.InstanceOperationInProgress");
    expect(await cvm.refusal("TerminateInstances", { InstanceIds: [id] })).toBe(
      "OperationDenied.InstanceOperationInProgress",
    );
    expect((await list(native)).map(({ state }) => state)).toEqual(["RUNNING"]);
    await copy(move);
    target.halves.arrive(move);
    await becomes(move, { state: "SUCCEEDED" });
    await stop(native, [id]);
    await inState(vstation, [id], "STOPPED");
  });
});
