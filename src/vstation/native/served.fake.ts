/** For tests: the real handler on a loopback port with the cloud in memory behind it. */
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { Registry } from "prom-client";
import { NativeClient } from "../../api/native/client.ts";
import { createLog } from "../../lib/log.ts";
import { FakeCloud, fakeAccount, fakeToken } from "./cloud.fake.ts";
import { createNativeUpgrade } from "./console.ts";
import { createNativeHandler } from "./handler.ts";

export interface Served extends AsyncDisposable {
  cloud: FakeCloud;
  client: NativeClient;
  endpoint: string;
  /** Ends streams and waits, as a server that closes does. */
  closing: AbortController;
  /** Cuts every connection, as a network does. */
  cut(): void;
  /** A request as it is, for what the typed client would not send. */
  raw(method: string, path: string, options?: { body?: string; headers?: Record<string, string> }): Promise<Response>;
}

export async function served(heartbeatMs = 60_000): Promise<Served> {
  const cloud = new FakeCloud();
  const closing = new AbortController();
  const log = createLog("test");
  log.level = "silent";
  const options = { log, metrics: new Registry(), account: fakeAccount, closing: closing.signal, heartbeatMs };
  const server = createServer(createNativeHandler(cloud, options));
  const sockets = new Set<Socket>();
  // Node forgets a connection that was upgraded; a network does not.
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("upgrade", createNativeUpgrade(cloud, options));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    cloud,
    closing,
    endpoint,
    cut: () => sockets.forEach((socket) => socket.destroy()),
    client: new NativeClient({ endpoint, token: fakeToken }),
    raw: (method, path, { body, headers } = {}) =>
      fetch(endpoint + path, {
        method,
        headers: { authorization: `Bearer ${fakeToken}`, ...headers },
        ...(body === undefined ? {} : { body }),
      }),
    async [Symbol.asyncDispose]() {
      closing.abort();
      sockets.forEach((socket) => socket.destroy());
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
