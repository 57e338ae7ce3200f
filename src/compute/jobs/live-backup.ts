/**
 * Copies a disk of a running guest as it was at one moment, by QEMU's own backup job: what the guest writes later is copied out of
 * its way first, so the copy is what a power cut at that moment would have left. The guest is not frozen for it: an agent that is
 * told to thaw by a Compute that has died leaves a guest standing, which costs more than a journal that is replayed.
 *
 * The job is QEMU's and outlives this process; it keeps its end until it is dismissed. A new attempt first ends what it finds.
 * libvirt does not know of the job or of its target, and leaves both alone.
 *
 * Only what the disk's own file holds is copied, counted and paced. A copy of everything would treat holes as data: an empty disk of a
 * terabyte would take an hour. What the disk stands on never changes, so the copy stands on that as well.
 */
import { Failure } from "../../lib/errors.ts";
import { sleep } from "../../lib/retry.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import { QmpError } from "../../libvirt/errors.ts";
import type { DiskId, JobId } from "../../lib/ids.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import type { Hypervisor } from "../hypervisor.ts";
import { syncFile } from "./copy.ts";
import type { JobTools } from "./runner.ts";

const pollMs = 500;
const endMs = 30_000;
/** A copy shall not take the storage away from the guests. */
const bytesPerSecond = 256 * 2 ** 20;

interface QemuJob {
  readonly status: string;
  readonly error: string | undefined;
  readonly percent: number;
}

/** `to` is an empty qcow2 of the disk's size, on what the disk stands on. */
export async function backUp(
  libvirt: Hypervisor,
  domain: DomainRef,
  copy: { job: JobId; disk: DiskId; isSystem: boolean; to: string },
  tools: JobTools,
): Promise<void> {
  const source = await nodeOf(libvirt, domain, copy.disk, copy.isSystem);
  const target = targetOf(copy.job);
  await libvirt.qmp(domain, "blockdev-add", {
    driver: "qcow2",
    "node-name": target,
    file: { driver: "file", filename: copy.to },
    // Whole clusters are written, so it is not read for that.
    backing: null,
  });
  crashPoint("job.backup.target-added");
  await libvirt.qmp(domain, "blockdev-backup", {
    "job-id": copy.job,
    device: source,
    target,
    sync: "top",
    speed: bytesPerSecond,
    "auto-dismiss": false,
  });
  crashPoint("job.backup.begun");
  try {
    await untilConcluded(libvirt, domain, copy.job, tools);
  } finally {
    await endBackup(libvirt, domain, copy.job);
  }
  crashPoint("job.backup.ended");
  await syncFile(copy.to);
}

async function untilConcluded(libvirt: Hypervisor, domain: DomainRef, job: JobId, tools: JobTools): Promise<void> {
  for (;;) {
    tools.signal.throwIfAborted();
    const state = await jobOf(libvirt, domain, job);
    if (state === undefined) throw new Failure("internal", "CopyFailed", "QEMU's copy is not there any more");
    if (state.status === "concluded") {
      if (state.error === undefined) return;
      const noSpace = /No space left|quota/i.test(state.error);
      const cause = noSpace ? Object.assign(new Error(state.error), { code: "ENOSPC" }) : undefined;
      throw new Failure("internal", "CopyFailed", `QEMU could not copy the disk: ${state.error}`, { cause });
    }
    tools.progress(state.percent);
    await sleep(pollMs, tools.signal);
  }
}

/** Leaves nothing of the copy in QEMU, however far it was. A guest that is gone has taken it along. */
export async function endBackup(libvirt: Hypervisor, domain: DomainRef, job: JobId): Promise<void> {
  const deadline = Date.now() + endMs;
  for (let cancelled = false; ; await sleep(pollMs / 5)) {
    const state = await jobOf(libvirt, domain, job);
    if (state === undefined) break;
    if (state.status === "concluded") await tolerantly(libvirt.qmp(domain, "job-dismiss", { id: job }));
    else if (!cancelled) {
      await tolerantly(libvirt.qmp(domain, "job-cancel", { id: job }));
      cancelled = true;
    }
    if (Date.now() > deadline) throw new Failure("timeout", "CopyFailed", "QEMU did not end its copy in time");
  }
  await tolerantly(libvirt.qmp(domain, "blockdev-del", { "node-name": targetOf(job) }));
}

function targetOf(job: JobId): string {
  return `copy-${job}`;
}

/** QEMU says "no such thing": somebody was faster, or it never was. */
async function tolerantly(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof QmpError)) throw error;
  }
}

async function jobOf(libvirt: Hypervisor, domain: DomainRef, id: JobId): Promise<QemuJob | undefined> {
  const jobs = await libvirt.qmp(domain, "query-jobs");
  if (!Array.isArray(jobs)) throw new Error("query-jobs did not answer with a list");
  const found = jobs.find((job: unknown) => (job as { id?: unknown }).id === id) as Record<string, unknown> | undefined;
  if (found === undefined) return undefined;
  const total = Number(found["total-progress"]);
  return {
    status: String(found["status"]),
    error: typeof found["error"] === "string" ? found["error"] : undefined,
    percent: total > 0 ? Math.min(99, (Number(found["current-progress"]) / total) * 100) : 0,
  };
}

async function nodeOf(libvirt: Hypervisor, domain: DomainRef, disk: DiskId, isSystem: boolean): Promise<string> {
  const blocks = await libvirt.qmp(domain, "query-block");
  const names = [`ua-${disk}`, ...(isSystem ? ["virtio-disk0"] : [])];
  for (const block of Array.isArray(blocks) ? blocks : []) {
    const { qdev, inserted } = block as { qdev?: string; inserted?: Record<string, unknown> };
    const node = inserted?.["node-name"];
    if (typeof node === "string" && qdev?.split("/").some((part) => names.includes(part)) === true) return node;
  }
  throw new Failure("conflict", "DiskNotInMachine", `the disk ${disk} is not in the running machine`);
}
