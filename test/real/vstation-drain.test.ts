/**
 * Many moves at once: the queue, its budgets, drains of hosts, and tries that follow on those that came to nothing. Real PostgreSQL, a real
 * VStation, simulated hosts.
 */
import { afterEach, describe, expect, it } from "vitest";
import type { MigrationWire } from "../../src/api/native/migrations.ts";
import type { HostWire } from "../../src/api/native/resources.ts";
import type { HostId, InstanceId, MigrationId } from "../../src/lib/ids.ts";
import { sleep } from "../../src/lib/retry.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { noFaults } from "../../src/sim/machine.ts";
import { until } from "../until.ts";
import { inState, reboot, run, show, start, stop } from "./support/cloud.ts";
import { readyHost } from "./support/network.ts";
import { vstationForEach } from "./support/vstation-for.ts";
import type { TestVstation } from "./support/vstation.ts";

/** A drain is many moves one after the other. */
const patienceMs = 120_000;

let vstation: TestVstation;
let source: SimHost;

vstationForEach(async (made) => {
  vstation = made;
  vstation.sharedDir = "/shared";
  await vstation.start();
  source = await readyHost(vstation);
});
afterEach(() => vstation.expectNoErrors());

async function guests(count: number, request: Parameters<typeof run>[1] = {}): Promise<InstanceId[]> {
  const ids = await run(vstation.native, { systemDiskType: "CLOUD_PREMIUM", count, ...request });
  await inState(vstation, ids, "RUNNING");
  return ids;
}

async function targets(count: number): Promise<SimHost[]> {
  const made: SimHost[] = [];
  for (let i = 0; i < count; i++) made.push(await readyHost(vstation));
  return made;
}

const manual = (): void => {
  for (const host of vstation.hosts) host.halves.auto = false;
};

async function hostOf(id: HostId): Promise<HostWire> {
  return vstation.native.call("hostGet", { params: { id } });
}

async function drain(id: HostId = source.id): Promise<HostWire> {
  return vstation.native.call("hostDrain", { params: { id } });
}

async function migrations(query: object = {}): Promise<MigrationWire[]> {
  return (await vstation.native.call("migrationList", { query: { limit: 500, ...query } })).migrations;
}

async function drainIs(
  id: HostId,
  wanted: Partial<Record<"moving" | "queued" | "stuck" | "stopped" | "moved", number>>,
) {
  return until(
    `the drain of ${id} is ${JSON.stringify(wanted)}`,
    async () => {
      const found = await hostOf(id);
      if (found.drain === null) return undefined;
      const { left, moved } = found.drain;
      const counts = { moved, moving: 0, queued: 0, stuck: 0, stopped: 0 };
      for (const { is } of left) counts[is]++;
      return Object.entries(wanted).every(([key, count]) => counts[key as "moved"] === count) ? found : undefined;
    },
    patienceMs,
  );
}

async function begin(id: InstanceId, request: { to?: HostId | null; tries?: number } = {}): Promise<MigrationId> {
  return (await vstation.native.call("instanceMigrate", { params: { id }, request })).migrationId;
}

function becomes(id: MigrationId, wanted: Partial<MigrationWire>): Promise<MigrationWire> {
  return until(
    `${id} is ${JSON.stringify(wanted)}`,
    async () => {
      const found = await vstation.native.call("migrationGet", { params: { id } });
      const same = Object.entries(wanted).every(([key, value]) => found[key as keyof MigrationWire] === value);
      return same ? found : undefined;
    },
    patienceMs,
  );
}

/** It comes to nothing at both its halves. */
async function fail(
  id: MigrationId,
  reason: "link_lost" | "not_in_time" | "guest_ended" | "cpu_differs",
): Promise<void> {
  const hosts = await until(`both hosts know of ${id}`, () => {
    const told = vstation.hosts.filter((one) => one.halves.wanted.has(id));
    return told.length === 2 ? told : undefined;
  });
  for (const one of hosts) {
    const is = one.halves.wanted.get(id)?.half.is === "source" ? "stayed" : "dropped";
    one.halves.say(id, { is, reason, message: "for the test" });
  }
}

/** From now on a next try waits until somebody asks for it; by itself it would begin some seconds after the one before it. */
async function holdNextTries(): Promise<void> {
  await vstation.sql(`
    create function held() returns trigger language plpgsql as $$
    begin
      new.not_before := now() + interval '1 hour';
      return new;
    end $$`);
  await vstation.sql(
    "create trigger held before update of attempt on migration_request for each row execute function held()",
  );
}

describe("a drain", () => {
  it("empties a host within the budgets, and lets nothing new come", async () => {
    const ids = await guests(10);
    const others = await targets(2);
    const most = new Map<string, number>();
    const watch = setInterval(() => {
      for (const one of vstation.hosts) {
        const open = [...one.halves.wanted.values()].filter(({ half }) => half.is === "source").length;
        most.set(one.id, Math.max(most.get(one.id) ?? 0, open));
      }
    }, 5);
    expect(await drain()).toMatchObject({ cordoned: true, drain: { moved: 0 } });
    const empty = await drainIs(source.id, { moved: 10, moving: 0, queued: 0, stuck: 0 });
    clearInterval(watch);
    expect(empty.drain?.left).toEqual([]);
    await until("it has nothing of them", () => source.machines.size === 0);
    for (const id of ids) {
      const one = await show(vstation.native, id);
      expect(one).toMatchObject({ state: "RUNNING", epoch: 2 });
      expect(others.map(({ id: target }) => target)).toContain(one.hostId);
    }
    expect(await migrations({ open: "true" })).toEqual([]);
    await vstation.native.call("hostRemove", { params: { id: source.id } });
  });

  it("has two on their way at most, the others wait at no cost, and undrain calls them off", async () => {
    const ids = await guests(5);
    await targets(3);
    manual();
    await drain();
    const found = await drainIs(source.id, { moving: 2, queued: 3 });
    const waiting = (await migrations()).filter(({ phase }) => phase === "queued");
    expect(waiting).toHaveLength(3);
    expect(waiting[0]).toMatchObject({
      operationId: null,
      targetHostId: null,
      state: "PENDING",
      request: { askedBy: "drain", attempt: 1, waitsFor: null },
    });
    // Whoever waits is its owner's as before.
    const free = ids.filter((id) => waiting.some((one) => one.instanceId === id));
    await stop(vstation.native, free.slice(0, 1));
    await inState(vstation, free.slice(0, 1), "STOPPED");
    await drainIs(source.id, { moving: 2, queued: 2, stopped: 1 });
    const used = async () => (await vstation.native.call("hostList", {})).hosts.map((one) => one.used.instances);
    const moving = found.drain?.left.filter(({ is }) => is === "moving").map(({ migrationId }) => migrationId) ?? [];
    await vstation.native.call("hostUndrain", { params: { id: source.id }, request: {} });
    await until("nothing waits", async () => (await migrations()).every(({ phase }) => phase !== "queued"));
    const open = await migrations({ open: "true" });
    expect(new Set(open.map(({ id }) => id))).toEqual(new Set(moving));
    expect(await hostOf(source.id)).toMatchObject({ cordoned: false, drain: null });
    expect((await used())[0]).toBe(5);
    // What had begun, and came to nothing after the drain, is not tried again.
    const [first] = moving;
    if (first === undefined || first === null) throw new Error("nothing moves");
    await fail(first, "link_lost");
    await becomes(first, { state: "FAILED", phase: "ended" });
    await until("nothing waits", async () => (await migrations()).every(({ phase }) => phase !== "queued"));
  });

  it("with --cancel calls off what is on its way, too", async () => {
    await guests(3);
    await targets(1);
    manual();
    await drain();
    await drainIs(source.id, { moving: 2, queued: 1 });
    await vstation.native.call("hostUndrain", { params: { id: source.id }, request: { cancel: true } });
    await until("all is called off", async () =>
      (await migrations({ open: "true" })).every(({ cancelling, phase }) => cancelling && phase !== "queued"),
    );
    expect(await migrations({ open: "true" })).toHaveLength(2);
  });

  it("says which cannot go and why, and takes it up when that has changed", async () => {
    const [id] = await guests(1);
    if (id === undefined) throw new Error("no id");
    await drain();
    const full = await drainIs(source.id, { stuck: 1 });
    expect(full.drain?.left).toMatchObject([{ instanceId: id, reason: { code: "InsufficientCapacity" } }]);
    await stop(vstation.native, [id]);
    await inState(vstation, [id], "STOPPED");
    await drainIs(source.id, { stopped: 1, stuck: 0, queued: 0 });
    // It runs again, on the host that it lies on: the drain has it again.
    await start(vstation.native, [id]);
    await drainIs(source.id, { stuck: 1, stopped: 0 });
    const [target] = await targets(1);
    await drainIs(source.id, { moved: 1, stuck: 0, moving: 0 });
    expect((await show(vstation.native, id)).hostId).toBe(target?.id);
  });

  it("waits for a guest that begins anew at present, and asks for its move once", async () => {
    const [id] = await guests(1);
    if (id === undefined) throw new Error("no id");
    await targets(1);
    const machine = source.machines.get(id);
    if (machine === undefined) throw new Error("no machine");
    machine.faults = { ...noFaults, frozen: true };
    await reboot(vstation.native, [id], "hard");
    await drain();
    await until("it says why", async () => (await hostOf(source.id)).drain?.left[0]?.reason?.code === "WrongState");
    await drainIs(source.id, { queued: 1, stuck: 0 });
    // Several looks of the queue.
    await sleep(3_000);
    expect(await migrations()).toMatchObject([{ phase: "queued", request: { waitsFor: { code: "WrongState" } } }]);
    machine.faults = noFaults;
    source.move();
    await drainIs(source.id, { moved: 1, queued: 0, moving: 0 });
  });

  it("is not over while a guest that was asked to stop still runs", async () => {
    const [id] = await guests(1);
    if (id === undefined) throw new Error("no id");
    await targets(1);
    const machine = source.machines.get(id);
    if (machine === undefined) throw new Error("no machine");
    machine.faults = { ...noFaults, ignoresPowerButton: true };
    await stop(vstation.native, [id], "soft");
    await drain();
    await drainIs(source.id, { queued: 1, stopped: 0 });
    await stop(vstation.native, [id], "hard");
    const over = await drainIs(source.id, { queued: 0, stopped: 1 });
    expect(over.drain?.left).toMatchObject([{ instanceId: id, is: "stopped" }]);
  });

  it("is not over while a guest is on its way to it", async () => {
    const [id] = await guests(1);
    if (id === undefined) throw new Error("no id");
    const [target] = await targets(1);
    if (target === undefined) throw new Error("no target");
    manual();
    await begin(id, { to: target.id });
    await drain(target.id);
    const coming = await drainIs(target.id, { moving: 1 });
    expect(coming.drain?.left).toMatchObject([{ instanceId: id, is: "moving" }]);
  });

  it("goes on with the others while one waits for a host that is out of reach", async () => {
    const ids = await guests(3);
    const [gone] = await targets(2);
    if (gone === undefined) throw new Error("no target");
    manual();
    const waiting: MigrationId[] = [];
    for (const id of ids) waiting.push(await begin(id, { to: gone.id }));
    await until("one waits", async () => (await migrations()).some(({ phase }) => phase === "queued"));
    await gone.disconnect();
    const flying = (await migrations()).filter(({ phase }) => phase !== "queued");
    expect(flying).toHaveLength(2);
    const [last] = (await migrations()).filter(({ phase }) => phase === "queued");
    await until("the source knows of both", () => flying.every(({ id }) => source.halves.wanted.has(id)));
    for (const { id } of flying)
      source.halves.say(id, { is: "stayed", reason: "guest_ended", message: "for the test" });
    await until("it says why", async () => {
      const found = await vstation.native.call("migrationGet", { params: { id: last?.id ?? waiting[0]! } });
      return found.request?.waitsFor?.code === "HostUnreachable" || undefined;
    });
  });

  it("keeps members of a group apart", async () => {
    const { id: groupId } = await vstation.native.call("groupCreate", { request: { name: "apart", affinity: 1 } });
    const [first] = await guests(1, { groupId });
    const [second] = await targets(1);
    const [there] = await guests(1, { groupId });
    if (first === undefined || there === undefined || second === undefined) throw new Error("not there");
    expect((await show(vstation.native, there)).hostId).toBe(second.id);
    await drain();
    const stuck = await drainIs(source.id, { stuck: 1 });
    expect(stuck.drain?.left[0]?.reason).toMatchObject({ code: "InsufficientCapacity" });
    const [third] = await targets(1);
    await drainIs(source.id, { moved: 1, stuck: 0 });
    expect((await show(vstation.native, first)).hostId).toBe(third?.id);
  });
});

describe("the queue", () => {
  it("lets an operator's own request go before a drain, and the first of two for one guest wins", async () => {
    const ids = await guests(4);
    const [target] = await targets(2);
    manual();
    await drain();
    await drainIs(source.id, { moving: 2, queued: 2 });
    const [waiting] = (await migrations()).filter(({ phase }) => phase === "queued");
    const last = (await migrations()).filter(({ phase }) => phase === "queued").at(-1);
    if (waiting === undefined || last === undefined || target === undefined) throw new Error("nothing waits");
    // The drain's request is the operator's now, and both words are for one move.
    const mine = await begin(last.instanceId, { to: target.id });
    expect(mine).toBe(last.id);
    await becomes(mine, { phase: "queued", targetHostId: target.id });
    await expect(begin(last.instanceId)).rejects.toMatchObject({ code: "MigrationQueued" });
    expect(await begin(last.instanceId, { to: target.id })).toBe(mine);
    const [moving] = (await migrations()).filter(({ phase }) => phase === "preparing");
    if (moving === undefined) throw new Error("nothing moves");
    await expect(begin(moving.instanceId)).rejects.toMatchObject({ code: "OperationInProgress" });
    for (const one of vstation.hosts) one.halves.auto = true;
    await fail(moving.id, "guest_ended");
    await becomes(mine, { state: "SUCCEEDED" });
    expect(ids).toHaveLength(4);
  });

  it("calls off one that waits at no cost", async () => {
    const ids = await guests(3);
    await targets(1);
    manual();
    const moves = await Promise.all(ids.map((id) => begin(id)));
    const waiting = await until("one waits", async () => (await migrations()).find(({ phase }) => phase === "queued"));
    await vstation.native.call("migrationCancel", { params: { id: waiting.id } });
    await becomes(waiting.id, { state: "FAILED", phase: "ended" });
    expect((await becomes(waiting.id, {})).error?.code).toBe("MigrationCancelled");
    expect((await show(vstation.native, waiting.instanceId)).latestOperation?.kind).toBe("instance.run");
    expect(moves).toContain(waiting.id);
  });

  it("takes a hundred at once, and no host is above its limits", async () => {
    const large = { shape: { cores: 64, memoryMiB: 131_072, diskGiB: 1_000 } };
    for (let i = 0; i < 3; i++) await readyHost(vstation, large);
    const ids = (await Promise.all([guests(50), guests(50)])).flat();
    const over: string[] = [];
    const watch = setInterval(() => {
      for (const one of vstation.hosts) {
        for (const is of ["source", "target"] as const) {
          const open = [...one.halves.wanted.values()].filter(
            ({ id, half }) => half.is === is && !one.halves.isDone(id),
          );
          if (open.length > 2) over.push(`${one.id} ${is} ${open.length}`);
        }
      }
    }, 5);
    // Accepted one after the other, each in its time, which more of them at once would use up by waiting for each other.
    const moves: MigrationId[] = [];
    for (let at = 0; at < ids.length; at += 20) {
      moves.push(...(await Promise.all(ids.slice(at, at + 20).map((id) => begin(id)))));
    }
    await until(
      "all have moved, and their former hosts have let go",
      async () =>
        (await migrations()).filter(({ state, phase }) => state === "SUCCEEDED" && phase === "ended").length === 100,
      300_000,
    );
    clearInterval(watch);
    expect(over).toEqual([]);
    expect(new Set(moves).size).toBe(100);
    const machines = () => vstation.hosts.flatMap((one) => [...one.machines.keys()]);
    await until("each is at one host", () => machines().length === 100, patienceMs);
    expect(new Set(machines())).toEqual(new Set(ids));
  }, 600_000);
});

describe("a try that came to nothing", () => {
  it("is followed by another one, which takes another target after two", async () => {
    const [id] = await guests(1);
    if (id === undefined) throw new Error("no id");
    await targets(2);
    manual();
    await holdNextTries();
    let move = await begin(id);
    const tried: (HostId | null)[] = [];
    for (const attempt of [1, 2]) {
      const one = await becomes(move, { phase: "preparing" });
      // Whoever asked again meanwhile has four of their own.
      expect(one.request).toMatchObject({ attempt, tries: attempt + 3 });
      tried.push(one.targetHostId);
      await fail(move, "link_lost");
      const failed = await until("the next try", async () => {
        const { request } = await vstation.native.call("migrationGet", { params: { id: move } });
        return request?.next ?? undefined;
      });
      expect((await becomes(move, { state: "FAILED" })).error?.code).toBe("MigrationLinkLost");
      move = failed;
      expect((await becomes(move, { phase: "queued" })).request?.waitsFor?.code).toBe("MigrationLinkLost");
      // Its owner is not kept from it meanwhile, and whoever asks again does not wait.
      expect(await begin(id)).toBe(move);
    }
    const third = await becomes(move, { phase: "preparing" });
    expect(tried[0]).toBe(tried[1]);
    expect(third.targetHostId).not.toBe(tried[0]);
    for (const one of vstation.hosts) one.halves.auto = true;
    await fail(move, "guest_ended");
    const ended = await becomes(move, { state: "FAILED" });
    expect(ended.request).toMatchObject({ attempt: 3, next: null });
    expect((await migrations({ instanceId: [id] })).every(({ phase }) => phase !== "queued")).toBe(true);
  });

  it("because its target will not do is followed by one to another target at once, unless that one was named", async () => {
    const [id] = await guests(1);
    if (id === undefined) throw new Error("no id");
    await targets(2);
    manual();
    const first = await becomes(await begin(id), { phase: "preparing" });
    await fail(first.id, "cpu_differs");
    const next = await until("the next try", async () => (await becomes(first.id, {})).request?.next ?? undefined);
    const second = await becomes(next, { phase: "preparing" });
    expect(second.targetHostId).not.toBe(first.targetHostId);
    await fail(second.id, "guest_ended");
    await becomes(second.id, { state: "FAILED", phase: "ended" });
    const named = await begin(id, { to: second.targetHostId });
    await fail(named, "cpu_differs");
    const ended = await becomes(named, { state: "FAILED", phase: "ended" });
    expect(ended).toMatchObject({ error: { code: "MigrationCpuDiffers" }, request: { attempt: 1, next: null } });
  });

  it("of a drain leaves an operator who asks as many tries as are asked for", async () => {
    const [id] = await guests(1);
    if (id === undefined) throw new Error("no id");
    await targets(1);
    manual();
    await holdNextTries();
    await drain();
    const move = await until("the move", async () => (await migrations({ instanceId: [id] }))[0]);
    await becomes(move.id, { phase: "preparing" });
    await fail(move.id, "not_in_time");
    const next = await until("the next try", async () => (await becomes(move.id, {})).request?.next ?? undefined);
    expect(await begin(id, { tries: 1 })).toBe(next);
    expect((await becomes(next, { phase: "preparing" })).request).toMatchObject({ attempt: 2, tries: 2 });
    await fail(next, "not_in_time");
    expect((await becomes(next, { state: "FAILED", phase: "ended" })).request).toMatchObject({ next: null });
  });

  it("is the last one when it was called off, however it ends, and so is the wait for the next one", async () => {
    const [id] = await guests(1);
    if (id === undefined) throw new Error("no id");
    await targets(1);
    manual();
    await holdNextTries();
    const first = await begin(id);
    await becomes(first, { phase: "preparing" });
    await fail(first, "link_lost");
    // The only id that a client was told.
    const next = await until("the next try", async () => (await becomes(first, {})).request?.next ?? undefined);
    await vstation.native.call("migrationCancel", { params: { id: first } });
    await becomes(next, { state: "FAILED", phase: "ended" });
    expect((await becomes(first, {})).request?.next).toBe(next);
    const again = await begin(id);
    await until("its halves", () => source.halves.wanted.has(again));
    await vstation.native.call("migrationCancel", { params: { id: again } });
    await fail(again, "link_lost");
    const ended = await becomes(again, { state: "FAILED", phase: "ended" });
    expect(ended).toMatchObject({ error: { code: "MigrationLinkLost" }, request: { next: null } });
    expect(await migrations({ open: "true" })).toEqual([]);
  });

  it("is the only one where no other is wanted", async () => {
    const [id] = await guests(1);
    if (id === undefined) throw new Error("no id");
    await targets(1);
    manual();
    const move = await begin(id, { tries: 1 });
    await fail(move, "link_lost");
    const ended = await becomes(move, { state: "FAILED", phase: "ended" });
    expect(ended.request).toMatchObject({ attempt: 1, next: null });
  });
});
