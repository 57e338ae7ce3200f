/** A move of a running guest while VStation dies at each of its points, and what others may know and do of one. Hosts are simulated. */
import { describe, expect, it } from "vitest";
import type { StoryLine } from "../../src/core/migration/story.ts";
import { isFailure } from "../../src/lib/errors.ts";
import type { InstanceId, MigrationId } from "../../src/lib/ids.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { until } from "../until.ts";
import { inState, run, show } from "./support/cloud.ts";
import { vstationForEach } from "./support/vstation-for.ts";
import { persistently, type TestVstation } from "./support/vstation.ts";

/** VStation dies and begins anew on the way, its hosts dial in again, and a try waits for its time. */
const patienceMs = 120_000;

let vstation: TestVstation;

vstationForEach((made) => {
  vstation = made;
  vstation.sharedDir = "/shared";
});

/** Runs on one of two hosts; the other one is where it can go. */
async function subject(): Promise<{ id: InstanceId; target: SimHost }> {
  await vstation.addHosts(2);
  const request = { systemDiskType: "CLOUD_PREMIUM" as const, clientToken: "subject" };
  const [id] = await persistently(() => run(vstation.native, request));
  if (id === undefined) throw new Error("no id");
  const [{ hostId } = { hostId: null }] = await inState(vstation, [id], "RUNNING");
  const target = vstation.hosts.find((host) => host.id !== hostId);
  if (target === undefined) throw new Error("no other host");
  return { id, target };
}

describe("VStation dies once", () => {
  it.each([
    "placement.migrate.claimed",
    "app.migrate.fenced",
    "app.migrate.ordered",
    "reconciler.migration.written",
    "reconciler.migration.committed",
  ])("at %s, and the guest is moved once", async (point) => {
    await vstation.supervise({ crashAt: point });
    const { id, target } = await subject();
    // As a client with patience: what was accepted before an answer was lost is no second request.
    await persistently(async () => {
      try {
        await vstation.native.call("instanceMigrate", { params: { id }, request: { to: target.id } });
      } catch (error) {
        if (!isFailure(error, "conflict")) throw error;
      }
    });
    await until("it is over", async () => {
      const { migrations } = await vstation.native.call("migrationList", {});
      return migrations.length === 1 && migrations[0]?.phase === "ended" && migrations[0].state === "SUCCEEDED";
    });
    expect(vstation.crashed).toBe(true);
    expect(await show(vstation.native, id)).toMatchObject({ hostId: target.id, epoch: 2, incarnation: 1 });
    const { hosts } = await vstation.native.call("hostList", {});
    expect(hosts.map(({ used }) => used.instances).toSorted((a, b) => a - b)).toEqual([0, 1]);
    const machines = () => vstation.hosts.flatMap((host) => [...host.machines.values()]);
    await until("its former host has nothing of it", () => machines().length === 1);
    expect(machines().map(({ starts }) => starts.size)).toEqual([0]);
  });
});

describe("a policy", () => {
  it("goes to the source, whose story of it stands when that host is gone", async () => {
    await vstation.start();
    const { id, target } = await subject();
    const how = { policy: "finish", ceilingMs: 700 } as const;
    const { migrationId: move } = await vstation.native.call("instanceMigrate", { params: { id }, request: how });
    const params = { id: move };
    await until("it is over", async () => (await vstation.native.call("migrationGet", { params })).phase === "ended");
    expect(await vstation.native.call("migrationGet", { params })).toMatchObject({ ...how, state: "SUCCEEDED" });
    const source = vstation.hosts.find((host) => host !== target);
    await vstation.native.call("hostRemove", { params: { id: source!.id }, query: { dead: "true" } });
    const { lines } = await vstation.native.call("migrationStory", { params });
    expect(lines).toMatchObject([
      { is: "began", ...how, aimMs: 30 },
      { is: "left", pauseMs: 0 },
    ]);
  });

  it("has a story of which what was told last is kept, also where that is in fewer lines", async () => {
    await vstation.start();
    const { id, target } = await subject();
    for (const host of vstation.hosts) host.halves.auto = false;
    const { migrationId: move } = await vstation.native.call("instanceMigrate", { params: { id }, request: {} });
    const source = vstation.hosts.find((host) => host !== target);
    await until("the source knows of it", () => source?.halves.wanted.has(move));
    const told = async () => (await vstation.native.call("migrationStory", { params: { id: move } })).lines;
    const look = (at: number, stands?: number): StoryLine => ({
      ...{ is: "look", at, pass: 1, passMs: 0, totalBytes: 4, remainingBytes: 3 },
      ...{ dirtyBytesPerSecond: 2, bytesPerSecond: 1, ...(stands === undefined ? {} : { stands }) },
    });
    const longer = [look(1), look(2), look(3), look(4)];
    const later = [look(2, 3), look(4), look(5)];
    source?.halves.say(move, { is: "copying", progress: null }, longer);
    await until("it is told", async () => (await told()).length === 4);
    source?.halves.say(move, { is: "copying", progress: null }, later);
    await until("it is told anew", async () => (await told()).length === 3);
    source?.halves.say(move, { is: "handing" }, longer);
    const params = { id: move };
    await until(
      "one came late",
      async () => (await vstation.native.call("migrationGet", { params })).phase === "handing",
    );
    expect(await told()).toEqual(later);
  });

  it("is refused where it cannot be, and a ceiling where there is none", async () => {
    await vstation.start();
    const { id } = await subject();
    const begin = (request: object) => vstation.native.call("instanceMigrate", { params: { id }, request });
    await expect(begin({ ceilingMs: 700 })).rejects.toMatchObject({ code: "InvalidParameter" });
    expect((await vstation.native.call("migrationList", {})).migrations).toEqual([]);
  });
});

describe("VStation dies once while a host is drained", () => {
  it.each(["queue.drain.asked", "queue.refused.written", "queue.try.fenced", "queue.try.ordered"])(
    "at %s, and its guest is moved once",
    async (point) => {
      await vstation.supervise({ crashAt: point });
      const { id, target } = await subject();
      const source = vstation.hosts.find((host) => host !== target);
      if (source === undefined) throw new Error("no source");
      const cordoned = (value: boolean) =>
        persistently(() =>
          vstation.native.call("hostModify", { params: { id: target.id }, request: { cordoned: value } }),
        );
      await cordoned(true);
      await persistently(() => vstation.native.call("hostDrain", { params: { id: source.id } }));
      const drainOf = async () => {
        const host = await persistently(() => vstation.native.call("hostGet", { params: { id: source.id } }));
        return host.drain;
      };
      await until("it has no place to go", async () => (await drainOf())?.left.some(({ is }) => is === "stuck"));
      await cordoned(false);
      await until(
        "it has moved",
        async () => {
          const drain = await drainOf();
          return drain?.moved === 1 && drain.left.length === 0;
        },
        patienceMs,
      );
      expect(vstation.crashed).toBe(true);
      expect(await show(vstation.native, id)).toMatchObject({ hostId: target.id, epoch: 2, incarnation: 1 });
      expect((await vstation.native.call("migrationList", {})).migrations).toHaveLength(1);
    },
  );

  it("at queue.try.failed, and one more try follows, of which two are known", async () => {
    await vstation.supervise({ crashAt: "queue.try.failed" });
    const { id } = await subject();
    for (const host of vstation.hosts) host.halves.auto = false;
    const { migrationId: move } = await persistently(() =>
      vstation.native.call("instanceMigrate", { params: { id }, request: {} }),
    );
    await until("both hosts know of it", () => vstation.hosts.every((host) => host.halves.wanted.has(move)));
    for (const host of vstation.hosts) {
      const is = host.halves.wanted.get(move)?.half.is === "source" ? "stayed" : "dropped";
      host.halves.say(move, { is, reason: "link_lost", message: "for the test" });
      host.halves.auto = true;
    }
    await until(
      "the second try has moved it",
      async () => {
        const { migrations } = await persistently(() => vstation.native.call("migrationList", {}));
        return migrations.length === 2 && migrations[0]?.state === "SUCCEEDED" && migrations[0].request?.attempt === 2;
      },
      patienceMs,
    );
    expect(vstation.crashed).toBe(true);
    expect(await show(vstation.native, id)).toMatchObject({ epoch: 2, incarnation: 1 });
  });
});

describe("an open move", () => {
  async function open(): Promise<{ id: InstanceId; move: MigrationId; target: SimHost }> {
    await vstation.start();
    const { id, target } = await subject();
    for (const host of vstation.hosts) host.halves.auto = false;
    const { migrationId: move } = await vstation.native.call("instanceMigrate", { params: { id }, request: {} });
    return { id, move, target };
  }

  it("is not there for another account", async () => {
    const { id, move } = await open();
    await vstation.native.call("accountCreate", { request: { name: "other" } });
    const other = vstation.native.forAccount("other");
    await expect(other.call("instanceMigrate", { params: { id }, request: {} })).rejects.toMatchObject({
      code: "InstanceNotFound",
    });
    const params = { id: move };
    await expect(other.call("migrationGet", { params })).rejects.toMatchObject({ code: "MigrationNotFound" });
    await expect(other.call("migrationStory", { params })).rejects.toMatchObject({ code: "MigrationNotFound" });
    await expect(other.call("migrationCancel", { params })).rejects.toMatchObject({ code: "MigrationNotFound" });
    expect((await other.call("migrationList", {})).migrations).toEqual([]);
    expect((await vstation.native.forAccount("default").call("migrationList", {})).migrations).toHaveLength(1);
  });

  it("keeps both its hosts from being taken out", async () => {
    const { move, target } = await open();
    await expect(
      vstation.native.call("hostRemove", { params: { id: target.id }, query: { dead: "true" } }),
    ).rejects.toMatchObject({ code: "HostInUse", message: expect.stringContaining(move) });
  });

  it("ends with its source, where that is dead and the guest arrived at its target", async () => {
    const { id, move, target } = await open();
    const params = { id: move };
    const { sourceHostId } = await vstation.native.call("migrationGet", { params });
    const source = vstation.hosts.find((host) => host.id === sourceHostId);
    await until("the target knows", () => target.halves.wanted.has(move) || undefined);
    await source?.close();
    await until("the source is out of reach", async () => {
      const { state } = await vstation.native.call("hostGet", { params: { id: sourceHostId } });
      return state === "unreachable" ? true : undefined;
    });
    const asDead = { params: { id: sourceHostId }, query: { dead: "true" } } as const;
    await expect(vstation.native.call("hostRemove", asDead)).rejects.toMatchObject({ code: "HostInUse" });
    target.halves.say(move, { is: "listening", port: 1 });
    expect(target.halves.arrive(move)).toBe(true);
    await until("it has moved", async () => (await vstation.native.call("migrationGet", { params })).moved);
    await expect(vstation.native.call("instanceMigrate", { params: { id }, request: {} })).rejects.toMatchObject({
      code: "MigrationUnfinished",
    });
    await vstation.native.call("hostRemove", asDead);
    await until("nothing of it is open", async () => {
      const { phase, state } = await vstation.native.call("migrationGet", { params });
      return (phase === "ended" && state === "SUCCEEDED") || undefined;
    });
    expect(await show(vstation.native, id)).toMatchObject({ hostId: target.id, state: "RUNNING", epoch: 2 });
    expect(await vstation.sql("select id from migration where ended_at is null")).toEqual([]);
  });

  it("ends with its target, where that is dead and the guest stayed at its source", async () => {
    const { id, move, target } = await open();
    const { source } = await vstation.native
      .call("migrationGet", { params: { id: move } })
      .then(({ sourceHostId }) => ({ source: vstation.hosts.find((host) => host.id === sourceHostId) }));
    await until("the source knows", () => source?.halves.wanted.has(move) === true || undefined);
    await target.close();
    await until("the target is out of reach", async () => {
      const { state } = await vstation.native.call("hostGet", { params: { id: target.id } });
      return state === "unreachable" ? true : undefined;
    });
    const asDead = { params: { id: target.id }, query: { dead: "true" } } as const;
    await expect(vstation.native.call("hostRemove", asDead)).rejects.toMatchObject({ code: "HostInUse" });
    source?.halves.say(move, { is: "stayed", reason: "link_lost", message: "for the test" });
    await until("the operation ended", async () => {
      const { state } = await vstation.native.call("migrationGet", { params: { id: move } });
      return state === "FAILED" ? true : undefined;
    });
    await expect(vstation.native.call("instanceMigrate", { params: { id }, request: {} })).rejects.toMatchObject({
      code: "MigrationUnfinished",
    });
    await vstation.native.call("hostRemove", asDead);
    await until("nothing of it is open", async () => {
      const { phase } = await vstation.native.call("migrationGet", { params: { id: move } });
      return phase === "ended" ? true : undefined;
    });
    expect((await show(vstation.native, id)).state).toBe("RUNNING");
    expect(await vstation.sql("select id from migration where ended_at is null")).toEqual([]);
  });
});
