import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { expect, it } from "vitest";
import { expectFree, freePort } from "./free-port.ts";

it("gives ports that can be listened at and that no connection of this machine is given", async () => {
  const [low = 0] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split("\t").map(Number);
  for (const port of await Promise.all(Array.from({ length: 100 }, freePort))) {
    expect(port).toBeGreaterThanOrEqual(20_000);
    expect(port).toBeLessThan(Math.max(low, 32_768));
    await expectFree(port);
  }
});

it("gives no port twice, to whoever asks", async () => {
  // By chance alone some forty of so many would be the same.
  const ports = await Promise.all(Array.from({ length: 1_000 }, freePort));
  expect(new Set(ports).size).toBe(ports.length);
});

it("says of a port that is taken that it is", async () => {
  const port = await freePort();
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  await expect(expectFree(port)).rejects.toMatchObject({ code: "EADDRINUSE" });
  await new Promise((resolve) => server.close(resolve));
  await expectFree(port);
});
