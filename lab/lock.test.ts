import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { takeLock } from "./lock.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "lab-lock-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

it("is held by one, and free again when that one lets go", async () => {
  const first = await takeLock(dir, 0);
  expect(first).toBeDefined();
  expect(await takeLock(dir, 0)).toBeUndefined();
  await first?.release();
  const second = await takeLock(dir, 0);
  expect(second).toBeDefined();
  await second?.release();
});

it("passes to who waits for it", async () => {
  const first = await takeLock(dir, 0);
  const waiting = takeLock(dir, 30);
  await first?.release();
  const second = await waiting;
  expect(second).toBeDefined();
  await second?.release();
});

it("is dropped when its holder is killed", async () => {
  const script = `
    import { takeLock } from ${JSON.stringify(join(import.meta.dirname, "lock.ts"))};
    await takeLock(${JSON.stringify(dir)}, 0);
    process.stdout.write("held");
    setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((resolve) => holder.stdout.once("data", resolve));
  expect(await takeLock(dir, 0)).toBeUndefined();
  holder.kill("SIGKILL");
  const next = await takeLock(dir, 30);
  expect(next).toBeDefined();
  await next?.release();
});

it("says what is wrong when there is nothing to lock", async () => {
  await expect(takeLock(join(dir, "absent/file"), 0)).rejects.toThrow("absent/file");
});
