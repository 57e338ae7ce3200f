/** The supervised client against a daemon whose part the test plays: reconnecting, subscriptions, listeners. */
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createLog } from "../lib/log.ts";
import type { Libvirt, LinkState, ResyncReason } from "./contract.ts";
import { openLibvirt } from "./open.ts";
import { connection as host } from "./protocol/connection.ts";
import { domains } from "./protocol/domain.ts";
import { eventProcedures } from "./protocol/event.ts";
import { domain as domainCodec } from "./protocol/notation.ts";
import { qemu, qemuMessages } from "./protocol/qemu.ts";
import { type PeerConnection, type Received, ScriptedPeer } from "./testing/scripted-peer.ts";

let peer: ScriptedPeer;
let libvirt: Libvirt;

beforeEach(async () => {
  peer = await ScriptedPeer.listen();
  libvirt = openLibvirt({
    socketPath: peer.path,
    log: createLog("test"),
    keepalive: { intervalMs: 60_000, count: 3 },
  });
});

afterEach(async () => {
  await libvirt.close();
  await peer.close();
});

const guest = { name: "guest", uuid: "00000000-0000-4000-8000-000000000001", id: 1 };
const register = eventProcedures.connectDomainEventCallbackRegisterAny;
const deregister = eventProcedures.connectDomainEventCallbackDeregisterAny;
const lifecycleMessage = 318;
const rebootMessage = 319;

/** Takes the next call, which must be a registration, and says which event it is for. */
async function registration(there: PeerConnection): Promise<{ call: Received; eventId: number }> {
  const call = await there.next();
  expect(call.head.procedure).toBe(register.number);
  return { call, eventId: register.args.read(call.payload).eventId };
}

function stopped(there: PeerConnection, callbackId: number, name = "guest"): void {
  there.send({ procedure: lifecycleMessage, type: "message" }, (to) => {
    to.int(callbackId);
    domainCodec.write(to, { ...guest, name });
    to.int(5);
    to.int(2);
  });
}

/** Answers a call of ours, so that everything that was sent before has arrived. */
async function flush(there: PeerConnection): Promise<void> {
  const call = libvirt.hostname();
  there.reply(await there.next(), host.connectGetHostname.result, { hostname: "h" });
  await call;
}

describe("events", () => {
  test("reach every listener of their kind through one registration, until each is closed", async () => {
    const seen: string[] = [];
    const first = libvirt.onLifecycle((event) => void seen.push(`1 ${event.change} ${event.detail}`));
    const second = libvirt.on("lifecycle", (event) => void seen.push(`2 ${event.domain.name}`));
    const there = await peer.connection();
    const { call, eventId } = await registration(there);
    expect(eventId).toBe(0);
    expect(libvirt.link).toBe("connecting");
    there.reply(call, register.result, { callbackId: 7 });
    await Promise.all([first.active, second.active, libvirt.ready()]);

    stopped(there, 7);
    await flush(there);
    expect(seen).toEqual(["1 stopped crashed", "2 guest"]);
    await first.close();
    stopped(there, 7);
    await flush(there);
    expect(seen).toEqual(["1 stopped crashed", "2 guest", "2 guest"]);

    const closing = second.close();
    const last = await there.next();
    expect(last.head.procedure).toBe(deregister.number);
    expect(deregister.args.read(last.payload)).toEqual({ callbackId: 7 });
    stopped(there, 7);
    there.reply(last, deregister.result, {});
    await closing;
    await second.close();
    await flush(there);
    expect(seen).toHaveLength(3);
    expect(libvirt.counters).toMatchObject({ events: 2, strayEvents: 1 });
    expect(libvirt.outstanding.topics).toBe(0);
  });

  test("that overtake the answer to their registration are not lost", async () => {
    const seen: string[] = [];
    const subscription = libvirt.onLifecycle((event) => void seen.push(event.domain.name));
    const there = await peer.connection();
    const { call } = await registration(there);
    stopped(there, 3, "early");
    stopped(there, 99, "nobody's");
    there.reply(call, register.result, { callbackId: 3 });
    await subscription.active;
    await flush(there);
    expect(seen).toEqual(["early"]);
    expect(libvirt.counters.strayEvents).toBe(1);
  });

  test("of QEMU's monitor come with their data, told apart by callback", async () => {
    const seen: unknown[] = [];
    const stop = libvirt.onMonitor({ event: "STOP" }, (event) => void seen.push(["stop", event.event, event.data]));
    const all = libvirt.onMonitor({ domain: guest }, (event) => void seen.push(["all", event.event, event.data]));
    const there = await peer.connection();
    for (const callbackId of [11, 12]) {
      const call = await there.next();
      expect(call.head.procedure).toBe(qemu.qemuConnectDomainMonitorEventRegister.number);
      there.reply(call, qemu.qemuConnectDomainMonitorEventRegister.result, { callbackId });
    }
    await Promise.all([stop.active, all.active]);
    const { args, number } = qemuMessages.qemuDomainMonitorEvent;
    const send = (callbackId: number, event: string, details: string | undefined): void =>
      there.send({ program: 0x2000_8087, procedure: number, type: "message" }, (to) =>
        args.write(to, { callbackId, domain: guest, event, seconds: 1n, micros: 5, details }),
      );
    send(11, "STOP", undefined);
    send(12, "MIGRATION", '{"status":"active"}');
    send(12, "BROKEN", "{");
    await flush(there);
    expect(seen).toEqual([
      ["stop", "STOP", undefined],
      ["all", "MIGRATION", { status: "active" }],
    ]);
    expect(libvirt.counters.malformed).toBe(1);
  });

  test("that a slow listener takes its time for hold up neither calls nor other listeners", async () => {
    const { promise: patience, resolve: goOn } = Promise.withResolvers<void>();
    const slow: string[] = [];
    const quick: string[] = [];
    const subscription = libvirt.onLifecycle(async ({ domain }) => {
      slow.push(domain.name);
      await patience;
    });
    libvirt.onLifecycle(({ domain }) => void quick.push(domain.name));
    const there = await peer.connection();
    there.reply((await registration(there)).call, register.result, { callbackId: 1 });
    await subscription.active;
    for (const name of ["a", "b", "c"]) stopped(there, 1, name);
    await flush(there);
    expect(quick).toEqual(["a", "b", "c"]);
    expect(slow).toEqual(["a"]);
    goOn();
    await vi.waitFor(() => expect(slow).toEqual(["a", "b", "c"]));
  });

  test("beyond what a listener can hold are dropped with a word to read the level again", async () => {
    const reasons: ResyncReason[] = [];
    libvirt.onResync((reason) => void reasons.push(reason));
    const subscription = libvirt.onLifecycle(() => new Promise<void>(() => {}));
    const there = await peer.connection();
    there.reply((await registration(there)).call, register.result, { callbackId: 1 });
    await subscription.active;
    for (let i = 0; i < 10_050; i++) stopped(there, 1);
    await flush(there);
    expect(libvirt.counters.overflows).toBe(1);
    await vi.waitFor(() => expect(reasons).toEqual(["connected", "overflow"]));
  });

  test("whose listener throws are counted, and the next one is delivered", async () => {
    const seen: string[] = [];
    const subscription = libvirt.onLifecycle(({ domain }) => {
      seen.push(domain.name);
      throw new Error("oops");
    });
    const there = await peer.connection();
    there.reply((await registration(there)).call, register.result, { callbackId: 1 });
    await subscription.active;
    stopped(there, 1, "a");
    stopped(there, 1, "b");
    await flush(there);
    await vi.waitFor(() => expect(seen).toEqual(["a", "b"]));
    expect(libvirt.counters.listenerFailures).toBe(2);
  });
});

describe("a registration", () => {
  test("that the daemon refuses leaves the link standing, and is tried again on the next connection", async () => {
    let active = false;
    const subscription = libvirt.on("nic-mac-change", () => {});
    void subscription.active.then(() => (active = true));
    const there = await peer.connection();
    const { call, eventId } = await registration(there);
    expect(eventId).toBe(27);
    there.refuse(call, 8, "unsupported event ID 27");
    await libvirt.ready();
    await flush(there);
    expect(active).toBe(false);
    there.destroy();
    const next = await peer.connection();
    next.reply((await registration(next)).call, register.result, { callbackId: 1 });
    await subscription.active;
  });

  test("that is closed while it is on its way is taken back", async () => {
    const subscription = libvirt.on("reboot", () => expect.unreachable());
    const there = await peer.connection();
    const { call } = await registration(there);
    const closing = subscription.close();
    there.reply(call, register.result, { callbackId: 4 });
    const undo = await there.next();
    expect(undo.head.procedure).toBe(deregister.number);
    there.send({ procedure: rebootMessage, type: "message" }, (to) => {
      to.int(4);
      domainCodec.write(to, guest);
    });
    there.reply(undo, deregister.result, {});
    await closing;
    await libvirt.ready();
    expect(libvirt.outstanding.topics).toBe(0);
  });
});

describe("after a lost connection", () => {
  test("everything is subscribed to again before the link counts as connected, under new ids", async () => {
    const seen: string[] = [];
    const links: LinkState[] = [];
    const reasons: ResyncReason[] = [];
    libvirt.onLink((state) => void links.push(state));
    libvirt.onResync((reason) => void reasons.push(reason));
    libvirt.onLifecycle(({ domain }) => void seen.push(domain.name));
    const there = await peer.connection();
    there.reply((await registration(there)).call, register.result, { callbackId: 1 });
    await libvirt.ready();

    const lost = libvirt.domainReset(guest);
    await there.next();
    there.destroy();
    await expect(lost).rejects.toMatchObject({ kind: "unavailable", code: "LibvirtConnectionLost" });
    await expect(libvirt.hostname()).rejects.toMatchObject({ code: "LibvirtNotConnected" });

    const next = await peer.connection();
    const { call } = await registration(next);
    await expect(libvirt.hostname()).rejects.toMatchObject({ code: "LibvirtNotConnected" });
    expect(links).toEqual(["connected", "lost"]);
    next.reply(call, register.result, { callbackId: 30 });
    await libvirt.ready();
    stopped(next, 1, "old id");
    stopped(next, 30, "new id");
    await flush(next);
    expect(seen).toEqual(["new id"]);
    expect(links).toEqual(["connected", "lost", "connected"]);
    expect(reasons).toEqual(["connected", "reconnected"]);
  });

  test("a connection that breaks while it is prepared never was one", async () => {
    const links: LinkState[] = [];
    libvirt.onLink((state) => void links.push(state));
    const subscription = libvirt.on("reboot", () => {});
    const there = await peer.connection();
    await registration(there);
    there.destroy();
    const next = await peer.connection();
    next.reply((await registration(next)).call, register.result, { callbackId: 1 });
    await subscription.active;
    await libvirt.ready();
    expect(links).toEqual(["connected"]);
    expect(libvirt.counters).toMatchObject({ connects: 1, losses: 0 });
  });

  test("ready waits no longer than it may", async () => {
    await peer.close();
    await expect(libvirt.ready({ deadlineMs: 30 })).rejects.toMatchObject({ code: "LibvirtNotConnected" });
    const aborter = new AbortController();
    const waiting = libvirt.ready({ signal: aborter.signal });
    aborter.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    peer = await ScriptedPeer.listen();
  });
});

describe("streams", () => {
  test("have a connection of their own, which ends with them", async () => {
    await libvirt.ready();
    const there = await peer.connection();
    const opening = libvirt.consoleOpen(guest);
    const own = await peer.connection();
    const call = await own.next();
    expect(call.head.procedure).toBe(domains.domainOpenConsole.number);
    own.reply(call, domains.domainOpenConsole.result, {});
    const console = await opening;
    // Its reader is away; the main connection answers all the same.
    for (let i = 0; i < 40; i++) own.stream(call, "continue", Buffer.alloc(32 * 1024));
    await flush(there);
    expect(libvirt.outstanding.streams).toBe(1);
    const closing = console.close();
    expect((await own.next()).head).toMatchObject({ type: "stream", status: "ok" });
    own.stream(call, "ok");
    await closing;
    // All that nobody read was taken off the socket, or the daemon's word would still be behind it.
    expect(own.unsent).toBe(0);
    await own.closed();
    await vi.waitFor(() => expect(libvirt.outstanding.streams).toBe(0));
  });

  test("are given up with the main connection, even when their reader is away", async () => {
    await libvirt.ready();
    const there = await peer.connection();
    const opening = libvirt.consoleOpen(guest);
    const own = await peer.connection();
    own.reply(await own.next(), domains.domainOpenConsole.result, {});
    const console = await opening;
    const reading = (async () => {
      for await (const piece of console) await delay(piece.length);
    })();
    there.destroy();
    await expect(reading).rejects.toMatchObject({ code: "LibvirtConnectionLost" });
    await own.closed();
  });
});

test("close lets go of everybody and never comes back", async () => {
  const subscription = libvirt.on("reboot", () => {});
  const there = await peer.connection();
  await registration(there);
  const waiting = libvirt.ready();
  await Promise.all([
    libvirt.close(),
    expect(waiting).rejects.toMatchObject({ kind: "unavailable" }),
    subscription.active,
    there.closed(),
  ]);
  await libvirt.close();
  expect(libvirt.link).toBe("closed");
  expect(libvirt.outstanding).toEqual({ waiting: 0, abandoned: 0, streams: 0, topics: 0 });
  await expect(libvirt.hostname()).rejects.toMatchObject({ code: "LibvirtNotConnected" });
});
