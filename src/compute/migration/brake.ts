/**
 * What slows a guest while it is copied. Which of the two a guest has is settled when it starts.
 *
 * - Rests: QEMU's auto-converge lets all processors of the guest rest, those that only read, too. It must be there when the copy begins, and libvirt
 *   does not know all of its parameters. So it is armed at the lowest level, and its level is then changed in QEMU itself: initial level and upper
 *   bound are the same number, and one increment leads from any level to the bound, so that the level is ours and not QEMU's. QEMU takes a new level at
 *   every second pass whose changed memory exceeds the trigger's share of what was sent, and lets go of the brake when the copy ends, however it ends.
 *   It is armed before libvirt begins: libvirt notes the parameters then, and puts them back after a copy that failed.
 * - Limits: of a guest with a dirty ring KVM counts what each processor changes, and QEMU holds up the one that has changed its share; one that reads goes on.
 *   They outlive the copy, and keep QEMU counting: whoever ends a copy takes them away, and so does a program that begins anew after one that set them.
 */
import * as z from "zod";
import { Failure } from "../../lib/errors.ts";
import { sleep } from "../../lib/retry.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import type { Hypervisor } from "../hypervisor.ts";

type Libvirt = Pick<Hypervisor, "qmp">;

export interface Brake {
  /** Before the copy begins. */
  arm(): Promise<void>;
  /** 0: it goes on as it would. */
  pull(percent: number): Promise<void>;
  /** The pause is there: QEMU is told nothing more. */
  hold(): void;
  /** After a copy that came to nothing. */
  release(): Promise<void>;
}

export function brakeOf(libvirt: Libvirt, domain: DomainRef, has: { readonly dirtyRing?: boolean | undefined }): Brake {
  return has.dirtyRing === true ? new Limits(libvirt, domain) : new Rests(libvirt, domain);
}

/** QEMU knows no zero. */
const lowest = 1;
/** Armed but not pulled: only a pass that is worse than the one before it rests the guest, for one per cent. */
const armedTrigger = 100;
const pulledTrigger = 1;

class Rests implements Brake {
  readonly #libvirt: Libvirt;
  readonly #domain: DomainRef;

  constructor(libvirt: Libvirt, domain: DomainRef) {
    this.#libvirt = libvirt;
    this.#domain = domain;
  }

  arm(): Promise<void> {
    return this.#set({ initial: lowest, increment: 99, max: lowest, trigger: armedTrigger });
  }

  pull(percent: number): Promise<void> {
    const level = Math.max(lowest, percent);
    return this.#set({ initial: level, increment: 99, max: level, trigger: pulledTrigger });
  }

  hold(): void {
    // One call a pull, which is under way or not.
  }

  /** As QEMU has it from the start. */
  release(): Promise<void> {
    return this.#set({ initial: 20, increment: 10, max: 99, trigger: 50 });
  }

  async #set(to: { initial: number; increment: number; max: number; trigger: number }): Promise<void> {
    await this.#libvirt.qmp(this.#domain, "migrate-set-parameters", {
      "cpu-throttle-initial": to.initial,
      "cpu-throttle-increment": to.increment,
      "max-cpu-throttle": to.max,
      "throttle-trigger-threshold": to.trigger,
    });
  }
}

/** Per processor, in MiB per second, as QEMU counts. */
const ratesSchema = z.object({
  status: z.string(),
  "vcpu-dirty-rate": z.array(z.object({ id: z.int(), "dirty-rate": z.number() })).optional(),
});
const measureMs = 1_000;
const patienceMs = 5_000;
const pollMs = 100;

class Limits implements Brake {
  readonly #libvirt: Libvirt;
  readonly #domain: DomainRef;
  /** What each processor changed before it was slowed first. */
  #unbraked: readonly { readonly id: number; readonly rate: number }[] | null = null;
  #held = false;
  /** Never rejects. */
  #pulling: Promise<void> = Promise.resolve();

  constructor(libvirt: Libvirt, domain: DomainRef) {
    this.#libvirt = libvirt;
    this.#domain = domain;
  }

  arm(): Promise<void> {
    return Promise.resolve();
  }

  async pull(percent: number): Promise<void> {
    if (percent === 0) return await liftLimits(this.#libvirt, this.#domain);
    const pulling = this.#limitTo(1 - percent / 100);
    this.#pulling = pulling.catch(() => undefined);
    await pulling;
  }

  hold(): void {
    this.#held = true;
  }

  /** Whatever was under way is over, and nothing comes after it. */
  async release(): Promise<void> {
    this.hold();
    await this.#pulling;
    await liftLimits(this.#libvirt, this.#domain);
  }

  /** One that changed nothing has the share of all: whoever writes may come to run on it. */
  async #limitTo(share: number): Promise<void> {
    this.#unbraked ??= await this.#measure();
    const all = this.#unbraked.reduce((sum, { rate }) => sum + rate, 0);
    for (const { id, rate } of this.#unbraked) {
      if (this.#held) return;
      await this.#libvirt.qmp(this.#domain, "set-vcpu-dirty-limit", {
        "cpu-index": id,
        "dirty-rate": Math.max(lowest, Math.floor((rate < lowest ? all : rate) * share)),
      });
    }
  }

  async #measure(): Promise<{ readonly id: number; readonly rate: number }[]> {
    const unit = { "calc-time-unit": "millisecond" };
    await this.#libvirt.qmp(this.#domain, "calc-dirty-rate", { "calc-time": measureMs, ...unit, mode: "dirty-ring" });
    await sleep(measureMs);
    const deadline = performance.now() + patienceMs;
    for (;;) {
      if (this.#held) return [];
      const told = ratesSchema.parse(await this.#libvirt.qmp(this.#domain, "query-dirty-rate", unit));
      if (told.status === "measured")
        return (told["vcpu-dirty-rate"] ?? []).map((one) => ({ id: one.id, rate: one["dirty-rate"] }));
      if (performance.now() > deadline)
        throw new Failure("timeout", "MeasuringFailed", "QEMU did not end its measuring");
      await sleep(pollMs);
    }
  }
}

/** Whoever set them; without a ring QEMU has nothing to lift. */
export async function liftLimits(libvirt: Libvirt, domain: DomainRef): Promise<void> {
  await libvirt.qmp(domain, "cancel-vcpu-dirty-limit");
}
