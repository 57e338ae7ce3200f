/**
 * Keeps running guests off the processors that were given away, while they run: shared guests, and QEMU's own threads of all, run on
 * what is left. The definition that a guest starts from says the same, so only what changed since its start has to be told.
 *
 * Level-triggered: a pass tells libvirt of every guest that was last told something else. What one pass cannot tell (libvirt is
 * away, a guest ends meanwhile) the next one does; until then a guest runs beside a dedicated one, and nothing worse.
 */
import type { InstanceSpec } from "../../api/agent.ts";
import type { InstanceId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import { isLibvirtError } from "../../libvirt/errors.ts";
import type { Hypervisor } from "../hypervisor.ts";
import { cpuList } from "./places.ts";

export interface RunningGuest {
  readonly id: InstanceId;
  readonly domain: DomainRef;
  /** Of the guest that runs, not of what is wanted next. */
  readonly spec: Pick<InstanceSpec, "vcpus" | "machine">;
}

export interface AffinityOptions {
  readonly libvirt: Hypervisor;
  readonly log: Log;
  readonly running: () => Iterable<RunningGuest>;
  /** Where shared work runs now. */
  readonly pool: () => readonly number[];
}

export class Affinity {
  readonly #options: AffinityOptions;
  /** The pool that each guest was last told, by its definition or by a pass of this process. */
  readonly #told = new Map<InstanceId, string>();
  #pass: Promise<void> | null = null;
  #again = false;

  constructor(options: AffinityOptions) {
    this.#options = options;
  }

  /** The guest's next start is defined for this pool. */
  defined(id: InstanceId, pool: readonly number[]): void {
    this.#told.set(id, cpuList(pool));
  }

  forget(id: InstanceId): void {
    this.#told.delete(id);
  }

  /** Tells whoever has to be told; one pass at a time, and one more for what changed during it. */
  async sync(): Promise<void> {
    this.#again = true;
    this.#pass ??= this.#passes().finally(() => (this.#pass = null));
    await this.#pass;
  }

  async #passes(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      const pool = [...this.#options.pool()];
      const text = cpuList(pool);
      for (const guest of this.#options.running()) {
        if (this.#told.get(guest.id) !== text) await this.#tell(guest, pool, text);
      }
    }
  }

  async #tell({ id, domain, spec }: RunningGuest, pool: readonly number[], text: string): Promise<void> {
    const { libvirt, log } = this.#options;
    try {
      if (spec.machine.cpu === "shared") {
        for (let vcpu = 0; vcpu < spec.vcpus; vcpu++) await libvirt.vcpuPin(domain, vcpu, pool, "live");
      }
      await libvirt.emulatorPin(domain, pool, "live");
      for (let iothread = 1; iothread <= spec.machine.iothreads; iothread++) {
        await libvirt.iothreadPin(domain, iothread, pool, "live");
      }
      this.#told.set(id, text);
    } catch (error) {
      // It has ended; its next definition knows the pool.
      if (isLibvirtError(error, "OperationInvalid", "NoDomain")) return;
      log.warn({ err: error, instance: id }, "could not move a guest off processors that are another's");
    }
  }
}
