/**
 * Which host takes an instance. A host is asked twice: may it (state, zone, room, group), and how well would it fit. The best fit is
 * the one that leaves the least stranded: what remains should be small, and in the proportion in which it can still be sold.
 * Pure and total; ties go to the lower host id, so that the same input has the same answer.
 */
import type { CapacityReason } from "./failure-codes.ts";
import type { GroupId, HostId } from "../lib/ids.ts";

/** An amount of room, taken or offered. */
export interface Room {
  vcpus: number;
  memoryMiB: number;
  diskGiB: number;
}

export interface PlacementHost {
  readonly id: HostId;
  readonly zone: string;
  /** Takes new instances: connected, ready, not cordoned. */
  readonly open: boolean;
  /** With overcommit applied. */
  readonly capacity: Readonly<Room>;
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
  let fitsEmpty = false;
  let fitsBarGroup = false;
  for (const host of hosts) {
    if (host.zone !== ask.zone) continue;
    fitsEmpty ||= hasRoom(host.capacity, nothingUsed, ask.room);
    if (!host.open || ask.not.includes(host.id) || !hasRoom(host.capacity, host.used, ask.room)) continue;
    fitsBarGroup = true;
    if (ask.group !== null && host.members(ask.group.id) >= ask.group.affinity) continue;
    const score = scoreOf(host, ask.room);
    if (best === undefined || score < best.score || (score === best.score && host.id < best.id)) {
      best = { id: host.id, score };
    }
  }
  if (best !== undefined) return { host: best.id };
  if (fitsBarGroup) return { refused: "group" };
  return { refused: fitsEmpty ? "no_room" : "type_too_large" };
}

const nothingUsed: Room = { vcpus: 0, memoryMiB: 0, diskGiB: 0 };

export function hasRoom(capacity: Readonly<Room>, used: Readonly<Room>, ask: Readonly<Room>): boolean {
  return (
    used.vcpus + ask.vcpus <= capacity.vcpus &&
    used.memoryMiB + ask.memoryMiB <= capacity.memoryMiB &&
    used.diskGiB + ask.diskGiB <= capacity.diskGiB
  );
}

/** Lower is better: the share that stays free, and how lopsided it would be (free memory without cores sells to nobody). */
function scoreOf(host: PlacementHost, ask: Readonly<Room>): number {
  const cpu = freeShare(host.capacity.vcpus, host.used.vcpus + ask.vcpus);
  const memory = freeShare(host.capacity.memoryMiB, host.used.memoryMiB + ask.memoryMiB);
  return cpu + memory + 2 * Math.abs(cpu - memory);
}

function freeShare(capacity: number, used: number): number {
  return capacity === 0 ? 0 : (capacity - used) / capacity;
}

/** How many more of this size fit into one host. */
export function fits(capacity: Readonly<Room>, used: Readonly<Room>, ask: Readonly<Room>): number {
  const counts = (["vcpus", "memoryMiB", "diskGiB"] as const)
    .filter((key) => ask[key] > 0)
    .map((key) => Math.floor((capacity[key] - used[key]) / ask[key]));
  return Math.max(0, Math.min(...counts));
}
