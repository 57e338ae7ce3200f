/**
 * How a guest fares that is in two halves by post-copy: at the source whether QEMU sends the rest, at the target whether all is there, and another way
 * for it where the first one broke. Where QEMU does not say it, nothing is known, and nothing is done.
 */
import { performance } from "node:perf_hooks";
import { isUp, type Feed } from "../../core/migration/source.ts";
import type { TargetSituation } from "../../core/migration/target.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import type { Hypervisor } from "../hypervisor.ts";
import { sleep } from "../../lib/retry.ts";
import { messageOf } from "../vm/failures.ts";
import type { Looked } from "./look.ts";
import type { Monitor } from "./monitor.ts";

type Libvirt = Pick<Hypervisor, "qmp">;

const askMs = 3_000;
/** The end of a connection is sent again after at most twice the time that the cable was cut. */
const seesMs = 6_000;
const pausedMs = 3_000;
const seesEveryMs = 200;
/** libvirt's own, for memory of guests that come. */
export const portsForMemory = { first: 49_152, count: 64 };
const joining: ReadonlySet<unknown> = new Set(["postcopy-recover-setup", "postcopy-recover"]);
const inPostcopy: ReadonlySet<unknown> = new Set(["postcopy-active", "postcopy-paused", ...joining]);

/** QEMU 10.0 stays in `device` for ever where `postcopy_start` failed, and in `cancelling` once it was told to cancel that; every other copy leaves them. */
const switching: ReadonlySet<unknown> = new Set(["device", "cancelling"]);

const noFeed: Feed = { is: "none", remainingBytes: null };
const unknownFeed: Feed = { is: "unknown", remainingBytes: null };

/** `stuck`: it names an error, and a copy that can still end names one only for the moment in which it does; who asks looks whether that lasts. */
export async function feedOf(libvirt: Libvirt, { domain, guest }: Looked): Promise<Feed> {
  if (guest === "unknown") return unknownFeed;
  if (domain === null || guest === "off") return noFeed;
  const told = await migrateStatus(libvirt, domain);
  if (told === null) return unknownFeed;
  const remainingBytes = told.remaining;
  if (told.status === "postcopy-paused") return { is: "broken", remainingBytes };
  if (joining.has(told.status)) return { is: "joining", remainingBytes };
  if (told.status === "postcopy-active") return { is: "flowing", remainingBytes };
  if (switching.has(told.status) && told.hasFailed) return { is: "stuck", remainingBytes };
  return noFeed;
}

/** By QEMU alone: libvirt's word for it may be an older one. */
export async function memoryOf(monitor: Monitor, { guest }: Looked): Promise<TargetSituation["memory"]> {
  if (guest === "unknown" || guest === "off") return "unknown";
  try {
    const status = await monitor.status();
    if (status === "completed") return "whole";
    if (status === "postcopy-paused") return "missing";
    return inPostcopy.has(status) ? "coming" : "unknown";
  } catch {
    return "unknown";
  }
}

/**
 * Another way for the memory of a guest that runs here, in place of one that broke. The guest runs on meanwhile.
 *
 * QEMU sees by itself that the way broke as soon as the source's end of it reaches this host, which is about now: the source has given it up before it
 * asks. To be told so in that moment ends QEMU 10.0 (`migrate-pause` reads the file that the thread beside it closes), so it is told
 * only when it has not seen it for some time.
 */
export async function listenAnew(monitor: Monitor, address: string): Promise<{ uri: string }> {
  if (!(await seesTheBreak(monitor, seesMs))) {
    await monitor.command("migrate-pause");
    await seesTheBreak(monitor, pausedMs);
  }
  const from = Math.floor(Math.random() * portsForMemory.count);
  for (let tried = 0; ; tried++) {
    const port = portsForMemory.first + ((from + tried) % portsForMemory.count);
    const uri = `tcp:${address}:${port}`;
    try {
      await monitor.command("migrate-recover", { uri });
      return { uri };
    } catch (error) {
      if (!/in use/i.test(messageOf(error)) || tried === portsForMemory.count) throw error;
    }
  }
}

async function seesTheBreak(monitor: Monitor, patienceMs: number): Promise<boolean> {
  const until = performance.now() + patienceMs;
  while ((await monitor.status()) !== "postcopy-paused") {
    if (performance.now() > until) return false;
    await sleep(seesEveryMs);
  }
  return true;
}

/** No memory goes from here to anywhere, nor will: there is no guest, or it runs and is not copied. */
export async function isReleased(libvirt: Libvirt, { domain, guest }: Looked): Promise<boolean> {
  if (guest === "off") return true;
  if (!isUp(guest) || domain === null) return false;
  const told = await migrateStatus(libvirt, domain);
  return told !== null && (told.status === null || over.has(told.status));
}

/** QEMU says that it has not sent all of the guest away. A guest that came by its memory itself says "completed" until it is copied on. */
export async function isKept(libvirt: Libvirt, { domain, guest }: Looked): Promise<boolean> {
  if (domain === null || guest === "off" || guest === "unknown") return false;
  const told = await migrateStatus(libvirt, domain);
  return told !== null && (told.status === null || over.has(told.status) || underWay.has(told.status));
}

const underWay: ReadonlySet<unknown> = new Set(["setup", "active", "pre-switchover", "cancelling"]);
const over: ReadonlySet<unknown> = new Set(["none", "failed", "cancelled"]);

/** null: QEMU does not say. */
async function migrateStatus(
  libvirt: Libvirt,
  domain: DomainRef,
): Promise<{ status: unknown; remaining: number | null; hasFailed: boolean } | null> {
  try {
    const told = (await libvirt.qmp(domain, "query-migrate", {}, { deadlineMs: askMs })) as Record<string, unknown>;
    const remaining = (told["ram"] as Record<string, unknown> | undefined)?.["remaining"];
    return {
      status: told["status"] ?? null,
      remaining: typeof remaining === "number" ? remaining : null,
      hasFailed: told["error-desc"] !== undefined,
    };
  } catch {
    return null;
  }
}
