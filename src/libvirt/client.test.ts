/** One connection against a daemon whose part the test plays. */
import { setImmediate as turn, setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createLog } from "../lib/log.ts";
import { Connection, type ConnectionOptions } from "./client.ts";
import { newCounters } from "./counters.ts";
import { connection as host } from "./protocol/connection.ts";
import { domains } from "./protocol/domain.ts";
import { keepalive } from "./protocol/keepalive.ts";
import { programs } from "./protocol/notation.ts";
import { type PeerConnection, ScriptedPeer } from "./testing/scripted-peer.ts";

let peer: ScriptedPeer;
let opened: Connection[];
let counters: ReturnType<typeof newCounters>;

beforeEach(async () => {
  peer = await ScriptedPeer.listen();
  opened = [];
  counters = newCounters();
});

afterEach(async () => {
  for (const connection of opened) connection.close();
  await peer.close();
});

async function connect(options: Partial<ConnectionOptions> = {}): Promise<[Connection, PeerConnection]> {
  const opening = Connection.open({
    socketPath: peer.path,
    uri: "test:///",
    log: createLog("test"),
    counters,
    window: 4,
    ...options,
  });
  const there = await peer.connection();
  const here = await opening;
  opened.push(here);
  return [here, there];
}

const guest = { name: "guest", uuid: "00000000-0000-4000-8000-000000000001", id: 1 };

const otherUuid = "00000000-0000-4000-8000-000000000002";

describe("calls", () => {
  test("are answered in any order, each with its own answer", async () => {
    const [here, there] = await connect();
    const first = here.call(host.connectGetHostname, {});
    const second = here.call(host.connectGetHostname, {});
    const calls = [await there.next(), await there.next()] as const;
    there.reply(calls[1], host.connectGetHostname.result, { hostname: "two" });
    there.reply(calls[0], host.connectGetHostname.result, { hostname: "one" });
    expect(await second).toEqual({ hostname: "two" });
    expect(await first).toEqual({ hostname: "one" });
    expect(here.outstanding).toEqual({ waiting: 0, abandoned: 0, streams: 0 });
  });

  test("past their deadline are of unknown outcome; the late reply is dropped and counted, its serial not used again before", async () => {
    const [here, there] = await connect();
    const late = here.call(host.connectGetHostname, {}, { deadlineMs: 20 });
    const lateCall = await there.next();
    await expect(late).rejects.toMatchObject({ kind: "timeout", code: "LibvirtDeadline" });
    const next = here.call(host.connectGetHostname, {});
    const nextCall = await there.next();
    expect(nextCall.head.serial).not.toBe(lateCall.head.serial);
    there.reply(lateCall, host.connectGetHostname.result, { hostname: "too late" });
    there.reply(lateCall, host.connectGetHostname.result, { hostname: "and twice" });
    there.reply(nextCall, host.connectGetHostname.result, { hostname: "in time" });
    expect(await next).toEqual({ hostname: "in time" });
    expect(counters).toMatchObject({ timeouts: 1, lateReplies: 1, strayReplies: 1 });
    expect(here.outstanding.abandoned).toBe(0);
  });

  test("reject with the signal's reason when aborted, before and after they were sent", async () => {
    const [here, there] = await connect();
    const gone = AbortSignal.abort(new Error("never mind"));
    await expect(here.call(host.connectGetHostname, {}, { signal: gone })).rejects.toThrow("never mind");
    const aborter = new AbortController();
    const call = here.call(host.connectGetHostname, {}, { signal: aborter.signal });
    await there.next();
    aborter.abort(new Error("changed my mind"));
    await expect(call).rejects.toThrow("changed my mind");
    expect(here.outstanding).toMatchObject({ waiting: 0, abandoned: 1 });
  });

  test("beyond the window wait here, go out when a slot is free, and say so when none gets free", async () => {
    const [here, there] = await connect({ window: 3 });
    const calls = [1, 2, 3].map(() => here.call(host.connectGetCapabilities, {}));
    const impatient = here.call(host.connectGetCapabilities, {}, { deadlineMs: 30 });
    const sent = [await there.next(), await there.next()] as const;
    await expect(impatient).rejects.toMatchObject({ kind: "unavailable", code: "LibvirtBusy" });
    expect(there.waiting).toBe(0);
    for (const call of sent) there.reply(call, host.connectGetCapabilities.result, { capabilities: "a" });
    there.reply(await there.next(), host.connectGetCapabilities.result, { capabilities: "b" });
    expect(await Promise.all(calls)).toHaveLength(3);
    expect(here.open).toBe(true);
  });

  test("leave the window's last slot to those that the daemon answers by itself", async () => {
    const [here, there] = await connect({ window: 3 });
    const slow = [1, 2, 3].map(() => here.call(host.connectGetCapabilities, {}));
    const quick = [1, 2].map(() => here.call(host.connectGetHostname, {}));
    const sent = [await there.next(), await there.next(), await there.next()];
    expect(sent.map(({ head }) => head.procedure)).toEqual([7, 7, host.connectGetHostname.number]);
    expect(there.waiting).toBe(0);
    for (const call of sent.slice(2)) there.reply(call, host.connectGetHostname.result, { hostname: "h" });
    const next = await there.next();
    expect(next.head.procedure).toBe(host.connectGetHostname.number);
    there.reply(next, host.connectGetHostname.result, { hostname: "h" });
    expect(await Promise.all(quick)).toHaveLength(2);
    there.destroy();
    await Promise.all(slow.map((call) => expect(call).rejects.toMatchObject({ kind: "unavailable" })));
  });

  test("to a guest that hangs keep neither the others waiting nor the call that ends it", async () => {
    const [here, there] = await connect({ window: 5 });
    const hung = [1, 2, 3, 4].map(() =>
      here.call(domains.domainReset, { domain: guest, flags: 0 }, { deadlineMs: 40 }),
    );
    await Promise.all([
      expect(hung[0]).rejects.toMatchObject({ kind: "timeout" }),
      expect(hung[1]).rejects.toMatchObject({ kind: "timeout" }),
      expect(hung[2]).rejects.toMatchObject({ code: "LibvirtBusy" }),
      expect(hung[3]).rejects.toMatchObject({ code: "LibvirtBusy" }),
    ]);
    const stuck = [await there.next(), await there.next()] as const;
    const other = here.call(domains.domainReset, { domain: { ...guest, uuid: otherUuid }, flags: 0 });
    const end = here.call(domains.domainDestroyFlags, { domain: guest, flags: 0 });
    for (const expected of [domains.domainReset, domains.domainDestroyFlags]) {
      const call = await there.next();
      expect(call.head.procedure).toBe(expected.number);
      there.reply(call, expected.result, {});
    }
    await Promise.all([other, end]);
    // Its slots are free again when the daemon lets go of it.
    for (const call of stuck) there.refuse(call, 38, "gone");
    const again = here.call(domains.domainReset, { domain: guest, flags: 0 });
    there.reply(await there.next(), domains.domainReset.result, {});
    await again;
    expect(here.open).toBe(true);
  });

  test("that hang until they fill the window cost the connection, since only a new one has free slots", async () => {
    const [here, there] = await connect({ window: 3 });
    const deadline = { deadlineMs: 10 };
    const hung = [1, 2].map(() => here.call(host.connectGetCapabilities, {}, deadline));
    await Promise.all(hung.map((call) => expect(call).rejects.toMatchObject({ kind: "timeout" })));
    await expect(here.call(host.connectGetCapabilities, {}, deadline)).rejects.toMatchObject({ code: "LibvirtBusy" });
    expect(await here.lost).toMatchObject({ code: "LibvirtClogged" });
    await there.closed();
  });

  test("carry the daemon's error with its number, and its sentence only for operators", async () => {
    const [here, there] = await connect();
    const call = here.call(domains.domainLookupByName, { name: "x" });
    there.refuse(await there.next(), 42, "no domain with matching name /secret/place");
    const error: unknown = await call.catch((caught: unknown) => caught);
    expect(error).toMatchObject({ name: "LibvirtError", reason: "NoDomain", number: 42, kind: "not_found" });
    expect(String(error)).not.toContain("secret");
    expect(error).toMatchObject({ detail: { text: expect.stringContaining("/secret/place") } });
    const unknown = here.call(domains.domainLookupByName, { name: "x" });
    there.refuse(await there.next(), 4711, "?");
    await expect(unknown).rejects.toMatchObject({ reason: "Other", number: 4711, kind: "internal" });
  });

  test("whose arguments do not fit are refused here and leave nothing behind", async () => {
    const [here] = await connect();
    const wrong = { ...guest, uuid: "nonsense" };
    await expect(here.call(domains.domainGetState, { domain: wrong, flags: 0 })).rejects.toMatchObject({
      kind: "invalid",
    });
    expect(here.outstanding).toEqual({ waiting: 0, abandoned: 0, streams: 0 });
  });

  test("with an unreadable answer fail alone", async () => {
    const [here, there] = await connect();
    const short = here.call(host.connectGetHostname, {});
    there.send({ ...(await there.next()).head, type: "reply" }, (to) => to.uint(0xffff_ffff));
    await expect(short).rejects.toMatchObject({ code: "LibvirtProtocol" });
    const long = here.call(host.connectGetHostname, {});
    there.send({ ...(await there.next()).head, type: "reply" }, (to) => to.fixed(new Uint8Array(12)));
    await expect(long).rejects.toMatchObject({ code: "LibvirtProtocol" });
    expect(here.open).toBe(true);
    expect(counters.malformed).toBe(2);
  });
});

describe("the end of a connection", () => {
  test("settles every waiter, sent or queued, as what it is", async () => {
    const [here, there] = await connect({ window: 1 });
    const sent = here.call(host.connectGetHostname, {});
    const queued = here.call(host.connectGetHostname, {});
    await there.next();
    there.destroy();
    await expect(sent).rejects.toMatchObject({ kind: "unavailable", code: "LibvirtConnectionLost" });
    await expect(queued).rejects.toMatchObject({ kind: "unavailable", code: "LibvirtNotConnected" });
    await expect(here.call(host.connectGetHostname, {})).rejects.toMatchObject({ code: "LibvirtNotConnected" });
    expect(here.outstanding).toEqual({ waiting: 0, abandoned: 0, streams: 0 });
  });

  test.each([
    ["a length that cannot be", Buffer.from("ffffffff", "hex")],
    ["a header of another program", Buffer.from(`0000001c${"11".repeat(24)}`, "hex")],
    ["a call from the daemon", Buffer.from("0000001c200080860000000100000001000000000000000100000000", "hex")],
  ])("comes at once with %s", async (_, bytes) => {
    const [here, there] = await connect();
    const call = here.call(host.connectGetHostname, {});
    await there.next();
    there.raw(bytes);
    await expect(call).rejects.toMatchObject({ code: "LibvirtConnectionLost" });
    expect(await here.lost).toMatchObject({ code: "LibvirtProtocol" });
  });

  test("comes with a daemon that asks for a login", async () => {
    peer.authTypes = [1];
    await expect(connect()).rejects.toMatchObject({ kind: "unauthenticated", code: "LibvirtAuth" });
  });

  test("comes where nobody listens", async () => {
    const options = { socketPath: `${peer.path}-not`, uri: "", log: createLog("test"), counters, window: 4 };
    await expect(Connection.open(options)).rejects.toMatchObject({ kind: "unavailable" });
  });
});

describe("keepalive", () => {
  test("answers the daemon's pings", async () => {
    const [, there] = await connect();
    there.send({ program: programs.keepalive, procedure: keepalive.ping.number, type: "message" });
    const { head } = await there.next();
    expect(head).toMatchObject({ program: programs.keepalive, procedure: keepalive.pong.number, type: "message" });
  });

  test("gives up a daemon that says nothing for the agreed number of intervals", async () => {
    const [here, there] = await connect({ keepalive: { intervalMs: 20, count: 3 } });
    await delay(150);
    expect(here.open).toBe(true);
    const call = here.call(host.connectGetHostname, {});
    peer.silent = true;
    await expect(call).rejects.toMatchObject({ code: "LibvirtConnectionLost" });
    expect(await here.lost).toMatchObject({ code: "LibvirtSilent" });
    expect(there.pings.length).toBeGreaterThan(3);
  });

  test("takes any message for a sign of life", async () => {
    peer.silent = true;
    const [here, there] = await connect({ keepalive: { intervalMs: 50, count: 2 } });
    for (let i = 0; i < 30; i++) {
      there.send({ program: programs.keepalive, procedure: keepalive.ping.number, type: "message" });
      await delay(10);
    }
    expect(here.open).toBe(true);
  });
});

describe("streams", () => {
  async function stream(): Promise<[Awaited<ReturnType<Connection["openStream"]>>["stream"], PeerConnection, Call]> {
    const [here, there] = await connect();
    const opening = here.openStream(domains.domainOpenConsole, { domain: guest, device: undefined, flags: 0 });
    const call = await there.next();
    there.reply(call, domains.domainOpenConsole.result, {});
    return [(await opening).stream, there, call];
  }
  type Call = Awaited<ReturnType<PeerConnection["next"]>>;

  async function all(from: AsyncIterable<Uint8Array>): Promise<string> {
    let text = "";
    for await (const piece of from) text += Buffer.from(piece).toString("latin1");
    return text;
  }

  test("carry bytes both ways, and end when the daemon is done", async () => {
    const [console, there, call] = await stream();
    await console.write("in");
    const data = await there.next();
    expect(data.head).toMatchObject({ type: "stream", status: "continue", serial: call.head.serial });
    expect(data.payload.rest().toString()).toBe("in");
    there.stream(call, "continue", Buffer.from("out"));
    there.stream(call, "continue", Buffer.from("put"));
    there.stream(call, "continue");
    // The client confirms the daemon's end of file, and the daemon the confirmation.
    expect((await there.next()).head).toMatchObject({ type: "stream", status: "ok" });
    there.stream(call, "ok");
    expect(await all(console)).toBe("output");
    await expect(console.write("more")).rejects.toMatchObject({ code: "LibvirtStreamEnded" });
    await console.close();
  });

  test("that fail give what came before, then the daemon's error", async () => {
    const [console, there, call] = await stream();
    there.stream(call, "continue", Buffer.from("last words"));
    const reader = console[Symbol.asyncIterator]();
    expect(Buffer.from((await reader.next()).value as Uint8Array).toString()).toBe("last words");
    const after = reader.next();
    const failed = there;
    failed.send({ ...call.head, type: "stream", status: "error" }, (to) => {
      for (const word of [38, 10, 0, 2, 0, 0, 0, 0, 0, 0, 0]) to.uint(word);
    });
    await expect(after).rejects.toMatchObject({ name: "LibvirtError", reason: "SystemError" });
  });

  test("are settled by the end of the connection", async () => {
    const [console, there] = await stream();
    const reading = all(console);
    there.destroy();
    await expect(reading).rejects.toMatchObject({ code: "LibvirtConnectionLost" });
    await expect(console.write("x")).rejects.toMatchObject({ code: "LibvirtConnectionLost" });
    await console.close();
  });

  test("are closed by a finish that the daemon confirms, and aborted without waiting", async () => {
    const [console, there, call] = await stream();
    there.stream(call, "continue", Buffer.from("nobody reads this"));
    await delay(20);
    const closing = console.close();
    expect((await there.next()).head).toMatchObject({ type: "stream", status: "ok", serial: call.head.serial });
    there.stream(call, "continue", Buffer.from("was on its way"));
    there.stream(call, "ok");
    await closing;
    expect(await all(console)).toBe("");

    const [other, otherThere] = await stream();
    other.abort();
    expect((await otherThere.next()).head).toMatchObject({ type: "stream", status: "error" });
    expect(await all(other)).toBe("");
  });

  test("stop reading the socket while their reader is slow, and lose nothing", async () => {
    const [console, there, call] = await stream();
    const piece = Buffer.alloc(32 * 1024, "x");
    const pieces = 100;
    for (let i = 0; i < pieces; i++) there.stream(call, "continue", piece);
    there.stream(call, "continue");
    // What nobody reads stays on the daemon's side, and the end of file behind it.
    await delay(300);
    expect(there.unsent).toBeGreaterThan(piece.length * (pieces / 2));
    expect(there.waiting).toBe(0);
    let size = 0;
    const reading = (async () => {
      for await (const one of console) {
        size += one.length;
        await turn();
      }
    })();
    expect((await there.next()).head).toMatchObject({ type: "stream", status: "ok" });
    there.stream(call, "ok");
    await reading;
    expect(size).toBe(pieces * piece.length);
  });

  test("whose opening is refused leave nothing behind", async () => {
    const [here, there] = await connect();
    const opening = here.openStream(domains.domainOpenConsole, { domain: guest, device: undefined, flags: 0 });
    there.refuse(await there.next(), 55, "not running");
    await expect(opening).rejects.toMatchObject({ reason: "OperationInvalid" });
    expect(here.outstanding).toEqual({ waiting: 0, abandoned: 0, streams: 0 });
  });
});
