/** Passing on over real TLS by the real PKI: what arrives, what comes back, and what is answered here all the same. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer as createPlain, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { Pki, type ServerIdentity } from "./agents/pki.ts";
import { PassOn } from "./pass-on.ts";
import { sourceOf } from "./source.ts";

const dir = mkdtempSync(join(tmpdir(), "vstation-pass-"));
let identity: ServerIdentity & { ca: string };
let holder: Server;
let here: Server;
let places: boolean;
let address: string | undefined;
let answerThere: (request: IncomingMessage, response: ServerResponse) => void;

const listening = (server: Server): Promise<void> => new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const portOf = (server: Server): number => (server.address() as AddressInfo).port;
const echo = (request: IncomingMessage, response: ServerResponse): void => {
  let body = "";
  request.on("data", (part: Buffer) => (body += part.toString()));
  request.on("end", () => {
    const { method, url, headers } = request;
    const seen = { method, url, host: headers.host, from: sourceOf(request), body };
    response.writeHead(207, { "x-there": "yes" }).end(JSON.stringify(seen));
  });
};

beforeAll(async () => {
  const pki = await Pki.open(dir);
  identity = { ...(await pki.serverIdentity(["127.0.0.1"])), ca: pki.caPem };
  holder = createServer({ ...identity, requestCert: true, rejectUnauthorized: true }, (request, response) =>
    answerThere(request, response),
  );
  await listening(holder);
  const database = { read: () => Promise.resolve({ rows: address === undefined ? [] : [{ lease_address: address }] }) };
  const passOn = new PassOn({
    store: database as never,
    zone: "z",
    log: pino({ level: "silent" }),
    places: () => places,
    identity: () => identity,
    answerMs: 1_000,
  });
  here = createPlain((request, response) => {
    void passOn.take(request, response).then((passed) => (passed ? undefined : response.end("here")));
  });
  await listening(here);
});
afterAll(() => {
  holder.close();
  here.close();
  rmSync(dir, { recursive: true });
});
beforeEach(() => {
  places = false;
  address = `127.0.0.1:${portOf(holder)}`;
  answerThere = echo;
});

const run = { "x-tc-action": "RunInstances" };
const ask = (path: string, init: RequestInit): Promise<Response> =>
  fetch(`http://127.0.0.1:${portOf(here)}${path}`, init);

it("brings a change to who places, byte for byte, with who asked, and its answer back", async () => {
  const body = "x".repeat(3_000_000);
  const answer = await ask("/?a=b", { method: "POST", headers: run, body });
  expect([answer.status, answer.headers.get("x-there")]).toEqual([207, "yes"]);
  const seen = { method: "POST", url: "/?a=b", host: `127.0.0.1:${portOf(here)}`, from: "127.0.0.1", body };
  expect(await answer.json()).toEqual(seen);
  const native = await ask("/v1/instances", { method: "POST", body: "{}" });
  expect(native.status).toBe(207);
});

it("leaves here what only reads, and an image's parts", async () => {
  const paths = [
    ["/", { method: "POST", headers: { "x-tc-action": "DescribeInstances" }, body: "{}" }],
    ["/v1/instances", {}],
    ["/v1/images/img-x/content", { method: "PUT", body: "x" }],
  ] as const;
  for (const [path, init] of paths) expect(await (await ask(path, init)).text()).toBe("here");
});

it("answers here, with the request untouched, where it places, where nobody does, and where that one is away", async () => {
  const change = { method: "POST", headers: run, body: "{}" };
  const here200 = async (): Promise<string> => (await ask("/", change)).text();
  places = true;
  expect(await here200()).toBe("here");
  places = false;
  address = undefined;
  expect(await here200()).toBe("here");
  address = "127.0.0.1:1";
  expect(await here200()).toBe("here");
});

it("says that the outcome is unknown, in the words of the API that was asked, when the other dies or hangs over it", async () => {
  const unknown = expect.stringContaining("unknown") as string;
  const RequestId = expect.stringMatching(/./) as string;
  for (const end of [(request: IncomingMessage) => void request.socket.destroy(), () => undefined]) {
    answerThere = end;
    const cvm = await ask("/", { method: "POST", headers: run, body: "{}" });
    expect(cvm.status).toBe(200);
    expect(await cvm.json()).toEqual({ Response: { Error: { Code: "InternalError", Message: unknown }, RequestId } });
  }
  const native = await ask("/v1/instances", { method: "POST", body: "x".repeat(3_000_000) });
  expect(native.status).toBe(504);
  expect(await native.json()).toMatchObject({ kind: "timeout", code: "DeadlineExceeded", detail: unknown });
});

it("cuts the client's connection when the other's breaks in the middle of an answer", async () => {
  answerThere = (_, response) => {
    response.writeHead(200, { "content-length": 10 }).write("half");
    setTimeout(() => response.destroy(), 20);
  };
  const half = await ask("/", { method: "POST", headers: run, body: "{}" });
  await expect(half.text()).rejects.toThrow("terminated");
});
