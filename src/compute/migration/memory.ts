/**
 * How a guest fares that is in two halves by post-copy: at the source whether QEMU sends the rest, at the target whether all is there, and another way
 * for it where the first one broke. Where QEMU does not say it, nothing is known, and nothing is done.
 */
import type { Feed } from "../../core/migration/source.ts";
import type { TargetSituation } from "../../core/migration/target.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import type { Hypervisor } from "../hypervisor.ts";
import type { InstanceId } from "../../lib/ids.ts";
import { messageOf } from "../vm/failures.ts";
import type { Looked } from "./look.ts";
import { askMonitor } from "./monitor.ts";

type Libvirt = Pick<Hypervisor, "qmp">;

const askMs = 3_000;
/** libvirt's own, for memory of guests that come. */
export const portsForMemory = { first: 49_152, count: 64 };
const inPostcopy: ReadonlySet<unknown> = new Set([
  "postcopy-active",
  "postcopy-paused",
  "postcopy-recover-setup",
  "postcopy-recover",
]);

const noFeed: Feed = { is: "none", remainingBytes: null };
const unknownFeed: Feed = { is: "unknown", remainingBytes: null };

export async function feedOf(libvirt: Libvirt, { domain, guest }: Looked): Promise<Feed> {
  if (guest === "unknown") return unknownFeed;
  if (domain === null || guest === "off") return noFeed;
  const told = await migrateStatus(libvirt, domain);
  if (told === null) return unknownFeed;
  const remainingBytes = told.remaining;
  if (told.status === "postcopy-paused") return { is: "broken", remainingBytes };
  if (inPostcopy.has(told.status)) return { is: "flowing", remainingBytes };
  return noFeed;
}

/** By QEMU alone: libvirt's word for it may be an older one. */
export async function memoryOf(id: InstanceId, { guest }: Looked): Promise<TargetSituation["memory"]> {
  if (guest === "unknown" || guest === "off") return "unknown";
  try {
    const { status } = await askMonitor(id, "query-migrate");
    if (status === "completed") return "whole";
    if (status === "postcopy-paused") return "missing";
    return inPostcopy.has(status) ? "coming" : "unknown";
  } catch {
    return "unknown";
  }
}

/**
 * Another way for the memory of a guest that runs here, in place of one that broke; QEMU may not know yet that it did. The guest runs on meanwhile.
 */
export async function listenAnew(id: InstanceId, address: string): Promise<{ uri: string }> {
  const { status } = await askMonitor(id, "query-migrate");
  if (status === "postcopy-active" || status === "postcopy-recover") await askMonitor(id, "migrate-pause");
  const from = Math.floor(Math.random() * portsForMemory.count);
  for (let tried = 0; ; tried++) {
    const port = portsForMemory.first + ((from + tried) % portsForMemory.count);
    const uri = `tcp:${address}:${port}`;
    try {
      await askMonitor(id, "migrate-recover", { uri });
      return { uri };
    } catch (error) {
      if (!/in use/i.test(messageOf(error)) || tried === portsForMemory.count) throw error;
    }
  }
}

/** No memory goes from here to anywhere, nor will: there is no guest, or it runs and is not copied. */
export async function isReleased(libvirt: Libvirt, { domain, guest }: Looked): Promise<boolean> {
  if (guest === "off") return true;
  if (guest !== "running" || domain === null) return false;
  const told = await migrateStatus(libvirt, domain);
  return told !== null && (told.status === null || over.has(told.status));
}

const over: ReadonlySet<unknown> = new Set(["none", "failed", "cancelled"]);

/** null: QEMU does not say. */
async function migrateStatus(
  libvirt: Libvirt,
  domain: DomainRef,
): Promise<{ status: unknown; remaining: number | null } | null> {
  try {
    const told = (await libvirt.qmp(domain, "query-migrate", {}, { deadlineMs: askMs })) as Record<string, unknown>;
    const remaining = (told["ram"] as Record<string, unknown> | undefined)?.["remaining"];
    return { status: told["status"] ?? null, remaining: typeof remaining === "number" ? remaining : null };
  } catch {
    return null;
  }
}
