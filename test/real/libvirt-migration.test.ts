/**
 * A live migration between two libvirtd, each driven on its own socket by its own client, phase by phase; and the same with the
 * target lost on the way. The guest echoes over its console, so that "it runs" is something it does.
 */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLog } from "../../src/lib/log.ts";
import type { DomainRef, Libvirt } from "../../src/libvirt/contract.ts";
import type { MigrationOptions } from "../../src/libvirt/migration-contract.ts";
import { openLibvirt } from "../../src/libvirt/open.ts";
import { until } from "../until.ts";
import { echoDomainXml, writeEchoDisk } from "./support/echo-guest.ts";
import { PrivateLibvirtd } from "./support/private-libvirtd.ts";

const log = createLog("test", { part: "libvirt-migration" });
let shared: string;
let source: PrivateLibvirtd;
let target: PrivateLibvirtd;
let here: Libvirt;
let there: Libvirt;

beforeAll(async () => {
  shared = await mkdtemp(join(tmpdir(), "lv-shared-"));
  writeEchoDisk(join(shared, "echo.img"));
  [source, target] = await Promise.all([PrivateLibvirtd.start(), PrivateLibvirtd.start()]);
  here = openLibvirt({ socketPath: source.socketPath, log });
  there = openLibvirt({ socketPath: target.socketPath, log });
  await Promise.all([here.ready(), there.ready()]);
});

afterAll(async () => {
  await Promise.all([here?.close(), there?.close()]);
  await Promise.all([source?.stop(), target?.stop()]);
  await rm(shared, { recursive: true, force: true });
});

function options(port: number, limits: Partial<MigrationOptions["params"]> = {}): MigrationOptions {
  return {
    flags: ["live", "persist-dest", "undefine-source", "change-protection", "abort-on-error"],
    params: { uri: `tcp://127.0.0.1:${port}`, listenAddress: "127.0.0.1", ...limits },
    deadlineMs: 60_000,
  };
}

async function startGuest(name: string): Promise<DomainRef> {
  return await here.domainCreate(await here.domainDefine(echoDomainXml(name, randomUUID(), join(shared, "echo.img"))));
}

async function echoes(libvirt: Libvirt, domain: DomainRef): Promise<boolean> {
  const console = await libvirt.consoleOpen(domain, { force: true });
  try {
    await console.write("still there?");
    let seen = "";
    for await (const piece of console) {
      seen += Buffer.from(piece).toString("latin1");
      if (seen.includes("still there?")) return true;
    }
    return false;
  } finally {
    await console.close();
  }
}

test("a running guest moves, phase by phase, and goes on where it was", async () => {
  const domain = await startGuest("mover");
  expect(await echoes(here, domain)).toBe(true);
  const iterations: number[] = [];
  const jobs: string[] = [];
  await here.on("migration-iteration", ({ iteration }) => void iterations.push(iteration)).active;
  await here.on("job-completed", ({ values }) => void jobs.push(String(values["operation"]))).active;
  const plan = options(49_321);

  const begun = await here.migrateBegin(domain, plan);
  expect(begun.xml).toContain("<name>mover</name>");
  const prepared = await there.migratePrepare(begun, plan);
  expect(await there.domainState({ ...domain, id: -1 })).toMatchObject({ state: "paused" });
  await here.migrateSetMaxDowntime(domain, 50n);
  const performed = await here.migratePerform(domain, prepared, plan);
  expect(await here.domainState(domain)).toMatchObject({ state: "paused", reason: "migration" });
  const finished = await there.migrateFinish(domain, performed, false, plan);
  expect(finished.domain).toMatchObject({ name: "mover", uuid: domain.uuid });
  await here.migrateConfirm(domain, finished.cookie, false, plan);

  expect(await here.domainLookupByUuid(domain.uuid)).toBeUndefined();
  const moved = await there.domainLookupByUuid(domain.uuid);
  expect(moved).toBeDefined();
  if (!moved) return;
  expect(await there.domainState(moved)).toEqual({ state: "running", reason: "migrated" });
  expect(await echoes(there, moved)).toBe(true);
  await until("an iteration", () => iterations.length > 0);
  await until("the end of the job", () => jobs.length > 0);
  await there.domainDestroy(moved);
  await there.domainUndefine(moved);
});

test("a perform that fails leaves the guest running where it was", async () => {
  const domain = await startGuest("stayer");
  const plan = options(49_322, { bandwidth: 1n });
  const prepared = await there.migratePrepare(await here.migrateBegin(domain, plan), plan);
  const performing = here.migratePerform(domain, prepared, plan);
  await until("the job to run", async () => (await here.jobStats(domain)).type === "unbounded");
  // The main connection stays free while the copy runs.
  expect(await here.domainState(domain)).toMatchObject({ state: "running" });
  await here.jobAbort(domain);
  await expect(performing).rejects.toMatchObject({ name: "LibvirtError", reason: "OperationAborted" });
  const cancelled = await there.migrateFinish(domain, new Uint8Array(0), true, plan);
  expect(cancelled.domain).toBeUndefined();
  await here.migrateConfirm(domain, new Uint8Array(0), true, plan);
  expect(await there.domainLookupByUuid(domain.uuid)).toBeUndefined();
  expect(await here.domainState(domain)).toMatchObject({ state: "running" });
  expect(await echoes(here, domain)).toBe(true);
  await here.domainDestroy(domain);
  await here.domainUndefine(domain);
});

test("a target whose libvirtd dies while it receives costs nothing but the attempt", async () => {
  const domain = await startGuest("lucky");
  const plan = options(49_323, { bandwidth: 1n });
  const prepared = await there.migratePrepare(await here.migrateBegin(domain, plan), plan);
  const performing = here.migratePerform(domain, prepared, plan);
  await until("the job to run", async () => (await here.jobStats(domain)).type === "unbounded");
  await target.killDaemon();
  await until("the loss to be seen", () => there.link !== "connected");
  await expect(there.migrateFinish(domain, new Uint8Array(0), true, plan)).rejects.toMatchObject({
    code: "LibvirtNotConnected",
  });
  await here.jobAbort(domain);
  await expect(performing).rejects.toMatchObject({ name: "LibvirtError" });
  await here.migrateConfirm(domain, new Uint8Array(0), true, plan);
  expect(await here.domainState(domain)).toMatchObject({ state: "running" });
  expect(await echoes(here, domain)).toBe(true);

  await target.startDaemon();
  await there.ready();
  await until("the half-made guest to go", async () => (await there.domainLookupByUuid(domain.uuid)) === undefined);
  await here.domainDestroy(domain);
  await here.domainUndefine(domain);
});
