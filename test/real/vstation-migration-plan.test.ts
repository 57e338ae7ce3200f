/** What a dry run of a move says, as VStation sees it: real PostgreSQL, a real VStation, simulated hosts that say what they are told to. */
import { expect, it } from "vitest";
import type { MigrationPlanWire } from "../../src/api/native/migrations.ts";
import type { HostId, InstanceId } from "../../src/lib/ids.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { until } from "../until.ts";
import { inState, run, show, stop } from "./support/cloud.ts";
import { simulatedMoves } from "./support/simulated-moves.ts";
import type { TestVstation } from "./support/vstation.ts";

const mib = 2 ** 20;
let vstation: TestVstation;
let source: SimHost;
let target: SimHost;

const { subject, manual, begin } = simulatedMoves((world) => ({ vstation, source, target } = world));

const plan = (id: InstanceId, to: HostId | null = null): Promise<MigrationPlanWire> =>
  vstation.native.call("instanceMigratePlan", { params: { id }, request: { to } });
const codes = async (id: InstanceId, to: HostId | null = null): Promise<string[]> =>
  (await plan(id, to)).refusals.map(({ code }) => code);

it("names the target, what was measured and what that comes to, and changes nothing", async () => {
  const id = await subject();
  source.preflight.link = { bytesPerSecond: 100 * mib, roundTripMs: 0.5 };
  source.preflight.dirty = [
    { ms: 500, bytes: 40 * mib },
    { ms: 1_000, bytes: 80 * mib },
  ];
  const before = await show(vstation.native, id);
  const { generation } = before;
  const told = await plan(id);
  expect(told).toMatchObject({
    ...{ instanceId: id, sourceHostId: source.id, targetHostId: target.id, chosen: "best_fit", refusals: [] },
    ...{ memoryBytes: 1024 * mib, imageHere: true, link: source.preflight.link, samples: source.preflight.dirty },
    prediction: { verdict: { is: "brake" } },
  });
  expect(told.prediction?.curve.bytesPerSecond).toBeGreaterThan(78 * mib);
  expect(told.prediction?.curve.bytesPerSecond).toBeLessThan(84 * mib);
  source.preflight.dirty = [{ ms: 1_000, bytes: 0 }];
  expect((await plan(id, target.id)).prediction).toMatchObject({
    verdict: { is: "converges" },
    rounds: 1,
    pauseMs: 20,
  });
  expect(await show(vstation.native, id)).toMatchObject({ hostId: source.id, epoch: 1, generation, state: "RUNNING" });
  expect((await vstation.native.call("migrationList", {})).total).toBe(0);
  const { hosts } = await vstation.native.call("hostList", {});
  expect(hosts.find((host) => host.id === target.id)?.used.instances).toBe(0);
});

it("foretells by the policy: with the ceiling as the longest pause, or with what is fetched at the target", async () => {
  const id = await subject();
  source.preflight.link = { bytesPerSecond: 100 * mib, roundTripMs: 0.5 };
  // 100 MiB over and over.
  source.preflight.dirty = [500, 1_000, 4_000].map((ms) => ({ ms, bytes: 100 * mib }));
  const by = async (how: object) =>
    (await vstation.native.call("instanceMigratePlan", { params: { id }, request: how })).prediction;
  expect(await by({ policy: "gentle" })).toMatchObject({ verdict: { is: "brake" }, limitMs: 10 });
  const fits = await by({ policy: "finish", ceilingMs: 5_000 });
  expect(fits).toMatchObject({ verdict: { is: "pause" } });
  expect(fits?.pauseMs).toBeGreaterThan(1_000);
  expect(fits?.pauseMs).toBeLessThan(1_200);
  expect(await by({ policy: "finish", ceilingMs: 900 })).toMatchObject({ verdict: { is: "brake" }, limitMs: 900 });
  expect(await by({ policy: "postcopy" })).toMatchObject({ verdict: { is: "fetch" }, pauseMs: 20 });
  source.preflight.link = { bytesPerSecond: 3 * mib, roundTripMs: 0.5 };
  expect(await by({ policy: "postcopy" })).toMatchObject({ verdict: { is: "fetch_too_long" } });
});

it("plans with the pause that the source aims at now, and with what its pauses take beside", async () => {
  const id = await subject();
  source.preflight.dirty = [{ ms: 1_000, bytes: 0 }];
  source.preflight.asSource = { switchover: { limitMs: 27, fixedMs: 23 } };
  expect((await plan(id)).prediction).toMatchObject({ limitMs: 27, fixedMs: 23, pauseMs: 23 });
});

it("says of each host that its QEMU could not show who it is", async () => {
  const id = await subject();
  source.preflight.asSource = { untrusted: "QEMU has no certificate yet" };
  target.preflight.untrusted = "QEMU's certificate has ended";
  expect((await plan(id)).refusals).toEqual([
    { code: "MigrationNotTrusted", message: "QEMU has no certificate yet (at the source)", by: "source" },
    { code: "MigrationNotTrusted", message: "QEMU's certificate has ended (at the target)", by: "target" },
  ]);
});

it("says every reason against it, of VStation's own and of both hosts, and a real move would give the first", async () => {
  const id = await subject();
  await vstation.native.call("hostModify", { params: { id: target.id }, request: { cordoned: true } });
  source.preflight.asSource = { busy: "QEMU is copying a disk of it", blocked: ["a device", "another"] };
  target.preflight.asTarget = { freeBytes: mib, cpuFeatures: ["avx2"], nowMs: Date.now() + 3_600_000 };
  expect(await codes(id, target.id)).toEqual([
    "HostCordoned",
    "MigrationGuestBusy",
    "MigrationGuestBlocked",
    "MigrationGuestBlocked",
    "MigrationCpuDiffers",
    "MigrationMemoryMissing",
    "MigrationClockDiffers",
  ]);
  await expect(
    vstation.native.call("instanceMigrate", { params: { id }, request: { to: target.id } }),
  ).rejects.toMatchObject({ code: "HostCordoned" });
});

it("says that an operator wants it elsewhere, where that waits, as the move would", async () => {
  const others = await run(vstation.native, { count: 2, systemDiskType: "CLOUD_PREMIUM" });
  await inState(vstation, others, "RUNNING");
  const id = await subject();
  manual();
  for (const other of others) await begin(other, target.id);
  await begin(id, target.id);
  expect(await codes(id)).toEqual(["MigrationQueued"]);
  await expect(begin(id)).rejects.toMatchObject({ code: "MigrationQueued" });
  expect(await codes(id, target.id)).toEqual([]);
});

it("refuses a policy that the guest cannot be moved by, and a ceiling that is for nothing, as the move does", async () => {
  const id = await subject({ systemDiskType: "LOCAL_BASIC" });
  const how = { to: target.id, policy: "postcopy" } as const;
  const request = (call: "instanceMigrate" | "instanceMigratePlan", more: object = {}) =>
    vstation.native.call(call, { params: { id }, request: { ...how, ...more } });
  target.preflight.asTarget = { postcopy: false };
  const { refusals } = await vstation.native.call("instanceMigratePlan", { params: { id }, request: how });
  expect(refusals.map(({ code, by }) => `${code} ${by}`)).toEqual([
    "MigrationPolicyUnavailable vstation",
    "MigrationPolicyUnavailable hosts",
  ]);
  const before = (await vstation.native.call("migrationList", {})).total;
  for (const [more, code] of [
    [{}, "MigrationPolicyUnavailable"],
    [{ policy: "gentle", ceilingMs: 500 }, "InvalidParameter"],
  ] as const)
    await expect(request("instanceMigrate", more)).rejects.toMatchObject({ code });
  await expect(request("instanceMigratePlan", { policy: "gentle", ceilingMs: 500 })).rejects.toMatchObject({
    code: "InvalidParameter",
  });
  expect((await vstation.native.call("migrationList", {})).total).toBe(before);
});

it("has no target where there is none, and goes on without a host that does not answer", async () => {
  const id = await subject();
  expect(await codes(id, source.id)).toEqual(["MigrationSameHost"]);
  await target.disconnect();
  await until("VStation knows", async () => {
    const host = await vstation.native.call("hostGet", { params: { id: target.id } });
    return host.state !== "ready";
  });
  const told = await plan(id, target.id);
  expect(told.refusals.map(({ code }) => code)).toEqual(["HostUnreachable"]);
  expect(told).toMatchObject({ targetHostId: target.id, memoryBytes: 1024 * mib, link: null, prediction: null });
  await stop(vstation.native, [id]);
  await inState(vstation, [id], "STOPPED");
  expect(await codes(id)).toContain("WrongState");
});
