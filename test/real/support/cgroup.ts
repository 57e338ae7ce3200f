/**
 * A cgroup of a machine's own (machine.ts). Two systemd in one would have the same names for their services: one removes an empty group
 * that the other has just made for a program that is not in it yet, and each finds processes that it cannot see.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { until } from "../../until.ts";

/** Makes one below this process's and returns its folder; undefined on a machine where that cannot be. */
export function makeCgroup(name: string): string | undefined {
  const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n");
  // The only hierarchy, or beside those of version 1.
  const top = mounts.map((line) => line.split(" ")).find(([, , type]) => type === "cgroup2")?.[1];
  const own = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1];
  if (top === undefined || own === undefined) return undefined;
  const path = join(top, own, name);
  try {
    mkdirSync(path);
  } catch {
    return undefined;
  }
  return path;
}

/** Removes it, if it is there yet, with what the machine has made in it, once the kernel is done with the last process there, just after its end. */
export async function removeCgroup(path: string): Promise<void> {
  await until(`nothing runs in ${path}`, () => {
    if (existsSync(path)) removeFrom(path);
    return true;
  });
}

/** The files in a group are the kernel's, and go with it. */
function removeFrom(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) removeFrom(join(path, entry.name));
  }
  rmdirSync(path);
}
