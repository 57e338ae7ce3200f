/**
 * Which host takes an instance. A host is asked twice: may it (state, zone, room, group), and how well would it fit. The best fit is
 * the one that leaves the least stranded: what remains should be small, and in the proportion in which it can still be sold.
 * Pure and total; ties go to the lower host id, so that the same input has the same answer.
 */
import type { CapacityReason } from "./failure-codes.ts";
import type { GroupId, HostId } from "../lib/ids.ts";
import type { Promised } from "./machine.ts";

/** An amount of room, taken or offered. */
export interface Room {
  /** Of instances that share the processors; see {@link Capacity}. */
  vcpus: number;
  /** Processors that are one instance's own. */
  dedicated: number;
  /** Ordinary memory; hugepages are set aside beside it, by size. */
  memoryMiB: number;
  pages2MiB: number;
  pages1GiB: number;
  diskGiB: number;
}

/**
 * What a host offers. `vcpus` is what could be shared if nothing were dedicated: of each dedicated processor, `overcommit` vCPUs
 * less may share the rest.
 */
export interface Capacity extends Room {
  overcommit: number;
}

export const emptyRoom: Readonly<Room> = {
  vcpus: 0,
  dedicated: 0,
  memoryMiB: 0,
  pages2MiB: 0,
  pages1GiB: 0,
  diskGiB: 0,
};

/** What an instance takes on its host. */
export function roomOf(size: { vcpus: number; memoryMiB: number; diskGiB: number }, promised: Promised): Room {
  const { cpu, hugepages } = promised;
  return {
    vcpus: cpu === "shared" ? size.vcpus : 0,
    dedicated: cpu === "dedicated" ? size.vcpus : 0,
    memoryMiB: hugepages === null ? size.memoryMiB : 0,
    pages2MiB: hugepages === "2M" ? size.memoryMiB : 0,
    pages1GiB: hugepages === "1G" ? size.memoryMiB : 0,
    diskGiB: size.diskGiB,
  };
}

export function addRoom(a: Readonly<Room>, b: Readonly<Room>, times = 1): Room {
  return {
    vcpus: a.vcpus + times * b.vcpus,
    dedicated: a.dedicated + times * b.dedicated,
    memoryMiB: a.memoryMiB + times * b.memoryMiB,
    pages2MiB: a.pages2MiB + times * b.pages2MiB,
    pages1GiB: a.pages1GiB + times * b.pages1GiB,
    diskGiB: a.diskGiB + times * b.diskGiB,
  };
}

export interface PlacementHost {
  readonly id: HostId;
  /** null: it was taken out of its zone. */
  readonly zone: string | null;
  /** Takes new instances: connected, ready, not cordoned. */
  readonly open: boolean;
  /** With overcommit applied; null: it has joined, and has not said yet what it has. */
  readonly capacity: Readonly<Capacity> | null;
  readonly used: Readonly<Room>;
  /** How many members of a group it holds. */
  members(group: GroupId): number;
}

export interface PlacementAsk {
  readonly zone: string;
  readonly room: Readonly<Room>;
  readonly group: { readonly id: GroupId; readonly affinity: number } | null;
  /** Hosts that have been tried in vain. */
  readonly not: readonly HostId[];
}

export type Choice = { readonly host: HostId } | { readonly refused: CapacityReason };

/** The host for one instance, or why there is none. */
export function choose(hosts: Iterable<PlacementHost>, ask: PlacementAsk): Choice {
  let best: { id: HostId; score: number } | undefined;
  let anyHost = false;
  let mayFitEmpty = false;
  let fitsBarGroup = false;
  for (const host of hosts) {
    if (host.zone !== ask.zone) continue;
    anyHost = true;
    const { capacity } = host;
    mayFitEmpty ||= capacity === null || hasRoom(capacity, emptyRoom, ask.room);
    if (capacity === null || !host.open || ask.not.includes(host.id)) continue;
    if (!hasRoom(capacity, host.used, ask.room)) continue;
    fitsBarGroup = true;
    if (ask.group !== null && host.members(ask.group.id) >= ask.group.affinity) continue;
    const score = scoreOf(capacity, host.used, ask.room);
    if (best === undefined || score < best.score || (score === best.score && host.id < best.id)) {
      best = { id: host.id, score };
    }
  }
  if (best !== undefined) return { host: best.id };
  if (fitsBarGroup) return { refused: "group" };
  if (!anyHost) return { refused: "no_host" };
  return { refused: mayFitEmpty ? "no_room" : "type_too_large" };
}

export function hasRoom(capacity: Readonly<Capacity>, used: Readonly<Room>, ask: Readonly<Room>): boolean {
  return demands(capacity, used, ask).every(({ free, each }) => each <= free);
}

/** How many more of this size fit into one host. */
export function fits(capacity: Readonly<Capacity>, used: Readonly<Room>, ask: Readonly<Room>): number {
  return Math.max(0, Math.min(...demands(capacity, used, ask).map(({ free, each }) => Math.floor(free / each))));
}

/** What is asked for and what is left of it. Where a host has given away more than it now offers, that bars nobody who asks for none. */
function demands(capacity: Readonly<Capacity>, used: Readonly<Room>, ask: Readonly<Room>) {
  const processors = ({ vcpus, dedicated }: Readonly<Room>): number => vcpus + capacity.overcommit * dedicated;
  const all = [{ free: capacity.vcpus - processors(used), each: processors(ask) }];
  for (const key of ["dedicated", "memoryMiB", "pages2MiB", "pages1GiB", "diskGiB"] as const) {
    all.push({ free: capacity[key] - used[key], each: ask[key] });
  }
  return all.filter(({ each }) => each > 0);
}

/** Lower is better: the share that stays free, and how lopsided it would be (free memory without cores sells to nobody). */
function scoreOf(capacity: Readonly<Capacity>, used: Readonly<Room>, ask: Readonly<Room>): number {
  const after = addRoom(used, ask);
  const cpu = freeShare(capacity.vcpus, after.vcpus + capacity.overcommit * after.dedicated);
  const memory = freeShare(memoryOf(capacity), memoryOf(after));
  return cpu + memory + 2 * Math.abs(cpu - memory);
}

/** In ordinary pages and in large ones. */
export function memoryOf({ memoryMiB, pages2MiB, pages1GiB }: Readonly<Room>): number {
  return memoryMiB + pages2MiB + pages1GiB;
}

function freeShare(capacity: number, used: number): number {
  return capacity === 0 ? 0 : (capacity - used) / capacity;
}
