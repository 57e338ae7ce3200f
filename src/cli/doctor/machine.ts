/**
 * The machine under it: room on the disk, memory, and what earlier runs left behind.
 *
 * Every process of a lab carries its home in the environment, and its network links carry the lab's number in their names; so
 * what belongs to no living lab can be told from what does, without a list that could be wrong.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { ok, warning, wrong, type Finding } from "./finding.ts";

export interface MachineFolders {
  proc: string;
  net: string;
}
export const thisMachine: MachineFolders = { proc: "/proc", net: "/sys/class/net" };

const gib = 1024 ** 3;
const homeVariable = "VSTATION_LAB_HOME=";

export async function examineDisk(folder: string): Promise<Finding[]> {
  const { bavail, blocks, bsize } = await statfs(folder);
  const free = bavail * bsize;
  const share = Math.round((100 * bavail) / Math.max(1, blocks));
  const message = `${(free / gib).toFixed(1)} GiB (${share} %) free under ${folder}`;
  const next = "free some space: guests whose disk cannot grow are paused, and go on when there is room";
  if (free < gib) return [wrong("disk", message, next)];
  if (free < 10 * gib && share < 10) return [warning("disk", message, next)];
  return [ok("disk", message)];
}

export function examineMemory({ proc }: MachineFolders = thisMachine): Finding[] {
  const text = readFileSync(join(proc, "meminfo"), "utf8");
  const mib = (name: string): number => Number(new RegExp(`^${name}: +(\\d+) kB`, "m").exec(text)?.[1] ?? 0) / 1024;
  const available = Math.round(mib("MemAvailable"));
  const message = `${available} of ${Math.round(mib("MemTotal"))} MiB available`;
  const next = "stop what is not needed: a kernel out of memory ends processes, guests among them";
  if (available < 256) return [wrong("memory", message, next)];
  if (available < 0.1 * mib("MemTotal")) return [warning("memory", message, next)];
  return [ok("memory", message)];
}

export function processAlive(pid: number, { proc }: MachineFolders = thisMachine): boolean {
  try {
    const stat = readFileSync(join(proc, String(pid), "stat"), "utf8");
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false; // gone while we looked
  }
}

/** Programs and links of labs that nobody keeps. */
export function examineLeftovers(home: string, folders: MachineFolders = thisMachine): Finding[] {
  const homes = homesOfProcesses(folders);
  const findings: Finding[] = [];
  for (const [other, pids] of homes.found) {
    if (other === home) continue;
    const what = `${pids.length} programs of a lab in ${other}`;
    if (!existsSync(other)) {
      const next = `its folder is gone; end them: kill -9 ${pids.slice(0, 10).join(" ")}${pids.length > 10 ? " ..." : ""}`;
      findings.push(warning("leftovers", what, next));
    } else if (!supervised(other, folders)) {
      const next = `\`npm stop -- --home ${other}\` ends it, \`npm start -- --home ${other}\` takes it over`;
      findings.push(warning("leftovers", `${what} without a supervisor`, next));
    }
  }
  const kept = new Set([home, ...homes.found.keys()].map((one) => numberOf(one)));
  const strays = linksByNumber(folders);
  for (const [n, links] of strays) {
    if (kept.has(n)) continue;
    const next = links.map((link) => `ip link del ${link}`).join("; ");
    findings.push(warning("leftovers", `network links of a lab that does not run: ${links.join(", ")}`, next));
  }
  if (homes.unread > 0 && process.getuid?.() !== 0) {
    findings.push(warning("leftovers", "not every process can be looked at", "run it as root to be sure"));
  }
  return findings.length === 0 ? [ok("leftovers", "none")] : findings;
}

function homesOfProcesses({ proc }: MachineFolders): { found: Map<string, number[]>; unread: number } {
  const found = new Map<string, number[]>();
  let unread = 0;
  for (const name of readdirSync(proc).filter((entry) => /^\d+$/.test(entry))) {
    let environ: string;
    try {
      environ = readFileSync(join(proc, name, "environ"), "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EACCES") unread++;
      continue; // not ours to read, or gone while we looked
    }
    const value = environ.split("\0").find((entry) => entry.startsWith(homeVariable));
    if (value === undefined) continue;
    const home = value.slice(homeVariable.length);
    found.set(home, [...(found.get(home) ?? []), Number(name)]);
  }
  return { found, unread };
}

function supervised(home: string, folders: MachineFolders): boolean {
  const supervisor = fieldOf(join(home, "status.json"), "supervisor");
  return supervisor !== undefined && processAlive(supervisor, folders);
}

function numberOf(home: string): number | undefined {
  return fieldOf(join(home, "lab.json"), "n");
}

function fieldOf(file: string, name: string): number | undefined {
  try {
    const value = (JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>)[name];
    return typeof value === "number" ? value : undefined;
  } catch {
    return undefined; // no such lab (any more)
  }
}

/** `vs3u`, `vs3x`, `vs3h1`: the links of lab number 3. */
function linksByNumber({ net }: MachineFolders): Map<number, string[]> {
  const links = new Map<number, string[]>();
  for (const name of readdirSync(net)) {
    const n = /^vs(\d{1,2})(?:u|x|h\d+)$/.exec(name)?.[1];
    if (n !== undefined) links.set(Number(n), [...(links.get(Number(n)) ?? []), name]);
  }
  return links;
}
