/**
 * Which processors and hugepages of a host a dedicated instance gets: a pure function of the host's topology and of what the
 * others hold. Compute calls it under one lock and makes the answer durable before it is used (compute/machine/allotments.ts).
 *
 * Rules. A core is given whole, siblings together, to one instance. The first cores of the host are never given: they, and all
 * that nobody holds, are the shared pool, where shared guests run and with them QEMU's own threads of the dedicated ones.
 * An instance gets as few NUMA nodes as can be; when it must span several, its cores and memory are spread evenly and the
 * guest is shown the nodes as they are. Among equal choices the node that is left fullest is taken, so that large gaps stay.
 *
 * A *place* is one hardware thread that is offered. On a real host it is a CPU; on a host with a declared shape several places
 * may be one CPU of the machine below, which is then dedicated in the books only. The rules are the same.
 */
import type { PageSize } from "./machine.ts";
import { pageMiB } from "./machine.ts";

export interface Place {
  readonly place: number;
  /** The CPU of the machine that stands behind it. */
  readonly cpu: number;
  readonly core: number;
  readonly node: number;
}

export interface HostPlaces {
  /** Ordered by place; the places of a core stand together. */
  readonly places: readonly Place[];
  readonly threadsPerCore: number;
  /** So many cores from the first one on are never given. */
  readonly reservedCores: number;
  /** What may be given to guests, whether it is taken or not. */
  readonly hugepages: readonly { readonly node: number; readonly size: PageSize; readonly memoryMiB: number }[];
}

export interface CpuDemand {
  readonly vcpus: number;
  /** null: as many as the host's cores have. */
  readonly threadsPerCore: number | null;
  readonly memoryMiB: number;
  readonly hugepages: PageSize | null;
}

/** What one instance has of one node of the host. */
export interface Share {
  readonly node: number;
  /** Every place that is taken, idle siblings too. */
  readonly held: readonly number[];
  /** The place of each of its vCPUs, in their order. */
  readonly vcpus: readonly number[];
  readonly memoryMiB: number;
}

export interface Allotment {
  readonly hugepages: PageSize | null;
  readonly shares: readonly Share[];
}

export type Plan = { readonly allotment: Allotment } | { readonly refused: "cpus" | "hugepages" };

interface Node {
  readonly node: number;
  /** Free cores, each by its places. */
  readonly cores: readonly (readonly number[])[];
  readonly memoryMiB: number;
}

/** More nodes than this are not tried in every combination; no machine of today has them. */
const mostNodes = 12;

export function planCpus(host: HostPlaces, others: Iterable<Allotment>, demand: CpuDemand): Plan {
  const threads = Math.min(host.threadsPerCore, demand.threadsPerCore ?? host.threadsPerCore);
  const cores = Math.ceil(demand.vcpus / threads);
  const nodes = freeNodes(host, [...others], demand.hugepages).filter((node) => node.cores.length > 0);
  if (nodes.reduce((sum, node) => sum + node.cores.length, 0) < cores) return { refused: "cpus" };
  let best: { shares: readonly Share[]; left: number } | undefined;
  for (let count = 1; count <= Math.min(nodes.length, cores) && best === undefined; count++) {
    for (const chosen of subsets(nodes.slice(0, mostNodes), count)) {
      const shares = spread(chosen, cores, threads, demand);
      if (shares === undefined) continue;
      const left = chosen.reduce((sum, node) => sum + node.cores.length, 0) - cores;
      if (best === undefined || left < best.left) best = { shares, left };
    }
  }
  if (best === undefined) return { refused: "hugepages" };
  return { allotment: { hugepages: demand.hugepages, shares: best.shares } };
}

/** The places that nobody holds; never empty. */
export function sharedPlaces(host: HostPlaces, others: Iterable<Allotment>): Place[] {
  const held = heldBy([...others]);
  return host.places.filter(({ place }) => !held.has(place));
}

/** How many places could be given away in all. */
export function dedicatedPlaces(host: HostPlaces): number {
  return coresOf(host)
    .slice(host.reservedCores)
    .reduce((sum, core) => sum + core.length, 0);
}

function heldBy(others: readonly Allotment[]): Set<number> {
  return new Set(others.flatMap(({ shares }) => shares.flatMap(({ held }) => held)));
}

function coresOf(host: HostPlaces): Place[][] {
  return [...Map.groupBy(host.places, ({ core }) => core).values()];
}

function freeNodes(host: HostPlaces, others: readonly Allotment[], size: PageSize | null): Node[] {
  const held = heldBy(others);
  const free = coresOf(host)
    .slice(host.reservedCores)
    .filter((core) => core.every(({ place }) => !held.has(place)));
  const byNode = Map.groupBy(free, (core) => core[0]?.node ?? 0);
  return [...byNode].map(([node, cores]) => ({
    node,
    cores: cores.map((core) => core.map(({ place }) => place)),
    memoryMiB: size === null ? Infinity : freePages(host, others, node, size),
  }));
}

function freePages(host: HostPlaces, others: readonly Allotment[], node: number, size: PageSize): number {
  const offered = host.hugepages.filter((each) => each.node === node && each.size === size);
  const taken = others
    .filter(({ hugepages }) => hugepages === size)
    .flatMap(({ shares }) => shares.filter((share) => share.node === node));
  return sumMiB(offered) - sumMiB(taken);
}

function sumMiB(all: readonly { readonly memoryMiB: number }[]): number {
  return all.reduce((sum, { memoryMiB }) => sum + memoryMiB, 0);
}

/** Cores and memory over these nodes, each getting some of both; undefined if it does not fit. */
function spread(nodes: readonly Node[], cores: number, threads: number, demand: CpuDemand): Share[] | undefined {
  const perNode = evenly(
    cores,
    nodes.map((node) => node.cores.length),
  );
  if (perNode === undefined) return undefined;
  const page = demand.hugepages === null ? 1 : pageMiB[demand.hugepages];
  const pages = evenly(
    Math.ceil(demand.memoryMiB / page),
    nodes.map((node) => Math.floor(node.memoryMiB / page)),
  );
  if (pages === undefined) return undefined;
  let vcpusLeft = demand.vcpus;
  return nodes.map((node, index) => {
    const taken = node.cores.slice(0, perNode[index]);
    const vcpus = taken.flatMap((core) => core.slice(0, threads)).slice(0, vcpusLeft);
    vcpusLeft -= vcpus.length;
    return { node: node.node, held: taken.flat(), vcpus, memoryMiB: (pages[index] ?? 0) * page };
  });
}

/** `total` in as equal parts as the limits allow, none empty; undefined if it cannot be. */
function evenly(total: number, limits: readonly number[]): number[] | undefined {
  const parts = limits.map(() => 0);
  let left = total;
  while (left > 0) {
    const open = parts.flatMap((part, index) => (part < (limits[index] ?? 0) ? [index] : []));
    if (open.length === 0) return undefined;
    const each = Math.max(1, Math.floor(left / open.length));
    for (const index of open) {
      const more = Math.min(each, left, (limits[index] ?? 0) - (parts[index] ?? 0));
      parts[index] = (parts[index] ?? 0) + more;
      left -= more;
    }
  }
  return parts.every((part) => part > 0) ? parts : undefined;
}

function* subsets<T>(items: readonly T[], count: number): Generator<T[]> {
  if (count === 0) {
    yield [];
    return;
  }
  for (let index = 0; index <= items.length - count; index++) {
    const item = items[index];
    if (item === undefined) return;
    for (const rest of subsets(items.slice(index + 1), count - 1)) yield [item, ...rest];
  }
}
