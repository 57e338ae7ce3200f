import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NativeClient } from "../../api/native/client.ts";
import { errorKinds, problemSchema, statusOf } from "../../api/native/problem.ts";
import { fillPath, nothing, type Route } from "../../api/native/route.ts";
import { rawRoutes, routeNames, routes } from "../../api/native/routes.ts";
import { failure, failureKinds, type FailureCode } from "../../core/failure-codes.ts";
import type { NatGatewayId } from "../../lib/ids.ts";
import { Failure } from "../../lib/errors.ts";
import { fakeAccount, fakeHost, fakeToken } from "./cloud.fake.ts";
import { fakeImage } from "./images.fake.ts";
import { maxBody } from "./request.ts";
import {
  aMigration,
  aNatGateway,
  anInstance,
  aRouteTable,
  aRule,
  aSecurityGroup,
  sampleRequests,
  type Sample,
} from "./samples.fake.ts";
import { served, type Served } from "./served.fake.ts";

let api: Served;
beforeEach(async () => void (api = await served()));
afterEach(async () => api[Symbol.asyncDispose]());

function send(route: Route, sample: Sample, headers: Record<string, string> = {}): Promise<Response> {
  const path = fillPath(route.path, (sample.params ?? {}) as Record<string, unknown>) + (sample.query ?? "");
  const body = sample.request === undefined || route.method === "GET" ? {} : { body: JSON.stringify(sample.request) };
  return api.raw(route.method, path, { ...body, headers: { "content-type": "application/json", ...headers } });
}

describe.each(routeNames)("%s", (name) => {
  const route: Route = routes[name];

  it("answers as its schema says, with nothing besides", async () => {
    const response = await send(route, await sampleRequests(api.client)[name]());
    const body: unknown = await response.json();
    expect({ status: response.status, body }).toMatchObject({ status: route.status });
    expect(response.headers.get("x-request-id")).toMatch(/^[\w-]{8,64}$/);
    // The schema drops what it does not name: a field that slipped out would be missing here.
    expect(route.response.parse(body)).toEqual(body);
  });

  it("needs the token before it looks at anything else", async () => {
    const before = api.cloud.seen.length;
    for (const authorization of ["", "Bearer", "Bearer wrong", "Basic b3BlcmF0b3I=", `Bearer ${"x".repeat(600)}`]) {
      const response = await send(route, { params: { id: "no id" }, request: {} }, { authorization });
      expect(response.status).toBe(401);
      expect(response.headers.get("www-authenticate")).toBe("Bearer");
      expect(problemSchema.parse(await response.json())).toMatchObject({
        kind: "unauthenticated",
        code: "TokenInvalid",
      });
    }
    expect(api.cloud.seen.length).toBe(before);
  });

  it("tells a failure as a problem with its kind, code and request id", async () => {
    if (name === "about") return; // reads nothing that could fail
    const sample = await sampleRequests(api.client)[name]();
    api.cloud.failNext = failure("DatabaseUnavailable", "the database is away");
    const response = await send(route, sample, { "x-request-id": "request-of-mine" });
    expect(response.status).toBe(503);
    expect(response.headers.get("content-type")).toBe("application/problem+json");
    expect(await response.json()).toMatchObject({
      type: "urn:vstation:problem:DatabaseUnavailable",
      status: 503,
      kind: "unavailable",
      detail: "the database is away",
      requestId: "request-of-mine",
    });
  });

  it("refuses what its schema does not name", async () => {
    const sample = await sampleRequests(api.client)[name]();
    const stranger = await send(route, { ...sample, query: `${sample.query ?? "?"}&stranger=1` });
    expect(problemSchema.parse(await stranger.json())).toMatchObject({ status: 400, code: "InvalidRequest" });
    if (route.request === nothing) return;
    const extra = await send(route, { ...sample, request: { ...(sample.request as object), stranger: 1 } });
    expect(problemSchema.parse(await extra.json())).toMatchObject({ status: 400, code: "InvalidRequest" });
  });
});

describe("the edge", () => {
  it("never breaks on garbage, and blames it on the one who sent it", async () => {
    const anyName = fc.constantFrom(...routeNames);
    const anyText = fc.string({ unit: fc.nat(0x10ffff).map((code) => String.fromCodePoint(code)), maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(
        anyName,
        anyText,
        anyText,
        fc.jsonValue(),
        fc.boolean(),
        async (name, id, query, json, whole) => {
          const route: Route = routes[name];
          const search = new URLSearchParams({ [query.slice(0, 8)]: query, limit: query }).toString();
          const path = `${fillPath(route.path, { id: id.toWellFormed() || "x" })}?${search}`;
          const text = whole ? JSON.stringify(json) : JSON.stringify(json).slice(1);
          const body = route.method === "GET" ? {} : { body: text };
          const response = await api.raw(route.method, path, body);
          expect(response.status).toBeGreaterThanOrEqual(400);
          expect(response.status).toBeLessThan(500);
          expect(problemSchema.parse(await response.json()).kind).toMatch(/^(invalid|not_found|limit)$/);
        },
      ),
      { numRuns: 300 },
    );
    expect(api.cloud.seen).toEqual([]);
  });

  it("bounds the body, however it is sent", async () => {
    const big = JSON.stringify({ name: "x".repeat(maxBody) });
    const told = await api.raw("POST", "/v1/keys", { body: big });
    expect(problemSchema.parse(await told.json())).toMatchObject({ status: 422, code: "BodyTooLarge" });
    const stream = new Blob([big]).stream();
    const request: RequestInit = { method: "POST", body: stream, duplex: "half" };
    const headers = { authorization: `Bearer ${fakeToken}` };
    const streamed = await fetch(`${api.endpoint}/v1/keys`, { ...request, headers });
    expect(problemSchema.parse(await streamed.json())).toMatchObject({ status: 422, code: "BodyTooLarge" });
  });

  it("takes no body, or an empty object, where nothing need be said beside the path, and refuses all else", async () => {
    const { id } = await aMigration(api.client);
    // The first takes nothing, the second has a default for all that it takes.
    for (const path of [`/v1/migrations/${id}/cancel`, `/v1/hosts/${fakeHost}/drain`]) {
      for (const body of [undefined, "", "{}"]) {
        const response = await api.raw("POST", path, body === undefined ? {} : { body });
        expect(response.status).toBe(202);
      }
      for (const body of ['{"force":true}', "[]", "null", "drain"]) {
        const response = await api.raw("POST", path, { body });
        expect(problemSchema.parse(await response.json()).kind).toBe("invalid");
      }
    }
    const lacking = await api.raw("POST", "/v1/groups");
    expect(problemSchema.parse(await lacking.json()).code).toBe("BodyNotJson");
  });

  it("names the place of each mistake", async () => {
    const body = JSON.stringify({ instanceType: "", imageId: "img-x", count: 0, userData: "!" });
    const response = await api.raw("POST", "/v1/instances", { body });
    const { errors } = problemSchema.parse(await response.json());
    expect(errors?.map(({ at }) => at).toSorted()).toEqual([
      "body.count",
      "body.imageId",
      "body.instanceType",
      "body.userData",
    ]);
  });

  it("takes user data of 16 KiB and not a byte more", async () => {
    const withData = (bytes: number): Promise<Response> =>
      send(routes.instanceRun, {
        request: { instanceType: "T1.SMALL1", imageId: fakeImage, userData: Buffer.alloc(bytes, 1).toString("base64") },
      });
    expect((await withData(16_384)).status).toBe(202);
    expect((await withData(16_385)).status).toBe(400);
  });

  it("takes no field of a query twice unless it is a list", async () => {
    expect((await api.raw("GET", "/v1/hosts?limit=1&limit=2")).status).toBe(400);
    expect((await api.raw("GET", "/v1/instances?name=a&name=b")).status).toBe(200);
    expect((await api.raw("GET", "/v1/instances?__proto__=1")).status).toBe(400);
  });

  it("says what a path takes when the method is wrong", async () => {
    const response = await api.raw("DELETE", "/v1/instances");
    const problem = problemSchema.parse(await response.json());
    expect(problem).toMatchObject({ status: 404, code: "NoSuchRoute" });
    expect(problem.detail).toContain("GET, POST");
    expect((await api.raw("GET", "/v1/nothing")).status).toBe(404);
  });

  it("hides what went wrong inside, and tells it to nobody but the log", async () => {
    api.cloud.failNext = new Error("password=hunter2");
    const response = await api.raw("GET", "/v1/hosts");
    const text = await response.text();
    expect(response.status).toBe(500);
    expect(text).not.toContain("hunter2");
    expect(problemSchema.parse(JSON.parse(text))).toMatchObject({ kind: "internal", code: "Internal" });
  });

  it("maps every kind, and the client maps it back", async () => {
    const codes = Object.keys(failureKinds) as FailureCode[];
    for (const code of codes) {
      api.cloud.failNext = failure(code, `it is ${code}`);
      const told: unknown = await api.client.call("hostList", {}).catch((error: unknown) => error);
      expect(told).toBeInstanceOf(Failure);
      expect(told).toMatchObject({ kind: failureKinds[code], code, message: `it is ${code}` });
    }
    expect(Object.values(statusOf).every((status) => status >= 400 && status < 600)).toBe(true);
    expect(errorKinds.length).toBe(new Set(Object.values(statusOf)).size);
  });
});

describe("what reaches the use cases", () => {
  it("is the operator for reading and acting, and the account for creating", async () => {
    const { id } = await anInstance(api.client);
    await api.client.call("instanceStop", { request: { ids: [id] } });
    await api.client.call("keyCreate", { request: { name: "k" } });
    const caller = (call: string): unknown => api.cloud.seen.find((one) => one.call === call)?.args[0];
    expect(caller("instances.run")).toMatchObject({ accountId: fakeAccount });
    expect(caller("keys.create")).toMatchObject({ accountId: fakeAccount });
    expect(caller("instances.stop")).toMatchObject({ accountId: "any" });
  });

  it("is the query in the use cases' own words", async () => {
    await api.raw("GET", "/v1/instances?tag=env=a&tag=env=b=c&tag=team&id=ins-00000001&ip=10.0.0.1&offset=3&limit=4");
    expect(api.cloud.seen.at(-1)?.args.slice(1)).toEqual([
      { ids: ["ins-00000001"], ips: ["10.0.0.1"], tags: { env: ["a", "b=c"] }, tagKeys: ["team"] },
      { offset: 3, limit: 4 },
    ]);
  });

  it("is a whole request, with what was left out filled in", async () => {
    await anInstance(api.client);
    expect(api.cloud.seen.find(({ call }) => call === "instances.run")?.args[1]).toEqual({
      login: null,
      zone: "local-1",
      instanceType: "T1.SMALL1",
      imageId: fakeImage,
      count: 1,
      minCount: 1,
      name: "a",
      hostname: null,
      systemDiskGiB: null,
      cpuTopology: null,
      systemDiskType: null,
      dataDisks: [],
      keyIds: [],
      groupId: null,
      network: null,
      addresses: null,
      securityGroupIds: [],
      publicAddress: null,
      userData: null,
      restartPolicy: "always",
      terminationProtection: false,
      tags: {},
      clientToken: null,
      dryRun: false,
    });
  });

  it("is a group's rules as its policies, and they come back as rules", async () => {
    const { id } = await aSecurityGroup(api.client);
    const rule = { action: "drop" as const, protocol: "all" as const, peer: { securityGroupId: id } };
    const request = { direction: "ingress" as const, rules: [rule], position: 0, version: 2 };
    const shown = await api.client.call("securityGroupAddRules", { params: { id }, request });
    const policy = { action: "drop", protocol: "all", ports: null, peer: { groupId: id }, description: "" };
    expect(api.cloud.seen.findLast(({ call }) => call === "securityGroup.addPolicies")?.args.slice(1)).toEqual([
      id,
      { direction: "ingress", policies: [policy], position: 0, version: 2 },
    ]);
    expect(shown.ingress).toMatchObject([rule, aRule]);
    const left = await api.client.call("securityGroupRemoveRules", {
      params: { id },
      request: { direction: "ingress", rules: [rule] },
    });
    expect(left.ingress).toMatchObject([aRule]);
  });

  it("refuses a rule that hosts would not keep to the letter", async () => {
    const { id } = await aSecurityGroup(api.client);
    const wrong = [
      { protocol: "icmp" },
      { protocol: "tcp", ports: [{ from: 9, to: 8 }] },
      { protocol: "tcp", ports: [] },
      { peer: { cidr: "10.0.0.1/8" } },
      { peer: { cidr: "10.0.0.0/8", securityGroupId: id } },
      { peer: {} },
    ];
    for (const one of wrong) {
      const body = JSON.stringify({ direction: "ingress", rules: [{ ...aRule, ...one }] });
      expect((await api.raw("POST", `/v1/security-groups/${id}/rules`, { body })).status).toBe(400);
    }
  });

  it("is one route for a table's way out, asked for once and taken away once", async () => {
    const [id, natGatewayId] = [await aRouteTable(api.client), await aNatGateway(api.client)];
    const lead = (to: NatGatewayId | null) =>
      api.client.call("routeTableModify", { params: { id }, request: { natGatewayId: to } });
    const changes = (): unknown[] => api.cloud.seen.filter(({ call }) => call === "routeTable.modify");
    for (const _ of [1, 2]) expect((await lead(natGatewayId)).natGatewayId).toBe(natGatewayId);
    expect(changes()).toHaveLength(1);
    for (const _ of [1, 2]) expect((await lead(null)).natGatewayId).toBeNull();
    expect(changes()).toHaveLength(2);
  });

  it("is an instance's groups in their own use case", async () => {
    const { id } = await anInstance(api.client);
    const securityGroupIds = [(await aSecurityGroup(api.client)).id];
    await api.client.call("instanceModify", { params: { id }, request: { securityGroupIds } });
    expect(api.cloud.seen.findLast(({ call }) => call === "securityGroup.setGroups")?.args.slice(1)).toEqual([
      [id],
      securityGroupIds,
    ]);
    const none = JSON.stringify({ securityGroupIds: [] });
    expect((await api.raw("PATCH", `/v1/instances/${id}`, { body: none })).status).toBe(400);
  });

  it("never gives user data back", async () => {
    const userData = Buffer.from("password: hunter2").toString("base64");
    await api.client.call("instanceRun", { request: { instanceType: "T1.SMALL1", imageId: fakeImage, userData } });
    const text = await (await api.raw("GET", "/v1/instances")).text();
    expect(text).not.toContain(userData);
    expect(text).toContain('"hasUserData":true');
  });
});

describe("waiting for an operation", () => {
  it("answers when it ends, by its event", async () => {
    api.cloud.endAtOnce = false;
    const { operationId } = await anInstance(api.client);
    const waiting = api.client.call("operationGet", { params: { id: operationId }, query: { wait: 60 } });
    await until(() => api.cloud.seen.some(({ call }) => call === "operations.get"));
    api.cloud.step(operationId as never, "placed");
    api.cloud.end(operationId as never);
    expect(await waiting).toMatchObject({ state: "SUCCEEDED" });
  });

  it("answers with what is when the server closes", async () => {
    api.cloud.endAtOnce = false;
    const { operationId } = await anInstance(api.client);
    const waiting = api.client.call("operationGet", { params: { id: operationId }, query: { wait: 60 } });
    await until(() => api.cloud.seen.some(({ call }) => call === "operations.get"));
    api.closing.abort();
    expect(await waiting).toMatchObject({ state: "PENDING" });
  });

  it("refuses to wait for ever", async () => {
    const response = await api.raw("GET", "/v1/operations/op-00000001?wait=61");
    expect(response.status).toBe(400);
  });
});

describe("what programs of others read", () => {
  it("is healthy while the database is read", async () => {
    const health = (): Promise<Response> => fetch(`${api.endpoint}${rawRoutes.healthz.path}`);
    expect((await health()).status).toBe(200);
    api.cloud.failNext = new Error("down");
    expect((await health()).status).toBe(503);
    expect((await health()).status).toBe(200);
  });

  it("tells metrics of the process, the API and the zone, to those who have the token", async () => {
    await anInstance(api.client);
    expect((await fetch(`${api.endpoint}/metrics`)).status).toBe(401);
    const text = await (await api.raw("GET", "/metrics")).text();
    expect(text).toContain("nodejs_eventloop_lag_p99_seconds");
    expect(text).toContain('vstation_native_request_seconds_count{route="instanceRun",status="202"} 1');
    expect(text).toContain('vstation_instances{state="RUNNING"} 1');
    expect(text).toContain(`vstation_host_up{host="${fakeHost}",name="host1"} 1`);
    expect(text).toContain('vstation_operations_open{state="PENDING"} 0');
  });

  it("still tells metrics when the zone cannot be read", async () => {
    api.cloud.failNext = new Error("down");
    const response = await api.raw("GET", "/metrics");
    expect(response.status).toBe(200);
    expect(await response.text()).toContain("nodejs_eventloop_lag_p99_seconds");
    expect(await (await api.raw("GET", "/metrics")).text()).toMatch(/vstation_metrics_read_failures_total 1/);
  });
});

describe("the client", () => {
  it("tells an endpoint that is away from one that is not ours", async () => {
    const away = new NativeClient({ endpoint: "http://127.0.0.1:1", token: "x" });
    await expect(away.call("about", {})).rejects.toMatchObject({ kind: "unavailable", code: "EndpointUnreachable" });
    const elsewhere = new NativeClient({ endpoint: `${api.endpoint}/other`, token: "x" });
    await expect(elsewhere.call("about", {})).rejects.toBeInstanceOf(Failure);
  });

  it("gives up at its deadline and says that the outcome is unknown", async () => {
    api.cloud.endAtOnce = false;
    const { operationId } = await anInstance(api.client);
    const call = api.client.call(
      "operationGet",
      { params: { id: operationId }, query: { wait: 30 } },
      { timeoutMs: 100 },
    );
    await expect(call).rejects.toMatchObject({ kind: "timeout", code: "DeadlineExceeded" });
  });

  it("refuses an answer that is not what it expects", async () => {
    (api.cloud.allHosts[0] as unknown as Record<string, unknown>)["name"] = 7;
    await expect(api.client.call("hostList", {})).rejects.toMatchObject({ code: "AnswerNotUnderstood" });
  });
});

/** Waits for a level of the fake, which has no event for it. */
async function until(level: () => boolean): Promise<void> {
  while (!level()) await new Promise((resolve) => setImmediate(resolve));
}
