/** What holds for every answer, and what bad input is told, over a raw connection. The `Cloud` is a fake: wire rules only. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { maximumBody } from "./body.ts";
import { fakeCloud, testKey } from "./cloud.fake.ts";
import { call, send, serveFake, signedHeaders, type RawAnswer, type TestServer } from "./served.fake.ts";

const { cloud, calls } = fakeCloud();
const observed: unknown[][] = [];
let server: TestServer;
beforeAll(async () => {
  server = await serveFake(cloud, { onCall: (...args) => observed.push(args) });
});
afterAll(() => server.close());
beforeEach(() => {
  calls.length = 0;
  observed.length = 0;
});

/** The rules of every answer, good or bad. */
function expectWellFormed(answer: RawAnswer): void {
  expect(answer.status).toBe(200);
  expect(answer.headers["content-type"]).toBe("application/json");
  expect(answer.headers["content-encoding"]).toBeUndefined();
  expect(Object.keys(JSON.parse(answer.text) as object)).toEqual(["Response"]);
  expect(answer.response.RequestId).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
}

function codeOf(answer: RawAnswer): string {
  expectWellFormed(answer);
  return answer.response.Error?.Code ?? "ok";
}

/** A connection on which a request was begun and not ended. */
function open(headers: Record<string, string>, begun = ""): Socket {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const socket = connect(server.port, "127.0.0.1");
  socket.write(`POST / HTTP/1.1\r\n${lines.join("")}\r\n${begun}`);
  return socket;
}

describe("every answer", () => {
  it("is 200 with exactly application/json, a request id and the trace id", async () => {
    const trace = { "x-tc-traceid": "trace-1" };
    const good = await call(server.port, "DescribeZones", {}, { headers: trace });
    const bad = await call(server.port, "Nonsense", {}, { headers: trace });
    for (const answer of [good, bad]) {
      expectWellFormed(answer);
      expect(answer.headers["x-tc-traceid"]).toBe("trace-1");
    }
    expect(good.response.RequestId).not.toBe(bad.response.RequestId);
    const odd = await call(server.port, "DescribeZones", {}, { headers: { "x-tc-traceid": "x".repeat(500) } });
    expect(odd.headers["x-tc-traceid"]).toBeUndefined();
  });

  it("is counted once, under a name from a closed list", async () => {
    await call(server.port, "DescribeZones");
    await call(server.port, "Nonsense");
    await call(server.port, "ExportImages");
    expect(observed).toEqual([
      ["DescribeZones", "ok", expect.any(Number)],
      ["unknown", "InvalidAction", expect.any(Number)],
      ["ExportImages", "UnsupportedOperation", expect.any(Number)],
    ]);
  });
});

describe("the envelope", () => {
  it.each(["PUT", "DELETE", "PATCH", "OPTIONS"])("refuses %s", async (method) => {
    expect(codeOf(await send(server.port, { method, headers: signedHeaders("DescribeZones", { method }) }))).toBe(
      "UnsupportedProtocol",
    );
  });

  it("answers HEAD without a body", async () => {
    const answer = await send(server.port, {
      method: "HEAD",
      headers: signedHeaders("DescribeZones", { method: "HEAD" }),
    });
    expect([answer.status, answer.text]).toEqual([200, ""]);
  });

  it.each<[string, Record<string, string>, string]>([
    ["an empty action", { "x-tc-action": "" }, "MissingParameter"],
    ["an unknown action", { "x-tc-action": "MigrateInstance" }, "InvalidAction"],
    ["an action's name in another case", { "x-tc-action": "describezones" }, "InvalidAction"],
    ["a name of every object", { "x-tc-action": "constructor" }, "InvalidAction"],
    ["another version", { "x-tc-version": "2018-08-13" }, "NoSuchVersion"],
    ["another region", { "x-tc-region": "ap-guangzhou" }, "UnsupportedRegion"],
    ["a form body", { "content-type": "application/x-www-form-urlencoded" }, "UnsupportedProtocol"],
    ["a content type that only begins so", { "content-type": "application/jsonp" }, "UnsupportedProtocol"],
    ["a JSON body with its character set", { "content-type": "application/json; charset=utf-8" }, "ok"],
  ])("with %s", async (_, headers, code) => {
    expect(codeOf(await call(server.port, "DescribeZones", {}, { headers }))).toBe(code);
  });

  it.each(["x-tc-action", "x-tc-version", "x-tc-region", "x-tc-timestamp"])("misses %s", async (name) => {
    const headers = Object.fromEntries(Object.entries(signedHeaders("DescribeZones")).filter(([key]) => key !== name));
    const answer = await send(server.port, { headers, body: "{}" });
    expect(codeOf(answer)).toBe("MissingParameter");
    expect(answer.response.Error?.Message.toLowerCase()).toContain(name);
  });
});

describe("authentication", () => {
  it("refuses a wrong key, an unknown id, a stale timestamp and an altered body", async () => {
    const { secretId } = testKey;
    expect(codeOf(await call(server.port, "DescribeZones", {}, { key: { secretId, secretKey: "wrong" } }))).toBe(
      "AuthFailure.SignatureFailure",
    );
    expect(
      codeOf(await call(server.port, "DescribeZones", {}, { key: { secretId: "AKIDnobody", secretKey: "x" } })),
    ).toBe("AuthFailure.SecretIdNotFound");
    const timestamp = Math.floor(Date.now() / 1000) - 400;
    expect(codeOf(await call(server.port, "DescribeZones", {}, { timestamp }))).toBe("AuthFailure.SignatureExpire");
    const headers = signedHeaders("TerminateInstances", { body: '{"InstanceIds":["ins-00000001"]}' });
    expect(codeOf(await send(server.port, { headers, body: '{"InstanceIds":["ins-00000002"]}' }))).toBe(
      "AuthFailure.SignatureFailure",
    );
    expect(codeOf(await send(server.port, { headers: { ...headers, authorization: "SKIP" }, body: "{}" }))).toBe(
      "AuthFailure.InvalidAuthorization",
    );
    expect(calls).toEqual([]);
  });

  it("comes before everything that a stranger could learn from", async () => {
    for (const action of ["DescribeZones", "ExportImages", "Nonsense"]) {
      expect(
        codeOf(await call(server.port, action, { Bad: 1 }, { key: { secretId: testKey.secretId, secretKey: "x" } })),
      ).toBe("AuthFailure.SignatureFailure");
    }
  });

  it("takes a proxy's absolute target", async () => {
    const headers = signedHeaders("DescribeZones", { body: "{}" });
    expect(codeOf(await send(server.port, { target: "http://cvm.example/", headers, body: "{}" }))).toBe("ok");
  });
});

describe("the body", () => {
  it("may have 10 MB and not one byte more, announced or not", async () => {
    const fill = (size: number): Buffer => Buffer.from(`{"Limit":1${" ".repeat(size - 11)}}`);
    const whole = fill(maximumBody);
    const over = fill(maximumBody + 1);
    expect([whole.length, over.length]).toEqual([10 * 1024 * 1024, 10 * 1024 * 1024 + 1]);
    expect(codeOf(await call(server.port, "DescribeInstances", {}, { body: whole }))).toBe("ok");
    expect(codeOf(await call(server.port, "DescribeInstances", {}, { body: over }))).toBe("RequestSizeLimitExceeded");
    const headers = { ...signedHeaders("DescribeInstances", { body: over }), "transfer-encoding": "chunked" };
    expect(codeOf(await send(server.port, { headers, body: over }))).toBe("RequestSizeLimitExceeded");
    expect(codeOf(await call(server.port, "DescribeZones"))).toBe("ok");
  });

  it.each([
    ["for a stranger", { key: { secretId: "nobody", secretKey: "x" } }, 1000, "AuthFailure.SecretIdNotFound"],
    ["when it announces too much", {}, maximumBody + 1, "RequestSizeLimitExceeded"],
  ])("is not waited for: %s", async (_, given, length, code) => {
    const socket = open({ ...signedHeaders("DescribeZones", given), "content-length": String(length) });
    const [data] = (await once(socket, "data")) as [Buffer];
    socket.destroy();
    expect(data.toString()).toContain(code);
  });

  it("is cut off when it never ends", async () => {
    const headers = signedHeaders("DescribeInstances");
    const socket = open({ ...headers, "content-length": String(1024 ** 4) });
    const chunk = Buffer.alloc(1024 * 1024);
    const pump = (): void => {
      while (!socket.destroyed && socket.write(chunk));
    };
    // Cut off means an error here; the end is what counts.
    const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()).on("error", () => undefined));
    socket.on("drain", pump);
    pump();
    await closed;
    expect(socket.bytesWritten).toBeLessThan(512 * 1024 * 1024);
  });

  it("may break off, and nobody is the worse for it", async () => {
    const socket = open({ ...signedHeaders("DescribeInstances"), "content-length": "1000" }, '{"half');
    socket.destroySoon();
    await once(socket, "close");
    expect(codeOf(await call(server.port, "DescribeZones"))).toBe("ok");
    expect(calls).toEqual([]);
  });

  it.each<[string, string | Buffer, string]>([
    ["nothing", "", "ok"],
    ["no JSON", "{", "InvalidRequest"],
    ["a list", "[]", "InvalidRequest"],
    ["null", "null", "InvalidRequest"],
    ["text", '"x"', "InvalidRequest"],
    ["no UTF-8", Buffer.from('{"\xff":1}', "latin1"), "InvalidRequest"],
    ["a hundred thousand levels", `{"Filters":${"[".repeat(100_000)}${"]".repeat(100_000)}}`, "InvalidParameter"],
    ["a parameter that is null", '{"Limit":null,"Filters":[{"Name":"zone","Values":["lab-1"],"Name2":null}]}', "ok"],
    ["a prototype", '{"__proto__":{"Limit":1}}', "UnknownParameter"],
  ])("holds %s", async (_, body, code) => {
    expect(codeOf(await call(server.port, "DescribeInstances", {}, { body }))).toBe(code);
  });

  it("has its parameters in the query for GET", async () => {
    const get = (query: string): Promise<string> =>
      call(server.port, "DescribeInstances", {}, { method: "GET", target: `/?${query}` }).then(codeOf);
    expect(await get("Limit=5&Offset=0&InstanceIds.0=ins-00000001&InstanceIds.1=ins-00000002")).toBe("ok");
    expect(calls[0]?.args[1]).toEqual({ ids: ["ins-00000001", "ins-00000002"] });
    expect(await get("Limit=five")).toBe("InvalidParameter");
    expect(await get("Limit=5&Limit=6")).toBe("InvalidParameter");
    expect(await get("Limit=5&Limit.0=6")).toBe("InvalidParameter");
    expect(await get("InstanceIds=ins-00000001")).toBe("InvalidParameter");
    expect(await get("__proto__.Limit=5")).toBe("UnknownParameter");
    expect(await get(`${"a.".repeat(40)}a=1`)).toBe("InvalidParameter");
    expect(await get(`InstanceIds.0=${"x".repeat(33_000)}`)).toBe("RequestSizeLimitExceeded");
  });
});
