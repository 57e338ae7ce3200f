/** Room, groups, addresses, bursts, and two VStations that both want to place. */
import pg from "pg";
import { describe, expect, it } from "vitest";
import { cvm } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/index.js";
import { sdkConfig } from "../../bench/cloud.ts";
import { isFailure } from "../../src/lib/errors.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { until } from "../until.ts";
import { areGone, inState, list, run, stop, terminate, type RunInput } from "./support/cloud.ts";
import { vstationForEach } from "./support/vstation-for.ts";
import { imageId, persistently, TestVstation } from "./support/vstation.ts";

let vstation: TestVstation;

const postgres = vstationForEach((made) => void (vstation = made));

const small = { cores: 4, memoryMiB: 4096, diskGiB: 100 };
const dry = (request: RunInput) => run(vstation.native, { ...request, dryRun: true });

/** Something placed waits in its commit for the zone's row; the lease's renewal, which may wait there too, does not count. */
async function aCommitWaits(): Promise<boolean> {
  const waiting = await vstation.sql(
    "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like '%peer_generation%'",
  );
  return waiting.length > 0;
}

/** Resolves when so many requests for instances have come, answered or not. */
async function isAsked(times: number): Promise<void> {
  await until("the request to be there", async () => {
    const asked = await vstation.sql("select id from audit where action = 'instanceRun'");
    return asked.length === times;
  });
}

/** What SQL says is taken on each host must fit into what the host offers. */
async function expectNotOversold(): Promise<void> {
  const rows = await vstation.sql<{ vcpus: number; memory: number; cores: number; offered: number }>(`
    select sum(i.vcpus)::int as vcpus, sum(i.memory_mib)::int as memory,
      (h.inventory ->> 'cores')::int as cores, (h.inventory ->> 'memoryMiB')::int as offered
    from host h join instance i on i.host_id = h.id and i.deleted_at is null group by h.id`);
  for (const { vcpus, memory, cores, offered } of rows) {
    expect(vcpus).toBeLessThanOrEqual(cores);
    expect(memory).toBeLessThanOrEqual(offered);
  }
  const twice = await vstation.sql("select ip from address where released_at is null group by ip having count(*) > 1");
  expect(twice).toEqual([]);
}

describe("room", () => {
  it("that is not there is an answer at once, and nothing was made", async () => {
    await vstation.start();
    await vstation.addHost({ shape: small });
    const { native } = vstation;
    await expect(run(native, { instanceType: "S5.4XLARGE64" })).rejects.toMatchObject({ code: "InsufficientCapacity" });
    await expect(run(native, { count: 5 })).rejects.toMatchObject({ code: "InsufficientCapacity" });
    expect(await vstation.sql("select id from instance")).toEqual([]);
    expect(await vstation.sql("select id from address")).toEqual([]);
    expect(await dry({ count: 4 })).toEqual([]);
    const some = await run(native, { count: 9, minCount: 2, name: "n" });
    expect(some).toHaveLength(4);
    const names = (await list(native)).map(({ name }) => name);
    expect(names.toSorted((a, b) => (a < b ? -1 : 1))).toEqual(["n1", "n2", "n3", "n4"]);
    await expect(dry({})).rejects.toMatchObject({ code: "InsufficientCapacity" });
    await inState(vstation, some, "RUNNING");
    await terminate(native, some);
    await areGone(vstation, some);
    expect(await run(native, { count: 4 })).toHaveLength(4);
    await expectNotOversold();
  });

  it("of hosts that are still dialling in after a restart is waited for, and that of a host that stays away is told of", async () => {
    await vstation.start();
    const host = await vstation.addHost({ shape: small });
    await host.disconnect();
    await vstation.kill();
    await vstation.sql("update host set session = null");
    await vstation.start();
    const asked = run(vstation.native);
    await isAsked(1);
    await host.connect();
    await inState(vstation, await asked, "RUNNING");
    await host.disconnect();
    await until("the host to be missed", async () => {
      const { hosts } = await vstation.native.call("hostList", { query: {} });
      return hosts[0]?.state === "unreachable";
    });
    const refused = {
      code: "InsufficientCapacity",
      message: expect.stringMatching(/out of reach now: 1\./) as unknown,
    };
    await expect(run(vstation.native)).rejects.toMatchObject(refused);
  });

  it("is waited for when it is asked before the first host of a new zone has joined", async () => {
    await vstation.start();
    const asked = run(vstation.native);
    await isAsked(1);
    await vstation.addHost({ shape: small });
    expect(await inState(vstation, await asked, "RUNNING")).toHaveLength(1);
  });

  it("is what a zone without hosts lacks, and is waited for from when its first host has joined", async () => {
    await vstation.start();
    const refused = { code: "InsufficientCapacity", message: expect.stringContaining("`vstation host add") as unknown };
    await expect(run(vstation.native)).rejects.toMatchObject(refused);
    const host = await vstation.joinHost({ shape: small });
    const asked = run(vstation.native);
    await isAsked(2);
    await host.connect();
    await inState(vstation, await asked, "RUNNING");
  });

  it("is never sold twice, however many ask at once", async () => {
    await vstation.start();
    await vstation.addHosts(3, { shape: small });
    const { native } = vstation;
    const asked = Array.from({ length: 60 }, (_, n) => run(native, n % 3 === 0 ? { count: 2, minCount: 1 } : {}));
    const answers = await Promise.allSettled(asked);
    const made = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
    const refusals = answers.flatMap((answer) => (answer.status === "rejected" ? [answer.reason as unknown] : []));
    expect(made).toHaveLength(12);
    expect(refusals.every((error) => isFailure(error, "no_capacity"))).toBe(true);
    await inState(vstation, made, "RUNNING");
    await expectNotOversold();
    const [verified] = await vstation.sql<{ n: number }>("select count(*)::int as n from instance");
    expect(verified?.n).toBe(12);
  });

  it("is taken once where an instance went whose first host could not start it", async () => {
    await vstation.start();
    const shape = { cores: 8, memoryMiB: 8192, diskGiB: 400 };
    const [bad, good] = (await vstation.addHosts(2, { shape })).toSorted((a, b) => (a.id < b.id ? -1 : 1));
    bad?.setDefaultFaults({ startFails: { reason: "start_failed", message: "no" } });
    const { native } = vstation;
    const group = await native.call("groupCreate", { request: { name: "g", type: "HOST", affinity: 8 } });
    // Best fit takes the lower id of two empty hosts; all of them end on the other one, which then has room for four more.
    const ids = await run(native, { count: 4, groupId: group.id });
    const views = await inState(vstation, ids, "RUNNING");
    expect(views.every(({ hostId, epoch }) => hostId === good?.id && epoch === 2)).toBe(true);
    expect(await dry({ count: 12 })).toEqual([]);
    await expect(dry({ count: 13 })).rejects.toMatchObject({ code: "InsufficientCapacity" });
    const moves = await vstation.sql<{ n: number }>(
      "select count(*)::int as n from operation_step where name = 'host.released'",
    );
    expect(moves[0]?.n).toBe(4);
  });

  it("is given to those who asked beside one whose key was deleted meanwhile", async () => {
    await vstation.start();
    await vstation.addHost({ shape: small });
    const { native } = vstation;
    const { key } = await native.call("keyCreate", { request: { name: "k" } });
    // The zone's row is held: the first request waits in its commit, and those that come meanwhile are committed together.
    const holder = new pg.Client(vstation.database);
    await holder.connect();
    try {
      await holder.query("begin; select name from zone for update");
      const asked = [run(native)];
      await until("the first request waits for the zone", aCommitWaits);
      asked.push(run(native), run(native, { keyIds: [key.id] }), run(native));
      // Keys are looked up before a request is queued behind the first one: so long each of them has been asked about.
      await until("the others are queued", async () => {
        return (await vstation.metrics()).includes("\nvstation_placement_queue 3\n");
      });
      await vstation.sql("delete from key_pair");
      await holder.query("commit");
      const answers = await Promise.allSettled(asked);
      expect(answers.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
      expect(answers[2]).toMatchObject({ reason: { code: "KeyNotFound" } });
    } finally {
      await holder.end();
    }
    expect(await list(native)).toHaveLength(3);
    expect(await dry({ count: 1 })).toEqual([]);
    await expect(dry({ count: 2 })).rejects.toMatchObject({ code: "InsufficientCapacity" });
    const [zone] = await vstation.sql<{ lease_epoch: number }>("select lease_epoch::int from zone");
    expect(zone?.lease_epoch).toBe(1);
  });

  it("of a host that cannot take instances is no room", async () => {
    await vstation.start();
    const host = await vstation.addHost({ shape: small });
    host.readiness = () => ({ accelerator: "tcg", checks: [{ name: "disk", level: "error", message: "broken" }] });
    host.send({ type: "report", inventory: host.inventory(), readiness: host.readiness() });
    await until("the host is degraded", async () => {
      const { hosts } = await vstation.native.call("hostList", {});
      return hosts[0]?.state === "degraded";
    });
    await expect(run(vstation.native)).rejects.toMatchObject({ code: "InsufficientCapacity" });
  });
});

describe("a disaster-recover group", () => {
  it("keeps its members apart up to its affinity, and cannot be deleted while it has any", async () => {
    await vstation.start();
    await vstation.addHosts(2);
    const { native } = vstation;
    const group = await native.call("groupCreate", { request: { name: "g", type: "HOST", affinity: 2 } });
    const groupId = group.id;
    const members = await run(native, { count: 4, groupId });
    const views = await inState(vstation, members, "RUNNING");
    for (const host of vstation.hosts) expect(views.filter(({ hostId }) => hostId === host.id)).toHaveLength(2);
    await expect(run(native, { groupId })).rejects.toMatchObject({ code: "InsufficientCapacity" });
    await expect(native.call("groupDelete", { params: { id: groupId } })).rejects.toMatchObject({
      code: "GroupNotEmpty",
    });
    await terminate(native, members);
    await areGone(vstation, members);
    await native.call("groupDelete", { params: { id: groupId } });
    await expect(run(native, { groupId })).rejects.toMatchObject({ code: "GroupNotFound" });
  });
});

describe("a burst", () => {
  it("of 500 instances runs, each once, on hosts that had room", async () => {
    await vstation.start();
    await vstation.addHosts(5, { shape: { cores: 120, memoryMiB: 131_072, diskGiB: 1_000 } });
    const { native } = vstation;
    const ids = (await Promise.all(Array.from({ length: 5 }, () => run(native, { count: 100 })))).flat();
    expect(new Set(ids).size).toBe(500);
    await until(
      "all of them run and nothing is under way",
      async () => {
        const open = await vstation.sql("select id from operation where ended_at is null limit 1");
        return open.length === 0 && (await list(native, { limit: 500, state: ["RUNNING"] })).length === 500;
      },
      120_000,
    );
    const starts = vstation.hosts.flatMap(({ machines }) =>
      [...machines.values()].flatMap((one) => [...one.starts.values()]),
    );
    expect(starts).toHaveLength(500);
    expect(Math.max(...starts)).toBe(1);
    await expectNotOversold();
    const failed = await vstation.sql("select id from operation where state = 'FAILED'");
    expect(failed).toEqual([]);
    for (let at = 0; at < ids.length; at += 100) await terminate(native, ids.slice(at, at + 100));
    await areGone(vstation, ids);
    expect(await vstation.sql("select ip from address where released_at is null")).toEqual([]);
    expect(vstation.errors).toEqual([]);
  });
});

describe("two VStations", () => {
  it("place one at a time: the other takes over when the first is killed, or hangs, and two never sell one room", async () => {
    await vstation.start();
    await vstation.addHosts(2, { shape: small });
    const second = await TestVstation.create(postgres, { replicaOf: vstation });
    try {
      await second.start();
      await run(vstation.native);
      // The one that does not place passes on what has to be placed, and every other change; an answer is an answer, a refusal too.
      const [passed = ""] = await run(second.native);
      const sdk = new cvm.v20170312.Client(sdkConfig(second.credentials));
      await expect(
        sdk.RunInstances({ Placement: { Zone: "ap-test-1" }, ImageId: imageId, InstanceType: "T1.NONE1" }),
      ).rejects.toMatchObject({ code: "InvalidParameterValue.InstanceTypeNotFound" });
      await inState(second, [passed as InstanceId], "RUNNING");
      await sdk.TerminateInstances({ InstanceIds: [passed] });
      await areGone(vstation, [passed as InstanceId]);
      const logged = await until("the call is logged with its end", async () => {
        const query = { action: ["TerminateInstances"] };
        const { records } = await second.native.call("auditList", { query });
        return records.every(({ outcome }) => outcome !== null) ? records : undefined;
      });
      expect(logged.map(({ source, outcome }) => [source, outcome])).toEqual([["127.0.0.1", "ok"]]);
      // What one has accepted the other knows.
      expect(await list(second.native)).toHaveLength(1);
      for (const host of vstation.hosts) host.options.servers.push(second.server);

      vstation.signal("SIGSTOP");
      const [id] = await persistently(() => run(second.native));
      // Hosts leave the one that hangs when they have heard nothing of it for three heartbeats.
      await inState(second, [id as InstanceId], "RUNNING", 60_000);
      vstation.signal("SIGCONT");
      // It may still believe that it holds the lease: then its commit is refused. Asked again, it passes on to the one that does.
      await persistently(() => run(vstation.native, { clientToken: "late" }));
      await stop(vstation.native, [id as InstanceId]);
      await inState(second, [id as InstanceId], "STOPPED");

      await second.kill();
      const more = await persistently(() => run(vstation.native, { count: 9, minCount: 1 }));
      expect(more).toHaveLength(5);
      await inState(vstation, more, "RUNNING");
      await expectNotOversold();
      const [zone] = await vstation.sql<{ lease_epoch: number }>("select lease_epoch::int from zone");
      expect(zone?.lease_epoch).toBe(3);
    } finally {
      await second.close();
    }
  });

  it("tell a client whose request hangs at the one that places that its outcome is unknown, and asked again do it once", async () => {
    await vstation.start();
    await vstation.addHosts(2, { shape: small });
    const second = await TestVstation.create(postgres, { replicaOf: vstation });
    const holder = new pg.Client(vstation.database);
    try {
      await second.start();
      for (const host of vstation.hosts) host.options.servers.push(second.server);
      // The zone's row is held: what the second one passes on waits in its commit, and there it is caught.
      await holder.connect();
      await holder.query("begin; select name from zone for update");
      const wish = {
        Placement: { Zone: "ap-test-1" },
        ImageId: imageId,
        InstanceType: "S5.SMALL1",
        ClientToken: "once",
      };
      const patient = sdkConfig(second.credentials);
      // The answer comes 55 s after the other one has said its last; the SDK's own 60 s begin before that.
      patient.profile.httpProfile.reqTimeout = 120;
      const bySecond = new cvm.v20170312.Client(patient);
      const byFirst = new cvm.v20170312.Client(sdkConfig(vstation.credentials));
      const asked = bySecond.RunInstances(wish).catch((error: unknown) => error);
      await until("the request waits for the zone", aCommitWaits);
      vstation.signal("SIGSTOP");
      await holder.query("commit");
      expect(await asked).toMatchObject({
        code: "InternalError",
        message: expect.stringContaining("unknown") as string,
      });
      const made = (await persistently(() => bySecond.RunInstances(wish))).InstanceIdSet;
      vstation.signal("SIGCONT");
      expect((await persistently(() => byFirst.RunInstances(wish))).InstanceIdSet).toEqual(made);
      const [one, ...more] = await list(second.native);
      expect([[one?.id], more]).toEqual([made, []]);
      await inState(second, made as InstanceId[], "RUNNING", 60_000);
      await expectNotOversold();
    } finally {
      vstation.signal("SIGCONT");
      await holder.end();
      await second.close();
    }
  });
});
