/** Whatever is sent, the answer keeps the rules; bad input is never our fault. The `Cloud` is a fake: wire rules only. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cvmErrorCodes } from "./error-codes.ts";
import { services } from "./known-actions/known-actions.ts";
import { actions } from "./actions.ts";
import { fakeCloud, testImage } from "./cloud.fake.ts";
import { call, send, serveFake, signedHeaders, type RawAnswer, type TestServer } from "./served.fake.ts";

let server: TestServer;
beforeAll(async () => {
  server = await serveFake(fakeCloud().cloud);
});
afterAll(() => server.close());

const knownActions = Object.values(services).flatMap(({ actions: names }): string[] => [...names]);
const codes: readonly string[] = Object.keys(cvmErrorCodes).filter((code) => code !== "InternalError");

/** What is wrong with an answer, whatever it says. */
function problemsOf({ status, headers, response }: RawAnswer): string[] {
  const code = response.Error?.Code;
  return [
    status === 200 ? "" : `status ${status}`,
    headers["content-type"] === "application/json" ? "" : `type ${headers["content-type"] ?? "absent"}`,
    /^[0-9a-f-]{36}$/.test(response.RequestId) ? "" : "no request id",
    code === undefined || codes.includes(code) ? "" : `code ${code}`,
  ].filter((problem) => problem !== "");
}

const offered = fc.constantFrom(...actions.map((action) => action.name));
const headerText = fc.string({
  unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
  maxLength: 200,
});

// oxfmt-ignore
const names = [
  "InstanceIds",
  "Filters",
  "Offset",
  "Limit",
  "Attributes",
  "Placement",
  "ImageId",
  "InstanceType",
  "InstanceCount",
  "MinCount",
  "InstanceName",
  "HostName",
  "ClientToken",
  "UserData",
  "SystemDisk",
  "LoginSettings",
  "TagSpecification",
  "VirtualPrivateCloud",
  "KeyIds",
  "KeyName",
  "ProjectId",
  "PublicKey",
  "Name",
  "Type",
  "Affinity",
  "DisasterRecoverGroupIds",
  "StopType",
  "ForceStop",
  "DryRun",
  "DataDisks",
  "EnhancedService",
  "ImageIds",
  "InternetAccessible",
  "__proto__",
  "constructor",
  "toString",
  "Zone",
  "Tags",
];
const leaf = fc.oneof(
  fc.string(),
  fc.integer(),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
  fc.constantFrom(
    "ins-00000001",
    testImage,
    "lab-1",
    "T1.SMALL1",
    "HOST",
    "UserData",
    "zone",
    "tag:",
    "\0",
    "\ud800",
    "😀",
  ),
);
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    leaf,
    fc.array(tie("value"), { maxLength: 4 }),
    fc
      .array(fc.tuple(fc.constantFrom(...names, "Values", "Key", "Value", "ResourceType"), tie("value")), {
        maxLength: 4,
      })
      .map(Object.fromEntries),
  ),
}));
const parameters = fc
  .array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 6 })
  .map((entries) => Object.fromEntries(entries) as object);

// Each run is a connection of its own.
describe("the rules of an answer hold", { timeout: 120_000 }, () => {
  it("for any parameters of any action, as JSON", () =>
    fc.assert(
      fc.asyncProperty(
        fc.oneof(offered, fc.constantFrom(...knownActions), headerText),
        parameters,
        async (action, given) => {
          expect(problemsOf(await call(server.port, action.trim(), given))).toEqual([]);
        },
      ),
      { numRuns: 200 },
    ));

  it("for requests that are almost right", () => {
    const minimal = { Placement: { Zone: "lab-1" }, ImageId: testImage, InstanceType: "T1.SMALL1" };
    return fc.assert(
      fc.asyncProperty(fc.constantFrom(...names), value, async (name, odd) => {
        const answer = await call(
          server.port,
          "RunInstances",
          Object.fromEntries([...Object.entries(minimal), [name, odd]]),
        );
        expect(problemsOf(answer)).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });

  it("for any signed bytes as a body", () =>
    fc.assert(
      fc.asyncProperty(offered, fc.uint8Array({ maxLength: 200 }), async (action, bytes) => {
        expect(problemsOf(await call(server.port, action, {}, { body: Buffer.from(bytes) }))).toEqual([]);
      }),
      { numRuns: 200 },
    ));

  it("for any query", () =>
    fc.assert(
      fc.asyncProperty(
        offered,
        fc.array(fc.tuple(fc.constantFrom(...names), fc.webFragments(), fc.webQueryParameters())),
        async (action, parts) => {
          const query = parts.map(([name, step, text]) => `${name}.${step}=${text}`).join("&");
          expect(problemsOf(await call(server.port, action, {}, { method: "GET", target: `/?${query}` }))).toEqual([]);
        },
      ),
      { numRuns: 200 },
    ));

  it("for any headers", () => {
    const headerNames = [
      "authorization",
      "x-tc-action",
      "x-tc-version",
      "x-tc-region",
      "x-tc-timestamp",
      "x-tc-token",
      "x-tc-traceid",
      "content-type",
      "host",
    ];
    return fc.assert(
      fc.asyncProperty(fc.dictionary(fc.constantFrom(...headerNames), headerText), async (odd) => {
        const headers = {
          ...signedHeaders("DescribeZones", { body: "{}" }),
          ...odd,
          host: (odd["host"] ?? "cvm.example").trim() || "x",
        };
        expect(problemsOf(await send(server.port, { headers, body: "{}" }))).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });
});
