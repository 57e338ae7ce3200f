/**
 * Finding and ending processes by the kernel's own word, never by a recorded number alone: a number may have been given to
 * somebody else since. Each process that a lab starts carries its home and its name in the environment, and children inherit
 * both, so even a supervisor that was killed at any moment leaves nothing that a later one cannot find.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { sleep } from "../src/lib/retry.ts";

export const homeVariable = "VSTATION_LAB_HOME";
export const childVariable = "VSTATION_LAB_CHILD";

export interface Found {
  readonly pid: number;
  readonly ppid: number;
  /** The VSTATION_LAB_CHILD it carries. */
  readonly child: string;
  readonly pidNamespace: string;
}

/** A process that may end at any moment is read as absent, whatever the error. */
function orUndefined<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

function pids(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

interface Stat {
  readonly comm: string;
  readonly state: string;
  readonly ppid: number;
  /** Clock ticks after boot: with the pid, the identity of a process. */
  readonly startTime: string;
}

export function statOf(pid: number): Stat | undefined {
  const text = orUndefined(() => readFileSync(`/proc/${pid}/stat`, "utf8"));
  if (text === undefined) return undefined;
  const open = text.indexOf("(");
  const close = text.lastIndexOf(")");
  const rest = text.slice(close + 2).split(" ");
  return { comm: text.slice(open + 1, close), state: rest[0] ?? "?", ppid: Number(rest[1]), startTime: rest[19] ?? "" };
}

/** Alive and no zombie. */
export function isAlive(pid: number, startTime?: string): boolean {
  const stat = statOf(pid);
  return (
    stat !== undefined &&
    stat.state !== "Z" &&
    stat.state !== "X" &&
    (startTime === undefined || stat.startTime === startTime)
  );
}

export function pidNamespaceOf(pid: number | "self"): string | undefined {
  return orUndefined(() => readlinkSync(`/proc/${pid}/ns/pid`));
}

/** Every live process of root that carries this home. PostgreSQL's own processes run as another user inside theirs. */
export function processesOf(home: string): Found[] {
  const found: Found[] = [];
  for (const pid of pids()) {
    if (pid === process.pid) continue;
    const environ = orUndefined(() => readFileSync(`/proc/${pid}/environ`, "utf8"));
    if (environ === undefined || !environ.includes(homeVariable)) continue;
    const variables = environ.split("\0");
    if (!variables.includes(`${homeVariable}=${home}`)) continue;
    const child = variables.find((entry) => entry.startsWith(`${childVariable}=`))?.slice(childVariable.length + 1);
    const stat = statOf(pid);
    const pidNamespace = pidNamespaceOf(pid);
    if (child === undefined || stat === undefined || pidNamespace === undefined || stat.state === "Z") continue;
    found.push({ pid, ppid: stat.ppid, child, pidNamespace });
  }
  return found;
}

/**
 * The process that stands for each child: in this pid namespace, and not itself started by a process of the same child.
 * For PostgreSQL and hosts that is the `unshare` which waits for PID 1 of the namespace within.
 */
export function handlesOf(home: string): Map<string, number> {
  const here = pidNamespaceOf("self");
  const all = processesOf(home).filter((entry) => entry.pidNamespace === here);
  const byPid = new Map(all.map((entry) => [entry.pid, entry]));
  const handles = new Map<string, number>();
  for (const entry of all) {
    if (byPid.get(entry.ppid)?.child !== entry.child) handles.set(entry.child, entry.pid);
  }
  return handles;
}

export function childrenOf(parent: number): number[] {
  return pids().filter((pid) => statOf(pid)?.ppid === parent);
}

/** PID 1 of the namespace that an `unshare --pid --fork` waits for, by its number out here. */
export function initOf(unsharePid: number): number | undefined {
  const outside = pidNamespaceOf(unsharePid);
  return childrenOf(unsharePid).find((pid) => pidNamespaceOf(pid) !== outside);
}

export interface Inside {
  readonly pid: number;
  readonly ppid: number;
  readonly command: readonly string[];
}

/** Processes in the same pid namespace as `init`, with their command lines. */
export function processesInside(init: number): Inside[] {
  const namespace = pidNamespaceOf(init);
  if (namespace === undefined) return [];
  return pids()
    .filter((pid) => pidNamespaceOf(pid) === namespace)
    .flatMap((pid) => {
      const stat = statOf(pid);
      const command = orUndefined(() => readFileSync(`/proc/${pid}/cmdline`, "utf8"));
      if (stat === undefined || command === undefined) return [];
      return [{ pid, ppid: stat.ppid, command: command.split("\0").slice(0, -1) }];
    });
}

/** Sends a signal; false when the process is no more. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}

/** Waits until none of these lives; the kernel has no event for processes that are not one's own children. */
export async function gone(which: readonly number[], deadlineMs: number): Promise<boolean> {
  const end = performance.now() + deadlineMs;
  while (which.some((pid) => isAlive(pid))) {
    if (performance.now() > end) return false;
    await sleep(20);
  }
  return true;
}
