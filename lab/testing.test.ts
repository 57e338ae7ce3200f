import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { until } from "../test/until.ts";
import { childVariable, homeVariable, initOf, processesInside, statOf } from "./processes.ts";
import { TestLab } from "./testing.ts";

it.skipIf(process.getuid?.() !== 0)("does not take for a service what one has forked, killed or not", async () => {
  const lab = new TestLab();
  const home = lab.home.path;
  mkdirSync(join(home, "host"));
  // A shell by another name: what it forks keeps that name.
  symlinkSync("/bin/sh", join(home, "libvirtd"));
  const services = join(home, "host/services.sh");
  writeFileSync(
    services,
    `"${home}/libvirtd" -c '(read never <&3) & kill -9 $$'\n` +
      `"${home}/libvirtd" -c '(read never <&3) & wait' &\nwait\n`,
  );
  const handle = spawn("unshare", ["--pid", "--fork", "--kill-child=SIGKILL", "tini", "--", "sh", services], {
    env: { ...process.env, [homeVariable]: home, [childVariable]: "host1" },
    // Nobody ever writes into the last.
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  const ended = once(handle, "exit");
  try {
    const alike = await until("the service and both forks", () => {
      const init = initOf(handle.pid ?? 0);
      const found = init === undefined ? [] : processesInside(init);
      const pids = found.filter(({ command }) => command[0]?.endsWith("libvirtd") === true).map(({ pid }) => pid);
      return pids.length === 3 && pids;
    });
    const service = alike.find((pid) => alike.some((other) => statOf(other)?.ppid === pid));
    expect(lab.pidOf("host1/libvirtd")).toBe(service);
    expect(lab.pidOf("host1/compute")).toBeUndefined();
  } finally {
    handle.kill("SIGKILL");
    await ended;
    await rm(home, { recursive: true });
  }
});
