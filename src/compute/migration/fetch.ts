/**
 * libvirt's finish of a guest that comes by post-copy, which is begun before the source switches: libvirt waits inside it, lets the guest run
 * as soon as QEMU says that it can, and answers when all of the memory is here. Whoever asked for it may die in it: libvirt throws nothing
 * away of a migration in whose finish it is.
 */
import { performance } from "node:perf_hooks";
import { within } from "../../lib/retry.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import type { Finished, MigrationHalf, MigrationOptions } from "../../libvirt/migration-contract.ts";
import type { Hypervisor } from "../hypervisor.ts";

/** The memory has as long as it takes. */
const fetchMs = 24 * 3_600_000;
const beginMs = 10_000;

export interface FetchOptions {
  readonly libvirt: Pick<Hypervisor, "onLifecycle">;
  readonly half: MigrationHalf;
  readonly domain: DomainRef;
  readonly options: MigrationOptions;
}

export class Fetch {
  /** When the guest began to run here, by this process's clock; stays open where it never does. */
  readonly ran: Promise<number>;
  readonly done: Promise<Finished>;
  readonly #half: MigrationHalf;

  constructor({ libvirt, half, domain, options }: FetchOptions) {
    this.#half = half;
    const ran = Promise.withResolvers<number>();
    this.ran = ran.promise;
    const events = libvirt.onLifecycle((event) => {
      if (event.domain.name !== domain.name) return;
      if (event.change === "resumed") ran.resolve(performance.now());
    });
    const asked = half.migrateFinish(domain, new Uint8Array(0), false, { ...options, deadlineMs: fetchMs });
    this.done = asked.finally(() => void events.close());
  }

  /** libvirt is in it. */
  async begun(): Promise<void> {
    await within(beginMs, "libvirt's wait for the guest", Promise.race([this.#half.heard(), this.done]));
  }
}
