/**
 * A live migration between two libvirtd, each driven on its own socket by its own client, phase by phase; and the same with the
 * target lost on the way. The guest echoes over its console, so that "it runs" is something it does.
 */
import { randomUUID } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { freePort } from "../../lab/free-port.ts";
import { createLog } from "../../src/lib/log.ts";
import type { DomainRef, Libvirt } from "../../src/libvirt/contract.ts";
import type { MigrationHalf, MigrationOptions } from "../../src/libvirt/migration-contract.ts";
import { openLibvirt } from "../../src/libvirt/open.ts";
import { until } from "../until.ts";
import { Authority } from "./support/authority.ts";
import { echoDomainXml, greeting, writeEchoDisk } from "./support/echo-guest.ts";
import { PrivateLibvirtd } from "./support/private-libvirtd.ts";

const log = createLog("test", { part: "libvirt-migration" });
const authority = new Authority();
let shared: string;
let source: PrivateLibvirtd;
let target: PrivateLibvirtd;
let here: Libvirt;
let there: Libvirt;
let leaving: MigrationHalf;
let arriving: MigrationHalf;

beforeAll(async () => {
  shared = await mkdtemp(join(tmpdir(), "lv-shared-"));
  writeEchoDisk(join(shared, "echo.img"));
  [source, target] = await Promise.all(
    ["source", "target"].map((name) => {
      mkdirSync(join(shared, name));
      writeTls(name, authority, authority.issue(name, [`${name}-host`]));
      return PrivateLibvirtd.start({ qemuConf: [`migrate_tls_x509_cert_dir = "${join(shared, name)}"`] });
    }) as [Promise<PrivateLibvirtd>, Promise<PrivateLibvirtd>],
  );
  here = openLibvirt({ socketPath: source.socketPath, log });
  there = openLibvirt({ socketPath: target.socketPath, log });
  await Promise.all([here.ready(), there.ready()]);
});

afterAll(async () => {
  await Promise.all([here?.close(), there?.close()]);
  await Promise.all([source?.stop(), target?.stop()]);
  await rm(shared, { recursive: true, force: true });
  authority.destroy();
});

/** As QEMU looks for them. */
function writeTls(name: string, ca: Authority, { cert, key }: { cert: string; key: string }): void {
  const put = (file: string, text: string): void => writeFileSync(join(shared, name, file), text);
  put("ca-cert.pem", ca.certificate);
  for (const end of ["server", "client"]) {
    put(`${end}-cert.pem`, cert);
    put(`${end}-key.pem`, key);
  }
}

beforeEach(async () => {
  [leaving, arriving] = await Promise.all([here.openMigration(), there.openMigration()]);
});

afterEach(() => {
  leaving.close();
  arriving.close();
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
  const plan = options(await freePort());

  const begun = await leaving.migrateBegin(domain, plan);
  expect(begun.xml).toContain("<name>mover</name>");
  const prepared = await arriving.migratePrepare(begun, plan);
  expect(await there.domainState({ ...domain, id: -1 })).toMatchObject({ state: "paused" });
  await here.migrateSetMaxDowntime(domain, 50n);
  const performed = await leaving.migratePerform(domain, prepared, plan);
  expect(await here.domainState(domain)).toMatchObject({ state: "paused", reason: "migration" });
  const finished = await arriving.migrateFinish(domain, performed, false, plan);
  expect(finished.domain).toMatchObject({ name: "mover", uuid: domain.uuid });
  await leaving.migrateConfirm(domain, finished.cookie, false, plan);

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
  const plan = options(await freePort(), { bandwidth: 1n });
  const prepared = await arriving.migratePrepare(await leaving.migrateBegin(domain, plan), plan);
  const performing = leaving.migratePerform(domain, prepared, plan);
  await until("the job to run", async () => (await here.jobStats(domain)).type === "unbounded");
  // The main connection stays free while the copy runs.
  expect(await here.domainState(domain)).toMatchObject({ state: "running" });
  await here.jobAbort(domain);
  await expect(performing).rejects.toMatchObject({ name: "LibvirtError", reason: "OperationAborted" });
  const cancelled = await arriving.migrateFinish(domain, new Uint8Array(0), true, plan);
  expect(cancelled.domain).toBeUndefined();
  await leaving.migrateConfirm(domain, new Uint8Array(0), true, plan);
  expect(await there.domainLookupByUuid(domain.uuid)).toBeUndefined();
  expect(await here.domainState(domain)).toMatchObject({ state: "running" });
  expect(await echoes(here, domain)).toBe(true);
  await here.domainDestroy(domain);
  await here.domainUndefine(domain);
});

test("a target whose libvirtd dies while it receives costs nothing but the attempt", async () => {
  const domain = await startGuest("lucky");
  const plan = options(await freePort(), { bandwidth: 1n });
  const prepared = await arriving.migratePrepare(await leaving.migrateBegin(domain, plan), plan);
  const performing = leaving.migratePerform(domain, prepared, plan);
  await until("the job to run", async () => (await here.jobStats(domain)).type === "unbounded");
  await target.killDaemon();
  await until("the loss to be seen", () => there.link !== "connected");
  await expect(arriving.migrateFinish(domain, new Uint8Array(0), true, plan)).rejects.toMatchObject({
    kind: "unavailable",
  });
  await here.jobAbort(domain);
  await expect(performing).rejects.toMatchObject({ name: "LibvirtError" });
  await leaving.migrateConfirm(domain, new Uint8Array(0), true, plan);
  expect(await here.domainState(domain)).toMatchObject({ state: "running" });
  expect(await echoes(here, domain)).toBe(true);

  await target.startDaemon();
  await there.ready();
  await until("the half-made guest to go", async () => (await there.domainLookupByUuid(domain.uuid)) === undefined);
  await here.domainDestroy(domain);
  await here.domainUndefine(domain);
});

/** What goes by it is kept. */
async function wire(to: number): Promise<{ port: number; bytes: Buffer[]; close: () => void }> {
  const bytes: Buffer[] = [];
  const sockets: Socket[] = [];
  const server = createServer((near) => {
    const far = connect(to, "127.0.0.1");
    sockets.push(near, far);
    for (const socket of [near, far]) socket.on("error", () => undefined);
    near.on("data", (part: Buffer) => bytes.push(part)).pipe(far);
    far.pipe(near);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const close = (): void => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { port: (server.address() as AddressInfo).port, bytes, close };
}

function byTls(plan: MigrationOptions, name: string): MigrationOptions {
  return { ...plan, flags: [...plan.flags, "tls"], params: { ...plan.params, tlsDestination: name } };
}

test.each([true, false])("by TLS (%s) what the guest has in its memory is not to be read on the way", async (tls) => {
  const domain = await startGuest("secret");
  expect(await echoes(here, domain)).toBe(true);
  const port = await freePort();
  const plan = tls ? byTls(options(port), "target-host") : options(port);
  const cable = await wire(port);
  try {
    const prepared = await arriving.migratePrepare(await leaving.migrateBegin(domain, plan), plan);
    const through = { ...plan, params: { ...plan.params, uri: `tcp://127.0.0.1:${cable.port}` } };
    const performed = await leaving.migratePerform(domain, { ...prepared, uri: through.params.uri }, through);
    const finished = await arriving.migrateFinish(domain, performed, false, plan);
    await leaving.migrateConfirm(domain, finished.cookie, false, plan);
  } finally {
    cable.close();
  }
  expect(Buffer.concat(cable.bytes).length).toBeGreaterThan(100_000);
  expect(Buffer.concat(cable.bytes).includes(greeting)).toBe(!tls);
  const moved = await there.domainLookupByUuid(domain.uuid);
  if (moved === undefined) throw new Error("it is not there");
  expect(await echoes(there, moved)).toBe(true);
  await there.domainDestroy(moved);
  await there.domainUndefine(moved);
});

const stranger = new Authority();
afterAll(() => stranger.destroy());
/** What is wrong, with the source's plan. */
const untrusted: Record<string, (plan: MigrationOptions) => MigrationOptions> = {
  "the target is another host than the source looks for": (plan) => byTls(plan, "other-host"),
  "the source has a certificate of another CA": (plan) => {
    writeTls("source", authority, stranger.issue("source", ["source-host"]));
    return byTls(plan, "target-host");
  },
  "the source trusts another CA": (plan) => {
    writeTls("source", stranger, authority.issue("source", ["source-host"]));
    return byTls(plan, "target-host");
  },
  "the source would send in plain text": (plan) => plan,
};

test.each(Object.keys(untrusted))("%s: nothing goes over, and the guest runs on", async (name) => {
  const domain = await startGuest("wary");
  const port = await freePort();
  try {
    const plan = untrusted[name]?.(options(port)) ?? options(port);
    const taken = byTls(options(port), "target-host");
    const prepared = await arriving.migratePrepare(await leaving.migrateBegin(domain, plan), taken);
    await expect(leaving.migratePerform(domain, prepared, plan)).rejects.toMatchObject({ name: "LibvirtError" });
    await arriving.migrateFinish(domain, new Uint8Array(0), true, taken);
    await leaving.migrateConfirm(domain, new Uint8Array(0), true, plan);
  } finally {
    writeTls("source", authority, authority.issue("source", ["source-host"]));
  }
  expect(await there.domainLookupByUuid(domain.uuid)).toBeUndefined();
  expect(await here.domainState(domain)).toMatchObject({ state: "running" });
  expect(await echoes(here, domain)).toBe(true);
  await here.domainDestroy(domain);
  await here.domainUndefine(domain);
});
