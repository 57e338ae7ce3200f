/**
 * TCP ports of the loopback address for servers that must be found at the same port after each restart. They come from below the
 * range in which Linux gives connections their own end (`ip_local_port_range`, from 32768 on): while a server is down for a
 * moment, any connection of this machine may be given a port of that range, and the server could not come back.
 */
import { randomInt } from "node:crypto";
import { createServer } from "node:net";

const first = 20_000;
const end = 32_768;

/** One that nobody listens at now. Nothing holds it: two who ask at once have, by its width, one chance in 12,768 of the same. */
export async function freePort(): Promise<number> {
  for (let tries = 0; ; tries++) {
    const port = randomInt(first, end);
    try {
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
