import { request } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { NativeClient } from "../../api/native/client.ts";
import { openConsole, type ConsoleLink } from "../../api/native/console.ts";
import { failure } from "../../core/failure-codes.ts";
import type { InstanceId } from "../../lib/ids.ts";
import { fakeToken, type FakeConsole } from "./cloud.fake.ts";
import { fakeImage } from "./images.fake.ts";
import { served, type Served } from "./served.fake.ts";

let api: Served;
let id: InstanceId;
beforeEach(async () => {
  api = await served();
  const wanted = { instanceType: "T1.SMALL1", imageId: fakeImage };
  id = (await api.client.call("instanceRun", { request: wanted })).instanceIds[0] as InstanceId;
});
afterEach(async () => api[Symbol.asyncDispose]());

interface Opened {
  link: ConsoleLink;
  session: FakeConsole;
  text(): string;
  past(): string;
  /** Resolves when the output holds the text. */
  shows(text: string): Promise<void>;
}

async function open(history = 65_536, client: NativeClient = api.client): Promise<Opened> {
  let text = "";
  let past = "";
  let wake: () => void = () => undefined;
  const live = Promise.withResolvers<void>();
  const link = await openConsole(client, id, {
    history,
    onOutput: (data, isPast) => {
      text += data.toString("latin1");
      if (isPast) past += data.toString("latin1");
      wake();
    },
    onLive: () => live.resolve(),
  });
  await live.promise;
  const session = api.cloud.consoles.at(-1);
  if (session === undefined) throw new Error("no console was opened");
  const shows = async (what: string): Promise<void> => {
    while (!text.includes(what)) await new Promise<void>((resolve) => (wake = resolve));
  };
  return { link, session, text: () => text, past: () => past, shows };
}

describe("the console", () => {
  it("gives the past first, then what comes", async () => {
    const tty = await open();
    expect(tty.past()).toBe("Booting...\r\nlogin: ");
    tty.session.push("root\r\n");
    await tty.shows("login: root\r\n");
    expect(tty.past()).toBe("Booting...\r\nlogin: ");
    tty.link.close();
  });

  it("shows nothing twice that was written while the past was read", async () => {
    const log = Promise.withResolvers<{ data: Buffer; truncated: boolean }>();
    api.cloud.instances.consoleLog = () => log.promise;
    const opening = open();
    await until(() => api.cloud.consoles.length === 1);
    api.cloud.consoles[0]?.push("login: ");
    log.resolve({ data: Buffer.from("Booting...\r\nlogin: "), truncated: false });
    const tty = await opening;
    tty.session.push("end");
    await tty.shows("end");
    expect(tty.text()).toBe("Booting...\r\nlogin: end");
    tty.link.close();
  });

  it("takes bytes as they are, in pieces that a host takes", async () => {
    const tty = await open(0);
    const all = Buffer.from(Array.from({ length: 40_000 }, (_, i) => i % 256));
    tty.link.write(all);
    await until(() => Buffer.concat(tty.session.written).length === all.length);
    expect(Buffer.concat(tty.session.written)).toEqual(all);
    expect(Math.max(...tty.session.written.map(({ length }) => length))).toBeLessThanOrEqual(12_288);
    tty.link.close();
  });

  it("ends for the client when the guest's side ends, with a reason", async () => {
    const tty = await open();
    tty.session.push("bye");
    tty.session.close();
    expect(await tty.link.ended).toBe("the console ended");
    expect(tty.text()).toContain("bye");
  });

  it("ends on the guest's side when the client goes, politely or not", async () => {
    const polite = await open();
    polite.link.close();
    await until(() => polite.session.closed);
    const cut = await open();
    api.cut();
    await until(() => cut.session.closed);
    expect(await cut.link.ended).toBe("the connection broke");
  });

  it("ends when the server closes", async () => {
    const tty = await open();
    api.closing.abort();
    expect(await tty.link.ended).not.toBe("");
    await until(() => tty.session.closed);
  });

  it("tells why it does not open, as any call would", async () => {
    api.cloud.failNext = failure("HostRefused", "the guest has just ended");
    await expect(open()).rejects.toMatchObject({ kind: "conflict", code: "HostRefused" });
    const stranger = new NativeClient({ endpoint: api.endpoint, token: "wrong" });
    await expect(open(0, stranger)).rejects.toMatchObject({ kind: "unauthenticated" });
    id = "ins-zzzzzzzz" as InstanceId;
    await expect(open()).rejects.toMatchObject({ kind: "not_found", code: "InstanceNotFound" });
    id = "no id" as InstanceId;
    await expect(open()).rejects.toMatchObject({ kind: "invalid" });
    const away = new NativeClient({ endpoint: "http://127.0.0.1:1", token: "x" });
    await expect(open(0, away)).rejects.toMatchObject({ kind: "unavailable" });
  });

  it("ends with the reason when the past cannot be read", async () => {
    api.cloud.instances.consoleLog = () => Promise.reject(failure("HostUnreachable", "the host is away"));
    const link = await openConsole(api.client, id, { history: 1, onOutput: () => undefined });
    expect(await link.ended).toContain("the host is away");
    expect(api.cloud.consoles[0]?.closed).toBe(true);
  });

  it("knows no other WebSocket, and takes the token as browsers can send it", async () => {
    const url = api.endpoint.replace("http", "ws");
    const bare = (path: string, protocols: string[]): Promise<string> =>
      new Promise((resolve) => {
        const socket = new WebSocket(url + path, protocols);
        socket.on("unexpected-response", (_request, response) => {
          resolve(String(response.statusCode));
          socket.terminate();
        });
        socket.on("error", () => undefined);
        socket.on("open", () => {
          resolve(socket.protocol);
          socket.close();
        });
      });
    const proof = ["vstation.console", `bearer.${fakeToken}`];
    expect(await bare(`/v1/instances/${id}/console`, proof)).toBe("vstation.console");
    expect(await bare(`/v1/instances/${id}/console`, ["vstation.console", "bearer.x"])).toBe("401");
    expect(await bare(`/v1/instances/${id}/console?history=x`, proof)).toBe("400");
    expect(await bare("/v1/elsewhere", proof)).toBe("404");
  });

  it("leaves no console open behind a handshake that fails", async () => {
    const headers = { host: "x", connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "99" };
    const { hostname, port } = new URL(api.endpoint);
    const sent = request({
      hostname,
      port,
      path: `/v1/instances/${id}/console`,
      headers: { ...headers, "sec-websocket-key": "no key", authorization: `Bearer ${fakeToken}` },
    });
    const status = await new Promise((resolve, reject) => {
      sent.once("response", (response) => resolve(response.resume().statusCode));
      sent.once("error", reject);
      sent.end();
    });
    expect(status).toBe(400);
    await until(() => api.cloud.consoles[0]?.closed === true);
  });

  it("counts what is open", async () => {
    const metrics = (): Promise<string> => api.raw("GET", "/metrics").then((response) => response.text());
    const tty = await open();
    expect(await metrics()).toContain('vstation_native_streams{kind="console"} 1');
    tty.link.close();
    await tty.link.ended;
    await until(() => tty.session.closed);
    expect(await metrics()).toContain('vstation_native_streams{kind="console"} 0');
  });
});

async function until(level: () => boolean): Promise<void> {
  while (!level()) await new Promise((resolve) => setTimeout(resolve, 2));
}
