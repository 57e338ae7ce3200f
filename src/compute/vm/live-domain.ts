/**
 * The domain of one instance: what libvirt last said of it, or what the worker's own calls have made of it since.
 *
 * Stale means that libvirt must be asked again. Between two of its own steps a worker goes by the answers it got, so that the start of
 * an instance costs two calls (define, create), while every event, every failure and every reconnect makes it ask.
 */
import type { Guest, Mark } from "../../core/ensure.ts";
import { unreachable } from "../../lib/errors.ts";
import type { InstanceId } from "../../lib/ids.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import { readGuest, type Hypervisor } from "../hypervisor.ts";
import { domainUuid } from "./mark.ts";

export class LiveDomain {
  readonly #id: InstanceId;
  readonly #libvirt: Hypervisor;
  #ref: DomainRef | null = null;
  /** undefined: not read yet. */
  #mark: Mark | null | undefined = undefined;
  #guest: Guest = { is: "unknown" };
  #stale = true;

  constructor(id: InstanceId, libvirt: Hypervisor) {
    this.#id = id;
    this.#libvirt = libvirt;
  }

  get guest(): Guest {
    return this.#guest;
  }
  get mark(): Mark | null {
    return this.#mark ?? null;
  }
  /** null: libvirt has none, or has not been asked. */
  get ref(): DomainRef | null {
    return this.#ref;
  }
  get isStale(): boolean {
    return this.#stale;
  }
  get isUp(): boolean {
    return this.#guest.is === "running" || this.#guest.is === "paused";
  }

  known(): DomainRef {
    if (this.#ref === null) throw new Error(`no domain of ${this.#id} is known`);
    return this.#ref;
  }

  /** The domain if a guest runs, "off" if none does, null when that is not known now. */
  atRest(): DomainRef | "off" | null {
    switch (this.#guest.is) {
      case "unknown":
        return null;
      case "absent":
      case "off":
        return "off";
      case "running":
      case "paused":
        return this.#ref;
      default:
        return unreachable(this.#guest);
    }
  }

  /** Something may have changed. */
  doubt(): void {
    this.#stale = true;
  }

  /** libvirt went away, or did not answer: nothing is known. */
  lost(): void {
    this.#guest = { is: "unknown" };
    this.#stale = true;
  }

  async look(): Promise<void> {
    this.#stale = false;
    try {
      // Asked each time and not taken from a listing: "libvirt does not have it" decides too much to be remembered.
      this.#ref ??= (await this.#libvirt.domainLookupByUuid(domainUuid(this.#id))) ?? null;
      if (this.#ref === null) return this.erased();
      const guest = await readGuest(this.#libvirt, this.#ref, this.#mark);
      if (guest.is === "absent") return this.erased();
      this.#guest = guest;
      if (guest.is !== "unknown") this.#mark = guest.mark;
    } catch (error) {
      this.lost();
      throw error;
    }
  }

  /** Anew, for a start that is yet to come. */
  defined(ref: DomainRef, mark: Mark): void {
    this.#ref = ref;
    this.#mark = mark;
    this.#guest = { is: "off", mark, why: "unknown" };
  }

  started(ref: DomainRef): void {
    this.#ref = ref;
    this.#guest = { is: "running", mark: this.mark };
  }

  destroyed(): void {
    this.#guest = { is: "off", mark: this.mark, why: "destroyed" };
  }

  erased(): void {
    this.#ref = null;
    this.#mark = undefined;
    this.#guest = { is: "absent" };
  }
}
