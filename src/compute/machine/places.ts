/**
 * The places (core/cpu-plan.ts) and hugepages that this host has to give: the machine's own, read from /sys, or what a declared shape
 * says, laid over the machine's processors in a circle.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { HostPlaces, Place } from "../../core/cpu-plan.ts";
import { pageMiB, pageSizes } from "../../core/machine.ts";
import { namesIn } from "../../lib/files.ts";
import type { ComputeConfig } from "../config.ts";

export type HostShape = ComputeConfig["shape"];

const root = "/sys/devices/system";
/** The host's own work needs a core even where everything else is given away. */
const reservedCores = 1;

export async function readPlaces(shape: HostShape, sys = root): Promise<HostPlaces> {
  const own = await readCpus(sys);
  if (shape === "machine") {
    const hugepages = await readHugepages(sys);
    return { places: own, threadsPerCore: threadsOf(own), reservedCores, hugepages };
  }
  const nodes = shape.numaNodes ?? 1;
  const perNode = Math.ceil(shape.cores / nodes);
  const places = Array.from({ length: shape.cores }, (_, place) => ({
    place,
    cpu: own[place % own.length]?.cpu ?? 0,
    core: place,
    node: Math.floor(place / perNode),
  }));
  const memoryMiB = Math.floor((shape.hugepagesMiB ?? 0) / nodes);
  const hugepages = Array.from({ length: nodes }, (_, node) => ({ node, size: "2M" as const, memoryMiB }));
  return { places, threadsPerCore: 1, reservedCores, hugepages: memoryMiB === 0 ? [] : hugepages };
}

/** Does a place stand for a processor of its own, so that dedicated means what it says? */
export function isReal(host: HostPlaces): boolean {
  return new Set(host.places.map(({ cpu }) => cpu)).size === host.places.length;
}

/** The nodes of the machine below; a declared shape may count more. */
export async function readNodes(sys = root): Promise<number[]> {
  return (await namesIn(join(sys, "node"))).flatMap((name) => numberIn(/^node(\d+)$/, name)).toSorted((a, b) => a - b);
}

/** Every processor that is online, the threads of a core side by side. */
async function readCpus(sys: string): Promise<Place[]> {
  const nodes = new Map<number, number>();
  for (const node of await readNodes(sys)) {
    for (const cpu of parseCpuList(await readFile(join(sys, "node", `node${node}`, "cpulist"), "utf8"))) {
      nodes.set(cpu, node);
    }
  }
  const online = parseCpuList(await readFile(join(sys, "cpu/online"), "utf8"));
  const places = await Promise.all(
    online.map(async (cpu) => {
      const file = join(sys, "cpu", `cpu${cpu}`, "topology/thread_siblings_list");
      // The first sibling's number is as good a name of the core as any; core_id repeats from socket to socket.
      const [core] = parseCpuList(await readFile(file, "utf8"));
      return { place: cpu, cpu, core: core ?? cpu, node: nodes.get(cpu) ?? 0 };
    }),
  );
  return places.toSorted((a, b) => a.core - b.core || a.cpu - b.cpu);
}

function threadsOf(places: readonly Place[]): number {
  return Math.max(1, ...[...Map.groupBy(places, ({ core }) => core).values()].map((core) => core.length));
}

/** Pages that belong to nobody but the guests; read each time, because the operator may change their number. */
async function readHugepages(sys: string): Promise<HostPlaces["hugepages"]> {
  const found: { node: number; size: (typeof pageSizes)[number]; memoryMiB: number }[] = [];
  for (const node of await readNodes(sys)) {
    for (const size of pageSizes) {
      const folder = join(sys, "node", `node${node}`, "hugepages", `hugepages-${pageMiB[size] * 1024}kB`);
      const pages = Number(await readFile(join(folder, "nr_hugepages"), "utf8").catch(() => "0"));
      if (pages > 0) found.push({ node, size, memoryMiB: pages * pageMiB[size] });
    }
  }
  return found;
}

/** The kernel's notation, "0-3,8,10-11". */
export function parseCpuList(text: string): number[] {
  return text
    .trim()
    .split(",")
    .filter((part) => part !== "")
    .flatMap((part) => {
      const [first = 0, last = first] = part.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}

export function cpuList(cpus: readonly number[]): string {
  const sorted = [...new Set(cpus)].toSorted((a, b) => a - b);
  const ranges: [number, number][] = [];
  for (const cpu of sorted) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === cpu - 1) last[1] = cpu;
    else ranges.push([cpu, cpu]);
  }
  return ranges.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`)).join(",");
}

function numberIn(pattern: RegExp, name: string): number[] {
  const found = pattern.exec(name)?.[1];
  return found === undefined ? [] : [Number(found)];
}
