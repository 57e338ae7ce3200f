/** The client against a real libvirtd and a real QEMU: a guest's life, and what happens to us when the daemon dies or stops. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { createLog } from "../../src/lib/log.ts";
import type {
  ByteStream,
  DomainRef,
  Libvirt,
  LinkState,
  OpenOptions,
  ResyncReason,
} from "../../src/libvirt/contract.ts";
import type { DomainEventOf, MonitorEvent } from "../../src/libvirt/events.ts";
import { openLibvirt } from "../../src/libvirt/open.ts";
import { domains } from "../../src/libvirt/protocol/domain.ts";
import { until } from "../until.ts";
import { echoDomainXml, greeting, writeEchoDisk } from "./support/echo-guest.ts";
import { PrivateLibvirtd } from "./support/private-libvirtd.ts";

const log = createLog("test", { part: "libvirt" });
let daemon: PrivateLibvirtd;
let disk: string;
const opened: Libvirt[] = [];

beforeAll(async () => {
  daemon = await PrivateLibvirtd.start();
  disk = join(daemon.dir, "echo.img");
  writeEchoDisk(disk);
});

afterAll(async () => {
  await daemon?.stop();
});

afterEach(async () => {
  for (const libvirt of opened.splice(0)) await libvirt.close();
});

function open(options: Pick<OpenOptions, "keepalive"> = {}): Libvirt {
  const libvirt = openLibvirt({ socketPath: daemon.socketPath, log, ...options });
  opened.push(libvirt);
  return libvirt;
}

async function startGuest(libvirt: Libvirt, name: string): Promise<DomainRef> {
  const defined = await libvirt.domainDefine(echoDomainXml(name, randomUUID(), disk));
  return await libvirt.domainCreate(defined);
}

async function endGuest(libvirt: Libvirt, domain: DomainRef): Promise<void> {
  await libvirt.domainDestroy(domain);
  await libvirt.domainUndefine(domain);
}

/** Reads until the text was seen; a stream that ends before fails. */
async function readUntil(stream: ByteStream, text: string): Promise<string> {
  let seen = "";
  for await (const piece of stream) {
    seen += Buffer.from(piece).toString("latin1");
    if (seen.includes(text)) return seen;
  }
  throw new Error(`the stream ended after ${JSON.stringify(seen)}`);
}

test("a guest is defined, started, talked to, examined and destroyed, and every step is announced", async () => {
  const libvirt = open();
  const changes: DomainEventOf<"lifecycle">[] = [];
  const monitor: MonitorEvent[] = [];
  libvirt.onLifecycle((event) => void changes.push(event));
  libvirt.onMonitor({ event: "RESUME" }, (event) => void monitor.push(event));
  await libvirt.ready();

  expect(await libvirt.version()).toEqual({
    libvirt: expect.stringMatching(/^\d+\.\d+\.\d+$/),
    hypervisor: expect.stringMatching(/^\d+\.\d+\.\d+$/),
  });
  expect(await libvirt.hostname()).toBe(daemon.hostname);
  expect(await libvirt.capabilities()).toContain("<capabilities>");

  const uuid = randomUUID();
  const defined = await libvirt.domainDefine(echoDomainXml("life", uuid, disk));
  expect(defined).toEqual({ name: "life", uuid, id: -1 });
  expect(await libvirt.domainList({ inactive: true })).toEqual([defined]);
  expect(await libvirt.domainList({ active: true })).toEqual([]);

  const domain = await libvirt.domainCreate(defined, { paused: true });
  expect(domain.id).toBeGreaterThan(0);
  expect(await libvirt.domainState(domain)).toEqual({ state: "paused", reason: "user" });
  const console = await libvirt.consoleOpen(domain);
  await libvirt.domainResume(domain);
  expect(await readUntil(console, greeting)).toContain(greeting);
  await console.write("to the guest and back");
  expect(await readUntil(console, "and back")).toBe("to the guest and back");
  await console.close();
  await expect(console.write("x")).rejects.toMatchObject({ code: "LibvirtStreamEnded" });

  expect(await libvirt.domainState(domain)).toEqual({ state: "running", reason: "unpaused" });
  expect(await libvirt.domainLookupByName("life")).toEqual(domain);
  expect(await libvirt.domainLookupByUuid(uuid)).toEqual(domain);
  expect(await libvirt.domainXml(domain)).toContain(`<uuid>${uuid}</uuid>`);
  expect(await libvirt.qmp(domain, "query-status")).toMatchObject({ status: "running" });
  const [stats] = await libvirt.domainStats({ domains: [domain], groups: ["state", "vcpu"] });
  expect(stats?.values).toMatchObject({ "state.state": 1, "vcpu.current": 1 });
  expect(await libvirt.memoryStats(domain)).toMatchObject({ rss: expect.any(Number) });
  await libvirt.vcpuPin(domain, 0, [0], "live");
  expect(await libvirt.blockInfo(domain, "vda")).toMatchObject({ capacity: 1024n * 1024n });
  expect(await libvirt.blockJobInfo(domain, "vda")).toBeUndefined();
  const info = await libvirt.call(domains.domainGetInfo, { domain });
  expect(info).toMatchObject({ state: 1, memoryKib: 32768n, vcpus: 1 });

  const element = { uri: "urn:vstation:test", prefix: "vs", xml: "<mark epoch='7'/>" };
  expect(await libvirt.domainMetadataGet(domain, element.uri, "config")).toBeUndefined();
  await libvirt.domainMetadataSet(domain, element, "both");
  expect(await libvirt.domainMetadataGet(domain, element.uri, "live")).toContain('epoch="7"');

  await libvirt.domainReset(domain);
  await endGuest(libvirt, domain);
  expect(await libvirt.domainLookupByName("life")).toBeUndefined();
  await until("the last event", () => changes.some(({ change }) => change === "undefined"));
  expect(changes.map(({ change, detail }) => `${change}/${detail}`)).toEqual([
    "defined/added",
    "started/booted",
    "suspended/paused",
    "resumed/unpaused",
    "shutdown/host",
    "stopped/destroyed",
    "undefined/removed",
  ]);
  expect(monitor.map(({ event }) => event)).toEqual(["RESUME"]);
  expect(libvirt.counters).toMatchObject({ malformed: 0, strayEvents: 0, strayReplies: 0, listenerFailures: 0 });
});

test("what the daemon and QEMU refuse comes as typed errors", async () => {
  const libvirt = open();
  await libvirt.ready();
  const nobody: DomainRef = { name: "nobody", uuid: randomUUID(), id: -1 };
  await expect(libvirt.domainState(nobody)).rejects.toMatchObject({
    kind: "not_found",
    reason: "NoDomain",
    number: 42,
  });
  await expect(libvirt.domainDefine("<domain>")).rejects.toMatchObject({ kind: "invalid", reason: "XmlDetail" });
  await expect(libvirt.domainDefine("<domain type='qemu'>\0</domain>")).rejects.toMatchObject({ kind: "invalid" });
  const domain = await startGuest(libvirt, "errors");
  await expect(libvirt.domainCreate(domain)).rejects.toMatchObject({ kind: "conflict", reason: "OperationInvalid" });
  await expect(libvirt.qmp(domain, "no-such-command")).rejects.toMatchObject({
    kind: "unsupported",
    qmpClass: "CommandNotFound",
  });
  await expect(libvirt.consoleOpen(domain, { device: "serial9" })).rejects.toMatchObject({ name: "LibvirtError" });
  await expect(libvirt.agent(domain, "guest-ping", undefined, { deadlineMs: 2_000 })).rejects.toMatchObject({
    name: "LibvirtError",
  });
  await endGuest(libvirt, domain);
  await expect(libvirt.domainDestroy(domain)).rejects.toMatchObject({ reason: "NoDomain" });
  await until("the refused stream's connection to be gone", () => libvirt.outstanding.streams === 0);
});

test("a killed daemon settles the waiter, and the new one is found, subscribed to again and asked again; the guest never stops", async () => {
  const libvirt = open();
  const links: LinkState[] = [];
  const resyncs: ResyncReason[] = [];
  const changes: string[] = [];
  libvirt.onLink((state) => void links.push(state));
  libvirt.onResync((reason) => void resyncs.push(reason));
  libvirt.onLifecycle(({ domain, change }) => void changes.push(`${domain.name} ${change}`));
  await libvirt.ready();
  const domain = await startGuest(libvirt, "survivor");
  const qemu = await daemon.qemuPid("survivor");
  expect(qemu).toBeGreaterThan(0);
  const console = await libvirt.consoleOpen(domain);
  const reading = readUntil(console, "never comes");

  // Stopped first, so that the call is in flight for certain when the daemon dies.
  daemon.signal("SIGSTOP");
  const inFlight = libvirt.domainXml(domain);
  const queued = Array.from({ length: 6 }, () => libvirt.domainState(domain));
  await Promise.all([
    daemon.killDaemon("SIGKILL"),
    expect(inFlight).rejects.toMatchObject({ kind: "unavailable", code: "LibvirtConnectionLost" }),
    expect(reading).rejects.toMatchObject({ kind: "unavailable", code: "LibvirtConnectionLost" }),
    ...queued.map((call) => expect(call).rejects.toMatchObject({ kind: "unavailable" })),
  ]);
  await expect(libvirt.domainState(domain)).rejects.toMatchObject({ code: "LibvirtNotConnected" });
  expect(await daemon.qemuPid("survivor")).toBe(qemu);

  changes.length = 0;
  await daemon.startDaemon();
  await libvirt.ready();
  expect(await libvirt.domainState(domain)).toMatchObject({ state: "running" });
  await libvirt.domainSuspend(domain);
  await until("an event through the renewed subscription", () => changes.includes("survivor suspended"));
  expect(await daemon.qemuPid("survivor")).toBe(qemu);
  expect(links).toEqual(["connected", "lost", "connected"]);
  expect(resyncs).toEqual(["connected", "reconnected"]);
  expect(libvirt.outstanding).toEqual({ waiting: 0, abandoned: 0, streams: 0, topics: 1 });
  await endGuest(libvirt, domain);
});

test("a stopped daemon is found by its silence, and used again when it goes on", async () => {
  // Here alone: a daemon that only gets no processor for a second would be taken for a dead one.
  const libvirt = open({ keepalive: { intervalMs: 300, count: 3 } });
  await libvirt.ready();
  daemon.signal("SIGSTOP");
  try {
    await expect(libvirt.hostname()).rejects.toMatchObject({ code: "LibvirtConnectionLost" });
    expect(libvirt.link).not.toBe("connected");
  } finally {
    daemon.signal("SIGCONT");
  }
  await libvirt.ready();
  expect(await libvirt.hostname()).toBe(daemon.hostname);
});

test("a guest whose QEMU hangs keeps neither its neighbour nor the end of itself waiting", async () => {
  const libvirt = open();
  await libvirt.ready();
  const hung = await startGuest(libvirt, "hung");
  const neighbour = await startGuest(libvirt, "neighbour");
  await daemon.signalQemu("hung", "STOP");
  const calls = Array.from({ length: 8 }, () => libvirt.qmp(hung, "query-status", undefined, { deadlineMs: 2_000 }));
  expect(await libvirt.qmp(neighbour, "query-status")).toMatchObject({ status: "running" });
  await Promise.all([
    ...calls.slice(0, 2).map((call) => expect(call).rejects.toMatchObject({ kind: "timeout" })),
    ...calls.slice(2).map((call) => expect(call).rejects.toMatchObject({ code: "LibvirtBusy" })),
  ]);
  expect(await libvirt.domainState(hung)).toMatchObject({ state: "running" });
  expect(await libvirt.qmp(neighbour, "query-status")).toMatchObject({ status: "running" });
  await libvirt.domainDestroy(hung, { graceful: false });
  await until("the hung calls to come back", () => libvirt.outstanding.abandoned === 0);
  expect(libvirt.counters).toMatchObject({ losses: 0, lateReplies: 2 });
  await libvirt.domainUndefine(hung);
  await endGuest(libvirt, neighbour);
});

test("a call past its deadline says that the outcome is unknown, and its late answer reaches nobody", async () => {
  const libvirt = open();
  await libvirt.ready();
  daemon.signal("SIGSTOP");
  const aborter = new AbortController();
  try {
    const aborted = libvirt.hostname({ signal: aborter.signal });
    const late = libvirt.capabilities({ deadlineMs: 100 });
    aborter.abort(new Error("no longer wanted"));
    await expect(aborted).rejects.toThrow("no longer wanted");
    await expect(late).rejects.toMatchObject({ kind: "timeout" });
    expect(libvirt.outstanding.abandoned).toBe(2);
  } finally {
    daemon.signal("SIGCONT");
  }
  expect(await libvirt.hostname()).toBe(daemon.hostname);
  await until("the late replies", () => libvirt.outstanding.abandoned === 0);
  expect(libvirt.counters).toMatchObject({ lateReplies: 2, strayReplies: 0, timeouts: 1 });
});

test("close settles everything at once, whatever the daemon does", async () => {
  const libvirt = open();
  await libvirt.ready();
  const subscription = libvirt.on("reboot", () => {});
  daemon.signal("SIGSTOP");
  try {
    const call = libvirt.hostname();
    const never = libvirt.on("watchdog", () => {}).active;
    await Promise.all([libvirt.close(), expect(call).rejects.toMatchObject({ code: "LibvirtConnectionLost" })]);
    await never;
    await subscription.active;
    await subscription.close();
    expect(libvirt.link).toBe("closed");
    await expect(libvirt.ready()).rejects.toMatchObject({ kind: "unavailable" });
    await expect(libvirt.hostname()).rejects.toMatchObject({ code: "LibvirtNotConnected" });
  } finally {
    daemon.signal("SIGCONT");
  }
});
