import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Registry } from "prom-client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NativeClient } from "../../api/native/client.ts";
import { createLog } from "../../lib/log.ts";
import { FakeCloud, fakeAccount, fakeHost, fakeImage, fakeToken } from "./cloud.fake.ts";
import { createNativeHandler } from "./handler.ts";

let cloud: FakeCloud;
let server: Server;
let closing: AbortController;
let endpoint: string;
let client: NativeClient;

beforeEach(async () => {
  cloud = new FakeCloud();
  closing = new AbortController();
  const log = createLog("test");
  log.level = "silent";
  const options = { log, metrics: new Registry(), account: fakeAccount, closing: closing.signal };
  server = createServer(createNativeHandler(cloud, options));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  client = new NativeClient({ endpoint, token: fakeToken });
});

afterEach(async () => {
  closing.abort();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

describe("the native API", () => {
  it("lists hosts", async () => {
    const { total, hosts } = await client.call("hostList", {});
    expect(total).toBe(1);
    expect(hosts[0]).toMatchObject({ id: fakeHost, name: "host1", state: "ready" });
  });

  it("runs an instance and follows its operation", async () => {
    const { instanceIds, operationIds } = await client.call("instanceRun", {
      request: { instanceType: "T1.SMALL1", imageId: fakeImage, name: "a" },
    });
    const operation = await client.call("operationGet", { params: { id: operationIds[0] ?? "" }, query: { wait: 5 } });
    expect(operation.state).toBe("SUCCEEDED");
    const instance = await client.call("instanceGet", { params: { id: instanceIds[0] ?? "" } });
    expect(instance).toMatchObject({ name: "a", state: "RUNNING", accountId: fakeAccount });
  });
});
