/**
 * What a machine shows by its own tools, before and after a lab: links, addresses, routes, rules, mounts, namespaces,
 * firewall, forwarding, shared memory, processes. A test that says "nothing is left" compares two of these.
 */
import { readdirSync, readFileSync } from "node:fs";
import { planOf } from "./plan.ts";
import { run } from "./run.ts";

/** Kind -> lines. Lines are stable as long as the thing they tell of is the same. */
export type Traces = ReadonlyMap<string, readonly string[]>;

const tools: Record<string, readonly [string, ...string[]]> = {
  processes: ["ps", "axeww", "-o", "pid=,args="],
  links: ["ip", "-o", "link", "show"],
  addresses: ["ip", "-o", "-4", "address", "show"],
  routes: ["ip", "-4", "route", "show", "table", "all"],
  rules: ["ip", "rule", "show"],
  neighbours: ["ip", "neighbour", "show"],
  namespaces: ["lsns", "-n", "-o", "TYPE,PID,COMMAND"],
  firewall: ["nft", "list", "ruleset"],
  "shared memory": ["ipcs", "-m"],
};

export async function traces(): Promise<Traces> {
  const all = new Map<string, string[]>();
  for (const [kind, [program, ...args]] of Object.entries(tools)) all.set(kind, lines(await run(program, args)));
  all.set("mounts", lines(readFileSync("/proc/self/mounts", "utf8")));
  all.set("shared memory files", readdirSync("/dev/shm"));
  all.set("forwarding", await forwarding());
  return all;
}

async function forwarding(): Promise<string[]> {
  const devices = lines(await run("ls", ["/proc/sys/net/ipv4/conf"]));
  return devices.map((device) => {
    try {
      return `${device} ${readFileSync(`/proc/sys/net/ipv4/conf/${device}/forwarding`, "utf8").trim()}`;
    } catch {
      return `${device} has gone`;
    }
  });
}

/**
 * What is there now, was not there before, and speaks of this lab. On a machine that others use as well, everything else may
 * change at any time; what a lab makes always carries its home, its number or its addresses.
 */
export function leftBehind(before: Traces, after: Traces, home: string, n: number): string[] {
  const plan = planOf(n);
  const marks = [home, plan.nftTable, `vs${n}u`, `vs${n}x`, `vs${n}h`, `vs${n}n`, `10.96.${n}.`, `10.${128 + n}.`];
  const left: string[] = [];
  for (const [kind, now] of after) {
    const known = new Set(before.get(kind));
    for (const line of now) {
      if (!known.has(line) && marks.some((mark) => line.includes(mark))) left.push(`${kind}: ${line.slice(0, 300)}`);
    }
  }
  return left;
}

function lines(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}
