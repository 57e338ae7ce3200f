/**
 * TCP ports of the loopback address for servers that must be found at the same port after each restart. They come from below the
 * range in which Linux gives connections their own end (`ip_local_port_range`, from 32768 on): while a server is down for a
 * moment, any connection of this machine may be given a port of that range, and the server could not come back.
 *
 * Between choosing a port and listening at it seconds pass, in which another process could choose the same one, as
 * test files at once do. So a port is held by the UDP port of the same number, which no one else of these
 * processes uses: the kernel gives it to one of them, and takes it back when that one ends, however it ends.
 */
import { createSocket } from "node:dgram";
import { randomInt } from "node:crypto";
import { createServer } from "node:net";

const first = 20_000;
const end = 32_768;

/** One that nobody listens at now, and that {@link freePort} gives nobody else until this process ends. */
export async function freePort(): Promise<number> {
  for (let tries = 0; ; tries++) {
    const port = randomInt(first, end);
    try {
      await hold(port);
      await expectFree(port);
      return port;
    } catch (error) {
      if (tries >= 100) throw error;
    }
  }
}

/** Rejects with EADDRINUSE when somebody has it. */
export function expectFree(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => server.close(() => resolve()));
  });
}

function hold(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket("udp4").unref();
    socket.once("error", (error) => {
      socket.close();
      reject(error);
    });
    socket.bind({ port, address: "127.0.0.1", exclusive: true }, resolve);
  });
}
