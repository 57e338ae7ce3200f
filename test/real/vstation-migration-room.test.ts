/** What a move takes at both of its hosts, and which ones are refused; as VStation sees it (vstation-migration.test.ts). */
import { describe, expect, it } from "vitest";
import type { HostId, InstanceId } from "../../src/lib/ids.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { until } from "../until.ts";
import { inState, run, show, stop } from "./support/cloud.ts";
import { readyHost } from "./support/network.ts";
import { dropped, simulatedMoves, stayed } from "./support/simulated-moves.ts";
import type { TestVstation } from "./support/vstation.ts";

let vstation: TestVstation;
let source: SimHost;
let target: SimHost;

const moves = simulatedMoves((world) => ({ vstation, source, target } = world));
const { subject, manual, begin, becomes, halves, half, isForgotten, copy, used, expectRoom } = moves;

describe("room", () => {
  it("is taken at both ends until the source has let go, and given back where it came to nothing", async () => {
    const id = await subject({ instanceType: "S5.2XLARGE16" });
    manual();
    expect(await used()).toEqual([16_384, 0]);
    await expectRoom(true);
    const move = await begin(id);
    await expectRoom(false);
    await copy(move);
    target.halves.arrive(move);
    await becomes(move, { moved: true });
    await expectRoom(false);
    source.halves.say(move, { is: "left", pauseMs: null });
    await becomes(move, { phase: "ended" });
    await expectRoom(true);
    const back = await begin(id, source.id);
    await expectRoom(false);
    await halves(back);
    source.halves.say(back, dropped);
    target.halves.say(back, stayed);
    await becomes(back, { phase: "ended", state: "FAILED" });
    await expectRoom(true);
    // A VStation that begins anew reads the same from SQL.
    const again = await begin(id, source.id);
    await vstation.kill();
    await vstation.start();
    await expectRoom(false);
    await halves(again);
  });

  it("is free at a target that has nothing of it, and its owner's again, where its source is lost", async () => {
    const id = await subject({ instanceType: "S5.2XLARGE16" });
    manual();
    const move = await begin(id);
    await copy(move);
    await source.disconnect();
    target.halves.say(move, { ...dropped, reason: "link_lost", message: "the source was lost" });
    await until("the target's word to be known", async () => {
      const [row] = await vstation.sql("select seen_target ->> 'is' as is from migration");
      return row?.["is"] === "dropped";
    });
    // For a while it is waited for why its guest stayed.
    await becomes(move, { phase: "copying" });
    expect(await used()).toEqual([16_384, 16_384]);
    await vstation.sql("update host set seen_at = seen_at - interval '30 seconds' where id = $1", [source.id]);
    const { error } = await becomes(move, { state: "FAILED" });
    expect(error?.code).toBe("MigrationLinkLost");
    await isForgotten(target, move);
    expect(await used()).toEqual([16_384, 0]);
    await expectRoom(true);
    // Nor does it hold up who empties the target.
    const params = { id: target.id };
    await vstation.native.call("hostDrain", { params, request: {} });
    expect((await vstation.native.call("hostGet", { params })).drain?.left).toEqual([]);
    await vstation.native.call("hostRemove", { params, query: {} });
    await source.connect();
    source.halves.say(move, stayed);
    await becomes(move, { phase: "ended", state: "FAILED", moved: false });
    await inState(vstation, [id], "RUNNING");
  });

  it("takes disks of its host's own storage along, and room for them at both ends while it lasts", async () => {
    const dataDisks = [{ type: "LOCAL_BASIC" as const, sizeGiB: 20 }];
    const id = await subject({ systemDiskType: "LOCAL_BASIC", dataDisks });
    const diskGiB = async (): Promise<number[]> => {
      const { hosts } = await vstation.native.call("hostList", {});
      return [source, target].map(({ id: host }) => hosts.find((one) => one.id === host)?.used.diskGiB ?? -1);
    };
    const [held] = await diskGiB();
    expect(await diskGiB()).toEqual([held, 0]);
    manual();
    const move = await begin(id);
    const told = (await half(source, move)).half;
    expect(told.is === "source" && [told.disks.system, told.disks.data.map((disk) => disk.sizeGiB)]).toEqual([
      true,
      [20],
    ]);
    expect(await diskGiB()).toEqual([held, held]);
    await copy(move);
    source.halves.say(move, { is: "handing" });
    target.halves.arrive(move);
    await becomes(move, { phase: "clearing", moved: true });
    // What the source still has of them counts there.
    expect(await diskGiB()).toEqual([held, held]);
    expect(await vstation.sql("select distinct host_id from disk where usage = 'DATA_DISK'")).toEqual([
      { host_id: target.id },
    ]);
    source.halves.say(move, { is: "left", pauseMs: 20 });
    await becomes(move, { phase: "ended" });
    expect(await diskGiB()).toEqual([0, held]);
  });

  it("is not placed where there is no room for its disks", async () => {
    const dataDisks = [{ type: "LOCAL_BASIC" as const, sizeGiB: 100 }];
    const [id] = await run(vstation.native, { systemDiskType: "LOCAL_BASIC", dataDisks });
    if (id === undefined) throw new Error("no id");
    await inState(vstation, [id], "RUNNING");
    await readyHost(vstation, { shape: { cores: 8, memoryMiB: 32_768, diskGiB: 90 } });
    await expect(begin(id)).rejects.toMatchObject({ code: "InsufficientCapacity" });
    const roomy = await readyHost(vstation, { shape: { cores: 8, memoryMiB: 32_768, diskGiB: 400 } });
    await becomes(await begin(id), { phase: "ended", state: "SUCCEEDED" });
    expect((await show(vstation.native, id)).hostId).toBe(roomy.id);
  });

  it("of a group is kept: no host gets more members than its affinity allows", async () => {
    const { id: groupId } = await vstation.native.call("groupCreate", { request: { name: "apart" } });
    const id = await subject({ groupId });
    const [other] = await run(vstation.native, { groupId, systemDiskType: "CLOUD_PREMIUM" });
    await inState(vstation, [other as InstanceId], "RUNNING");
    await expect(begin(id)).rejects.toMatchObject({ message: expect.stringMatching(/disaster-recover group/) });
    const third = await readyHost(vstation);
    const move = await begin(id);
    await becomes(move, { phase: "ended", state: "SUCCEEDED" });
    expect((await show(vstation.native, id)).hostId).toBe(third.id);
  });
});

describe("what cannot be", () => {
  it("is refused by its name, and nothing was changed", async () => {
    const id = await subject();
    const { native } = vstation;
    const [stopped] = await run(native);
    if (stopped === undefined) throw new Error("no id");
    await inState(vstation, [stopped], "RUNNING");
    await stop(native, [stopped]);
    await inState(vstation, [stopped], "STOPPED");
    await expect(begin(stopped)).rejects.toMatchObject({ code: "WrongState" });
    await expect(begin("ins-00000000" as InstanceId)).rejects.toMatchObject({ code: "InstanceNotFound" });
    await expect(begin(id, source.id)).rejects.toMatchObject({ code: "MigrationSameHost" });
    await expect(begin(id, "host-00000000" as HostId)).rejects.toMatchObject({ code: "HostNotFound" });
    const cordon = (cordoned: boolean) =>
      native.call("hostModify", { params: { id: target.id }, request: { cordoned } });
    await cordon(true);
    await expect(begin(id, target.id)).rejects.toMatchObject({ code: "HostCordoned" });
    await expect(begin(id)).rejects.toMatchObject({ code: "InsufficientCapacity" });
    await cordon(false);
    const small = await readyHost(vstation, { shape: { cores: 1, memoryMiB: 512, diskGiB: 10 } }).catch(
      () => undefined,
    );
    const tiny = small ?? vstation.hosts[2];
    if (tiny === undefined) throw new Error("no small host");
    await expect(begin(id, tiny.id)).rejects.toMatchObject({ code: "InsufficientCapacity" });
    await target.disconnect();
    await until("its loss is seen", async () => {
      const host = await native.call("hostGet", { params: { id: target.id } });
      return host.state === "unreachable";
    });
    await expect(begin(id, target.id)).rejects.toMatchObject({ code: "HostUnreachable" });
    expect(await vstation.sql("select id from migration")).toEqual([]);
    expect(await vstation.sql("select id from operation where kind = 'instance.migrate'")).toEqual([]);
    const attempt = native.call("hostRemove", { params: { id: source.id }, query: {} });
    await expect(attempt).rejects.toMatchObject({ code: "HostInUse" });
  });
});
