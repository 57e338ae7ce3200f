/**
 * Whether a guest can go from one host to another, from what the two hosts say of themselves: a pure function. Asked before anything is
 * begun (a dry run, which wants every reason), and again by the target before it makes a machine for the guest, so before any memory
 * moves. The wire schema is src/api/agent-preflight.ts.
 *
 * What VStation knows by itself (state, room, cordon, anti-affinity) it refuses before a host is asked.
 */
import type { DiskId } from "../../lib/ids.ts";
import { firstOf } from "../../lib/words.ts";

/** Reasons for which hosts refuse a move; names are stable. */
export const preflightReasons = [
  /** It is paused, off, or libvirt does not say. */
  "guest_not_running",
  /** libvirt or QEMU has something under way with it. */
  "guest_busy",
  /** QEMU names a device or a setting of it that cannot be moved. */
  "guest_blocked",
  /** The target's processor is another one than the guest has. */
  "cpu_differs",
  /** The target's QEMU makes another machine, or is an older one. */
  "machine_differs",
  /** A disk, or the folder that it lies in, is not reached from the target. */
  "disk_missing",
  /** What is reached there by its name is another disk. */
  "disk_differs",
  /** Something that the guest needs lies on its host and nowhere else. */
  "state_local",
  /** The target's memory, or its hugepages, are taken by others. */
  "memory_missing",
  /** Every port for the memory of guests that come is in use at the target. */
  "ports_taken",
  /** It was to be by post-copy, and the guest or the target has something for which that cannot be. */
  "postcopy_unavailable",
  /** The two hosts do not have the same time. */
  "clock_differs",
] as const;
export type PreflightReason = (typeof preflightReasons)[number];

export interface PreflightRefusal {
  readonly reason: PreflightReason;
  readonly message: string;
}

export interface DiskFacts {
  readonly id: DiskId;
  /** What the guest sees of it; null: its file is not there. */
  readonly bytes: number | null;
}

interface HostFacts {
  /** Of a guest's processor there. */
  readonly cpuFeatures: readonly string[];
  /** QEMU's name of the machine, with its version; at the target of the one that it would make. */
  readonly machineType: string;
  /** How its devices lie on the bus (compute/vm/domain-xml/slots.ts). */
  readonly layout: number;
  readonly qemu: string;
  /** By what the zone's shared folder is known; null: it is not mounted. */
  readonly sharedFolder: string | null;
  /** Those in the shared folder. */
  readonly disks: readonly DiskFacts[];
  /** By its own clock, when it said this. */
  readonly nowMs: number;
}

export interface SourceFacts extends HostFacts {
  readonly guest: "running" | "paused" | "off" | "unknown";
  /** What is under way with it, in words; null: nothing. */
  readonly busy: string | null;
  /** Why QEMU does not let it go. */
  readonly blocked: readonly string[];
  /** KVM keeps a ring of the pages that each of its processors changes. Left out where it does not, for hosts that know of none. */
  readonly dirtyRing?: boolean | undefined;
  readonly memoryBytes: number;
  /** What of its memory it has ever touched: so much is sent. */
  readonly residentBytes: number;
}

export interface TargetFacts extends HostFacts {
  /** What keeps it at its host, in words; null: nothing. */
  readonly local: string | null;
  /** In pages of the guest's kind. */
  readonly freeBytes: number;
  readonly hugepages: boolean;
  readonly freePorts: number;
  /** A QEMU there could fetch memory that it lacks while the guest runs. */
  readonly postcopy: boolean;
  /** The guest's image lies there; else it is fetched first. */
  readonly imageHere: boolean;
}

/** Of ordinary pages, beside what the guest takes: a host that has less begins to swap, or to kill. */
const headroom = 1.1;
/** Guests' clocks go on from their source's, and certificates are looked at by each host's own. */
const mostSkewMs = 30_000;
const shownFeatures = 12;

/** What the move is to be beside what the guest is. */
export interface Manner {
  readonly postcopy: boolean;
  /** Some are copied with the memory. */
  readonly localDisks: boolean;
}

/** Every reason. `skewMs`: how far the target's clock is before the source's. */
export function refusalsOf(
  source: SourceFacts,
  target: TargetFacts,
  skewMs: number,
  manner: Manner = { postcopy: false, localDisks: false },
): PreflightRefusal[] {
  return [
    ...guestRefusals(source),
    ...cpuRefusals(source, target),
    ...machineRefusals(source, target),
    ...(target.local === null ? [] : [refusal("state_local", `${target.local} and cannot be moved with it yet`)]),
    ...diskRefusals(source, target),
    ...memoryRefusals(source, target),
    ...postcopyRefusals(target, manner),
    ...(target.freePorts > 0
      ? []
      : [refusal("ports_taken", "every port for guests that come is in use at the target")]),
    ...(Math.abs(skewMs) <= mostSkewMs ? [] : [clockRefusal(skewMs)]),
  ];
}

function guestRefusals({ guest, busy, blocked }: SourceFacts): PreflightRefusal[] {
  return [
    ...(guest === "running" ? [] : [refusal("guest_not_running", notRunning[guest])]),
    ...(busy === null ? [] : [refusal("guest_busy", `${busy}; ask again when that is over`)]),
    ...blocked.map((why) => refusal("guest_blocked", `QEMU does not let it go: ${why}`)),
  ];
}

const notRunning: Readonly<Record<Exclude<SourceFacts["guest"], "running">, string>> = {
  paused: "the guest is paused at its host",
  off: "the guest does not run at its host",
  unknown: "libvirt at its host does not say how the guest is",
};

function cpuRefusals(source: SourceFacts, target: TargetFacts): PreflightRefusal[] {
  const missing = without(source.cpuFeatures, target.cpuFeatures);
  const more = without(target.cpuFeatures, source.cpuFeatures);
  if (missing.length > 0) {
    return [
      refusal("cpu_differs", `the target's processor lacks what the guest has: ${firstOf(missing, shownFeatures)}`),
    ];
  }
  if (more.length === 0) return [];
  const text = `the target would give the guest another processor than it has, which it cannot see while it runs: with`;
  return [
    refusal("cpu_differs", `${text} ${firstOf(more, shownFeatures)}; a cpuBaseline for the zone makes them equal`),
  ];
}

function machineRefusals(source: SourceFacts, target: TargetFacts): PreflightRefusal[] {
  if (source.machineType !== target.machineType) {
    const text = `the guest's machine is ${source.machineType}, and the target's QEMU ${target.qemu} would make ${target.machineType}`;
    return [refusal("machine_differs", text)];
  }
  if (source.layout !== target.layout) {
    const text = `the guest's devices lie as another release of Compute laid them out (layout ${source.layout}, the target's is ${target.layout}): it can be moved there once it was stopped and started`;
    return [refusal("machine_differs", text)];
  }
  if (!isOlder(target.qemu, source.qemu)) return [];
  return [
    refusal("machine_differs", `the guest runs in QEMU ${source.qemu}, and the target has the older ${target.qemu}`),
  ];
}

function diskRefusals(source: SourceFacts, target: TargetFacts): PreflightRefusal[] {
  if (source.disks.length === 0) return [];
  if (target.sharedFolder === null)
    return [refusal("disk_missing", "the zone's shared folder is not mounted at the target")];
  if (target.sharedFolder !== source.sharedFolder) {
    return [refusal("disk_differs", "the target has another shared folder than the guest's host")];
  }
  return source.disks.flatMap(({ id, bytes }) => {
    const there = target.disks.find((disk) => disk.id === id)?.bytes ?? null;
    if (there === null) return [refusal("disk_missing", `the disk ${id} is not there at the target`)];
    if (there === bytes) return [];
    return [
      refusal("disk_differs", `the disk ${id} has ${bytes ?? 0} bytes at the guest's host and ${there} at the target`),
    ];
  });
}

function memoryRefusals(source: SourceFacts, target: TargetFacts): PreflightRefusal[] {
  const needed = target.hugepages ? source.memoryBytes : Math.ceil(source.residentBytes * headroom);
  if (target.freeBytes >= needed) return [];
  const what = target.hugepages ? "in hugepages" : "of memory";
  return [
    refusal(
      "memory_missing",
      `the guest needs ${mib(needed)} MiB ${what}, and the target has ${mib(target.freeBytes)} MiB free`,
    ),
  ];
}

function postcopyRefusals({ postcopy, hugepages }: TargetFacts, manner: Manner): PreflightRefusal[] {
  if (!manner.postcopy) return [];
  const why: string[] = [];
  if (!postcopy) why.push("the target's kernel has no userfaultfd (/dev/userfaultfd), by which memory is fetched");
  // One fault stops the guest until a whole page is over; no rule here knows of that.
  if (hugepages) why.push("the guest has hugepages, and each fetch would stop it for a whole one");
  // Mirrors are taken down at the switch, and the target's disks would have a writer before they are known to be whole.
  if (manner.localDisks) why.push("disks of the guest lie on its host, and are not copied by post-copy");
  return why.map((message) => refusal("postcopy_unavailable", message));
}

function clockRefusal(skewMs: number): PreflightRefusal {
  const by = `${Math.round(Math.abs(skewMs) / 1000)} s`;
  const text = `the target's clock is ${by} ${skewMs > 0 ? "before" : "behind"} that of the guest's host; set both by NTP`;
  return refusal("clock_differs", text);
}

function refusal(reason: PreflightReason, message: string): PreflightRefusal {
  return { reason, message };
}

function without(all: readonly string[], these: readonly string[]): string[] {
  const set = new Set(these);
  return all.filter((each) => !set.has(each)).toSorted();
}

function isOlder(version: string, than: string): boolean {
  const [a, b] = [version, than].map((text) => text.split(".").map(Number));
  for (const index of [0, 1, 2]) {
    const difference = (a?.[index] ?? 0) - (b?.[index] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

function mib(bytes: number): number {
  return Math.floor(bytes / 2 ** 20);
}
