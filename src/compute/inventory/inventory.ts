/** What this host is and has: processors, memory, NUMA, versions. A declared shape (lab) takes the place of the machine's capacity. */
import { readFile, statfs } from "node:fs/promises";
import { hostname, release } from "node:os";
import { join } from "node:path";
import type { Inventory } from "../../api/agent.ts";
import { dedicatedPlaces, type HostPlaces } from "../../core/cpu-plan.ts";
import type { PageSize } from "../../core/machine.ts";
import { namesIn } from "../../lib/files.ts";
import type { ComputeConfig } from "../config.ts";

const nodesDirectory = "/sys/devices/system/node";

export async function readInventory(
  config: ComputeConfig,
  versions: { libvirt: string; qemu: string },
  places: HostPlaces,
): Promise<Inventory> {
  const [cpuText, numa, memory, disk] = await Promise.all([
    readFile("/proc/cpuinfo", "utf8"),
    readNuma(),
    readFile("/proc/meminfo", "utf8"),
    statfs(config.stateDir),
  ]);
  const cpu = parseCpuinfo(cpuText);
  const { shape } = config;
  const pagesMiB = (size: PageSize): number =>
    places.hugepages.filter((each) => each.size === size).reduce((sum, { memoryMiB }) => sum + memoryMiB, 0);
  const offers = { dedicated: dedicatedPlaces(places), pages2MiB: pagesMiB("2M"), pages1GiB: pagesMiB("1G") };
  const own = {
    cores: cpu.threads,
    // Pages that were set aside serve nobody else.
    memoryMiB: Math.floor(field(memory, "MemTotal") / 1024) - offers.pages2MiB - offers.pages1GiB,
    diskGiB: Math.floor((disk.blocks * disk.bsize) / 2 ** 30),
  };
  const { cores, memoryMiB, diskGiB } = shape === "machine" ? own : shape;
  return {
    hostname: hostname().slice(0, 256),
    cores,
    memoryMiB,
    diskGiB,
    cpu: cpu.description,
    numa,
    offers,
    versions: { compute: "0.1.0", ...versions, kernel: release().slice(0, 128), node: process.versions.node },
  };
}

/** Reads /proc/cpuinfo's text. */
export function parseCpuinfo(text: string): { threads: number; description: Inventory["cpu"] } {
  const blocks = text.split(/\n\s*\n/).filter((block) => /^processor\s*:/m.test(block));
  const value = (block: string, name: string): string => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(block)?.[1] ?? "";
  const first = blocks[0] ?? "";
  const sockets = new Set(blocks.map((block) => value(block, "physical id") || "0"));
  const coresPerSocket = Number(value(first, "cpu cores")) || Math.max(1, blocks.length / sockets.size);
  return {
    threads: blocks.length,
    description: {
      model: value(first, "model name").slice(0, 128),
      vendor: value(first, "vendor_id").slice(0, 64),
      sockets: sockets.size,
      coresPerSocket: Math.floor(coresPerSocket),
      threadsPerCore: Math.max(1, Math.round(blocks.length / (sockets.size * coresPerSocket))),
      mhz: Number(value(first, "cpu MHz")) || 0,
    },
  };
}

export async function readNuma(): Promise<Inventory["numa"]> {
  const names = await namesIn(nodesDirectory);
  const nodes = names.flatMap((name) => /^node(\d+)$/.exec(name)?.[1] ?? []);
  return Promise.all(
    nodes.map(async (node) => {
      const directory = join(nodesDirectory, `node${node}`);
      const memory = await readFile(join(directory, "meminfo"), "utf8");
      return {
        node: Number(node),
        cpus: (await readFile(join(directory, "cpulist"), "utf8")).trim(),
        memoryMiB: Math.floor(field(memory, "MemTotal") / 1024),
        hugepages: await readHugepages(join(directory, "hugepages")),
      };
    }),
  );
}

async function readHugepages(directory: string): Promise<Inventory["numa"][number]["hugepages"]> {
  const sizes = (await namesIn(directory)).flatMap((name) => /^hugepages-(\d+)kB$/.exec(name)?.[1] ?? []);
  return Promise.all(
    sizes.map(async (size) => {
      const number = async (name: string): Promise<number> =>
        Number((await readFile(join(directory, `hugepages-${size}kB`, name), "utf8")).trim());
      return { sizeKiB: Number(size), total: await number("nr_hugepages"), free: await number("free_hugepages") };
    }),
  );
}

/** KiB behind a name in a meminfo text. */
export function field(text: string, name: string): number {
  return Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(text)?.[1] ?? 0);
}
