/**
 * The disks of one machine that runs: what QEMU has, and the steps that bring it to what is wanted (core/ensure-disks.ts decides).
 *
 * QEMU is asked, not libvirt: a disk that the guest has let go of is gone when QEMU has it no more, whatever else remembers it. One
 * question tells everything (which disks by their alias, sizes, limits). After a start of our own nothing is asked: the
 * machine is what was just defined.
 */
import type { DataDisk, DiskRef, SeenDisk, SystemDisk } from "../../api/agent-storage.ts";
import type { InstanceSpec } from "../../api/agent.ts";
import {
  decideDisks,
  seenDisks,
  unplugEveryMs,
  type DiskStep,
  type HeldDisk,
  type MachineDisk,
} from "../../core/ensure-disks.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { unreachable } from "../../lib/errors.ts";
import { parseId, type DiskId, type InstanceId } from "../../lib/ids.ts";
import { backoff } from "../../lib/retry.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import type { Context } from "./context.ts";
import { dataDisk, dataDiskTarget, diskAlias, systemDiskTarget } from "./domain-xml/disks.ts";
import { messageOf } from "./failures.ts";

const gib = 2 ** 30;
const firstRetryMs = 2_000;
const longestRetryMs = 30_000;

export class LiveDisks {
  readonly #id: InstanceId;
  readonly #context: Context;
  /** null: not known; QEMU has to be asked. */
  #machine: readonly MachineDisk[] | null = null;
  readonly #held = new Map<DiskId, HeldDisk>();

  constructor(id: InstanceId, context: Context) {
    this.#id = id;
    this.#context = context;
  }

  /** What was known holds no more. */
  forget(): void {
    this.#machine = null;
  }

  /** A machine was just started with these. */
  started(spec: InstanceSpec): void {
    this.#held.clear();
    this.#machine = wantedOf(spec).map(({ id, sizeGiB, limits }) => ({ id, bytes: sizeGiB * gib, limits }));
  }

  /** What was wanted has changed: earlier failures do not hold the next try back. */
  reconsider(): void {
    for (const [id, held] of this.#held) this.#held.set(id, { ...held, notBeforeMs: 0 });
  }

  /** null while it is not known. */
  seen(spec: InstanceSpec): SeenDisk[] | null {
    return this.#machine === null ? null : seenDisks(wantedOf(spec), this.#machine, this.#held);
  }

  /** Takes one step if there is one to take now, and says when to look again if not. Throws nothing: what fails is held. */
  async step(domain: DomainRef, spec: InstanceSpec): Promise<{ moved: boolean; untilMs: number | null }> {
    const now = this.#context.nowMs();
    try {
      this.#machine ??= machineDisks(await this.#context.libvirt.qmp(domain, "query-block"), spec.systemDisk.id);
    } catch (error) {
      this.#context.log.warn({ err: error, instance: this.#id }, "QEMU did not say which disks it has");
      return { moved: false, untilMs: now + firstRetryMs };
    }
    // Another machine than the one that is wanted now (it is being reinstalled): not ours to change.
    if (!this.#machine.some(({ id }) => id === spec.systemDisk.id)) return { moved: false, untilMs: null };
    const { step, untilMs } = decideDisks(wantedOf(spec), this.#machine, this.#held, now);
    if (step === null) return { moved: false, untilMs };
    await this.#attempt(step, domain, spec);
    this.#machine = null;
    return { moved: true, untilMs: null };
  }

  async #attempt(step: DiskStep, domain: DomainRef, spec: InstanceSpec): Promise<void> {
    try {
      await this.#do(step, domain, spec);
      this.#context.log.info({ instance: this.#id, disk: step.id, step: step.do }, "a step on a disk is done");
      // A guest that holds on to its disk is asked again, but not at once.
      const notBeforeMs = step.do === "unplug" ? this.#context.nowMs() + unplugEveryMs : 0;
      if (step.do === "unplug") this.#held.set(step.id, { problem: null, notBeforeMs, attempts: 0 });
      else this.#held.delete(step.id);
    } catch (error) {
      const attempts = (this.#held.get(step.id)?.attempts ?? 0) + 1;
      const { id } = step;
      this.#context.log.warn(
        { err: error, instance: this.#id, disk: id, step: step.do, attempts },
        "a step on a disk failed",
      );
      const notBeforeMs = this.#context.nowMs() + backoff(attempts - 1, firstRetryMs, longestRetryMs);
      this.#held.set(id, { problem: messageOf(error).slice(0, 500), notBeforeMs, attempts });
    }
  }

  async #do(step: DiskStep, domain: DomainRef, spec: InstanceSpec): Promise<void> {
    const { libvirt, disks, diskCache, diskIo } = this.#context;
    switch (step.do) {
      case "plug": {
        const disk = dataDiskOf(spec, step.id);
        const file = await disks.ensureData(refOf(disk, this.#id));
        const plugged = { ...disk, file, cache: diskCache, io: diskIo, backing: null };
        const xml = dataDisk(plugged, spec.machine.iothreads).join("\n");
        crashPoint("vm.disk-plug.made");
        await libvirt.deviceAttach(domain, xml, "live");
        crashPoint("vm.disk-plug.done");
        return;
      }
      case "unplug":
        await libvirt.deviceDetachAlias(domain, diskAlias(step.id), "live");
        crashPoint("vm.disk-unplug.asked");
        return;
      case "grow":
        await libvirt.blockResize(domain, targetOf(spec, step.id), BigInt(step.sizeGiB) * BigInt(gib));
        crashPoint("vm.disk-grow.done");
        return;
      case "limit": {
        const limits = { bytes: BigInt(step.limits.bytes ?? 0), iops: BigInt(step.limits.iops ?? 0) };
        await libvirt.blockTune(domain, targetOf(spec, step.id), limits, "live");
        crashPoint("vm.disk-limit.done");
        return;
      }
      default:
        return unreachable(step);
    }
  }
}

/**
 * What `query-block` says of the disks that are ours; the seed and what else is in the machine is left out. A machine that an older
 * release started has its system disk under libvirt's own name.
 */
export function machineDisks(blocks: unknown, systemDisk: DiskId): MachineDisk[] {
  if (!Array.isArray(blocks)) throw new Error("query-block did not answer with a list");
  return blocks.flatMap((block: unknown): MachineDisk[] => {
    const { qdev, inserted } = (block ?? {}) as { qdev?: unknown; inserted?: Record<string, unknown> };
    const name = typeof qdev === "string" ? /\/(ua-disk-[a-z0-9]+|virtio-disk0)(?:\/|$)/.exec(qdev)?.[1] : undefined;
    const id = name === "virtio-disk0" ? systemDisk : name === undefined ? undefined : parseId("disk", name.slice(3));
    if (id === undefined || inserted === undefined) return [];
    const size = (inserted["image"] as Record<string, unknown> | undefined)?.["virtual-size"];
    return [
      {
        id,
        bytes: typeof size === "number" ? size : 0,
        limits: { bytes: limitOf(inserted["bps"]), iops: limitOf(inserted["iops"]) },
      },
    ];
  });
}

function limitOf(value: unknown): number | null {
  return typeof value === "number" && value > 0 ? value : null;
}

export function wantedOf(spec: InstanceSpec): (SystemDisk | DataDisk)[] {
  return [spec.systemDisk, ...spec.dataDisks];
}

export function refOf({ id, driver, sizeGiB, made }: DataDisk, instanceId: InstanceId): DiskRef {
  return { id, driver, usage: "data", sizeGiB, made, instanceId };
}

function dataDiskOf(spec: InstanceSpec, id: DiskId): DataDisk {
  const disk = spec.dataDisks.find((each) => each.id === id);
  if (disk === undefined) throw new Error(`${id} is no data disk that is wanted`);
  return disk;
}

function targetOf(spec: InstanceSpec, id: DiskId): string {
  return spec.systemDisk.id === id ? systemDiskTarget : dataDiskTarget(dataDiskOf(spec, id).slot);
}
