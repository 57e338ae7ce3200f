/**
 * What this host says of a move before it is begun (core/migration/preflight.ts decides): looked at, and nothing changed. As the
 * source of the guest that runs here, by QEMU's own words; as the target of one that might come.
 */
import { readFile } from "node:fs/promises";
import type { InstanceSpec } from "../../api/agent.ts";
import type { DiskFacts, SourceFacts, TargetFacts } from "../../core/migration/preflight.ts";
import { Failure, isFailure } from "../../lib/errors.ts";
import { exists, readIfThere } from "../../lib/files.ts";
import type { InstanceId } from "../../lib/ids.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import type { Hypervisor } from "../hypervisor.ts";
import { field, readNuma } from "../inventory/inventory.ts";
import { localState } from "../vm/arrival.ts";
import type { Context } from "../vm/context.ts";
import { diskAlias } from "../vm/domain-xml/disks.ts";
import { hasDirtyRing } from "../vm/domain-xml/firmware.ts";
import { layout, layoutOf } from "../vm/domain-xml/slots.ts";
import { refOf } from "../vm/live-disks.ts";
import { lookAt } from "./look.ts";
import { portsForMemory } from "./memory.ts";

const mib = 2 ** 20;
const listening = "0A";

export async function sourceFacts(context: Context, id: InstanceId): Promise<SourceFacts> {
  const spec = context.wanted(id)?.doc.spec;
  const { guest, domain } = await lookAt(context.libvirt, id);
  if (spec === undefined || domain === null || guest === "off") {
    throw new Failure("conflict", "InstanceNotRunning", `${id} does not run on this host`);
  }
  const { libvirt, machines } = context;
  const systemDisk = `/machine/peripheral/${diskAlias(spec.systemDisk.id)}`;
  const [common, machineType, bus, qemu, busy, blocked, memory, cpuFeatures, xml] = await Promise.all([
    storageFacts(context, id, spec),
    libvirt.qmp(domain, "qom-get", { path: "/machine", property: "type" }),
    libvirt.qmp(domain, "qom-get", { path: systemDisk, property: "parent_bus" }),
    libvirt.qmp(domain, "query-version"),
    busyWith(libvirt, domain),
    blockedBy(libvirt, domain),
    libvirt.memoryStats(domain),
    machines.processor.features(spec.machine.baseline),
    libvirt.domainXml(domain),
  ]);
  const memoryBytes = spec.memoryMiB * mib;
  // Hugepages do not count as resident.
  const resident = spec.machine.hugepages === null ? (memory.rss ?? Infinity) * 1024 : Infinity;
  return {
    ...common,
    guest: guest === "held" ? "paused" : guest,
    busy,
    blocked,
    machineType: String(machineType).replace(/-machine$/, ""),
    layout: layoutOf(String(bus)),
    qemu: versionIn(qemu),
    cpuFeatures,
    ...(hasDirtyRing(xml) ? { dirtyRing: true } : {}),
    memoryBytes,
    residentBytes: Math.min(memoryBytes, resident),
    nowMs: context.nowMs(),
  };
}

export async function targetFacts(context: Context, id: InstanceId, spec: InstanceSpec): Promise<TargetFacts> {
  const { libvirt, machines, images } = context;
  const { processor } = machines;
  const { hugepages, baseline } = spec.machine;
  const [common, machineType, { hypervisor }, cpuFeatures, freeBytes, freePorts, postcopy, image] = await Promise.all([
    storageFacts(context, id, spec),
    processor.machineType(),
    libvirt.version(),
    processor.features(baseline),
    hugepages === null ? freeMemory() : freePages(hugepages === "2M" ? 2048 : 1_048_576),
    readFreePorts(),
    hasUserfault(),
    // One that does not lie here is fetched before the guest comes; what it needs of its host is known then.
    images.find(spec.imageId).catch((error: unknown) => {
      if (isFailure(error)) return null;
      throw error;
    }),
  ]);
  return {
    ...common,
    machineType,
    layout,
    qemu: hypervisor,
    cpuFeatures,
    local: image === null ? null : localState(image),
    freeBytes,
    hugepages: hugepages !== null,
    freePorts,
    postcopy,
    imageHere: image !== null,
    nowMs: context.nowMs(),
  };
}

async function storageFacts(
  { disks }: Context,
  id: InstanceId,
  { systemDisk, dataDisks }: InstanceSpec,
): Promise<{ sharedFolder: string | null; disks: DiskFacts[] }> {
  const sharedFolder = await disks.sharedIdentity();
  const refs = [
    { ...systemDisk, usage: "system" as const, instanceId: id },
    ...dataDisks.map((disk) => refOf(disk, id)),
  ];
  const shared = refs.filter(({ driver }) => driver === "shared");
  if (sharedFolder === null) return { sharedFolder, disks: shared.map((ref) => ({ id: ref.id, bytes: null })) };
  return {
    sharedFolder,
    disks: await Promise.all(shared.map(async (ref) => ({ id: ref.id, bytes: await disks.size(ref) }))),
  };
}

async function busyWith(libvirt: Hypervisor, domain: DomainRef): Promise<string | null> {
  const [{ type }, blockJobs] = await Promise.all([libvirt.jobStats(domain), libvirt.qmp(domain, "query-block-jobs")]);
  if (type === "bounded" || type === "unbounded") return "libvirt has a job under way with it";
  return Array.isArray(blockJobs) && blockJobs.length > 0 ? "QEMU is copying a disk of it" : null;
}

async function blockedBy(libvirt: Hypervisor, domain: DomainRef): Promise<string[]> {
  const told = await libvirt.qmp(domain, "query-migrate");
  const reasons = (told as Record<string, unknown> | null)?.["blocked-reasons"];
  return Array.isArray(reasons) ? reasons.map((reason) => String(reason).slice(0, 512)).slice(0, 32) : [];
}

function versionIn(told: unknown): string {
  const { qemu } = told as { qemu?: Record<string, unknown> };
  return [qemu?.["major"], qemu?.["minor"], qemu?.["micro"]].map(Number).join(".");
}

async function freeMemory(): Promise<number> {
  return field(await readFile("/proc/meminfo", "utf8"), "MemAvailable") * 1024;
}

async function freePages(sizeKiB: number): Promise<number> {
  const pages = (await readNuma()).flatMap(({ hugepages }) => hugepages.filter((each) => each.sizeKiB === sizeKiB));
  return pages.reduce((sum, { free }) => sum + free * sizeKiB * 1024, 0);
}

async function readFreePorts(): Promise<number> {
  const { first, count } = portsForMemory;
  const tables = await Promise.all(["/proc/net/tcp", "/proc/net/tcp6"].map(readIfThere));
  const taken = new Set<number>();
  for (const line of tables.flatMap((table) => table?.split("\n") ?? [])) {
    const [, local, , state] = line.trim().split(/\s+/);
    const port = Number.parseInt(local?.split(":")[1] ?? "", 16);
    if (state === listening && port >= first && port < first + count) taken.add(port);
  }
  return count - taken.size;
}

async function hasUserfault(): Promise<boolean> {
  if (await exists("/dev/userfaultfd")) return true;
  return (await readIfThere("/proc/sys/vm/unprivileged_userfaultfd"))?.trim() === "1";
}
