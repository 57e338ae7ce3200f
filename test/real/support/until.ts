/** Waiting for a level in a test: looks again and again until it holds, and fails with its name when it never does. */
import { setTimeout as delay } from "node:timers/promises";

export async function until(holds: () => boolean | Promise<boolean>, what: string, patienceMs = 30_000): Promise<void> {
  const end = performance.now() + patienceMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`waited ${patienceMs} ms in vain for ${what}`);
    await delay(10);
  }
}
