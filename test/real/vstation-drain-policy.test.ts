/** By which policy the guests of a drained host are moved, and what another word about it changes. Real VStation, simulated hosts. */
import { expect, it } from "vitest";
import type { HostWire } from "../../src/api/native/resources.ts";
import { until } from "../until.ts";
import { inState, run, show } from "./support/cloud.ts";
import { readyHost } from "./support/network.ts";
import { simulatedMoves, type MoveWorld } from "./support/simulated-moves.ts";

let world: MoveWorld;
const { subject, manual, migration, becomes, halves, half } = simulatedMoves((made) => void (world = made));

function drain(request: { policy?: "gentle" | "throttle" | "finish" | "postcopy"; ceilingMs?: number } = {}) {
  return world.vstation.native.call("hostDrain", { params: { id: world.source.id }, request });
}

const theHost = (): Promise<HostWire> => world.vstation.native.call("hostGet", { params: { id: world.source.id } });

async function theMove() {
  return until("its move", async () => (await world.vstation.native.call("migrationList", {})).migrations[0]);
}

it("goes by the policy that was named last, in each move that has not begun", async () => {
  const id = await subject();
  manual();
  expect(await drain({ policy: "finish", ceilingMs: 5_000 })).toMatchObject({
    drain: { policy: "finish", ceilingMs: 5_000 },
  });
  const first = await theMove();
  await halves(first.id);
  expect((await half(world.source, first.id)).half).toMatchObject({ policy: "finish", ceilingMs: 5_000 });
  expect(await drain({ policy: "throttle" })).toMatchObject({ drain: { policy: "throttle", ceilingMs: null } });
  expect(await drain()).toMatchObject({ drain: { policy: "throttle", ceilingMs: null } });
  // What has begun goes on by its own.
  expect(await migration(first.id)).toMatchObject({ policy: "finish", ceilingMs: 5_000 });
  const failed = { reason: "not_in_time", message: "for the test" } as const;
  world.source.halves.say(first.id, { is: "stayed", ...failed });
  world.target.halves.say(first.id, { is: "dropped", ...failed });
  const next = await until("the next try", async () => (await migration(first.id)).request?.next ?? undefined);
  expect(await becomes(next, { policy: "throttle" })).toMatchObject({ ceilingMs: null, request: { attempt: 2 } });
  await halves(next);
  expect((await half(world.source, next)).half).toMatchObject({ policy: "throttle" });
  await world.vstation.native.call("hostUndrain", { params: { id: world.source.id }, request: { cancel: true } });
  // A drain that has ended leaves no policy to the next one.
  expect(await drain()).toMatchObject({ drain: { policy: "gentle" } });
  expect((await show(world.vstation.native, id)).state).toBe("RUNNING");
});

it("says by which it would go while it waits for room, and goes by that", async () => {
  const { vstation, source } = world;
  const [id] = await run(vstation.native, { systemDiskType: "CLOUD_PREMIUM" });
  if (id === undefined) throw new Error("no id");
  await inState(vstation, [id], "RUNNING");
  await drain();
  const waiting = await theMove();
  expect(waiting).toMatchObject({ phase: "queued", policy: "gentle" });
  await drain({ policy: "finish" });
  await becomes(waiting.id, { policy: "finish", ceilingMs: 300 });
  const target = await readyHost(vstation);
  await until("it has moved", async () => (await show(vstation.native, id)).hostId === target.id || undefined);
  expect(await becomes(waiting.id, { state: "SUCCEEDED" })).toMatchObject({
    policy: "finish",
    sourceHostId: source.id,
  });
});

it("gives up a guest that its policy does not allow, and takes it up by another one", async () => {
  const id = await subject({ systemDiskType: "LOCAL_BASIC" });
  await drain({ policy: "postcopy" });
  const stuck = await until("it is stuck", async () => {
    const [one] = (await theHost()).drain?.left ?? [];
    return one?.is === "stuck" ? one : undefined;
  });
  expect(stuck).toMatchObject({ instanceId: id, reason: { code: "MigrationPolicyUnavailable" } });
  await drain({ policy: "gentle" });
  await until("it has moved", async () => (await theHost()).drain?.moved === 1 || undefined);
  expect((await show(world.vstation.native, id)).hostId).toBe(world.target.id);
});

it("is refused a ceiling where no pause may grow", async () => {
  for (const request of [{ ceilingMs: 700 }, { policy: "gentle", ceilingMs: 700 }] as const) {
    await expect(drain(request)).rejects.toMatchObject({ code: "InvalidParameter" });
  }
  expect((await theHost()).drain).toBeNull();
});
