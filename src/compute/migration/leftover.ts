/**
 * What a copy leaves of itself at its source when nobody leads it any more: one whose program died goes on by itself in libvirt, and one that ended in its
 * pause has left the guest paused or slowed. Only libvirt and QEMU know of it, so each process asks them anew.
 *
 * What can race: the copy itself, which may end, or hand the guest over, between a question and its answer. To ask and to lift limits harms neither
 * guest; `putRight` is only for one that stays, which core/migration/source.ts knows.
 */
import { performance } from "node:perf_hooks";
import { isUp } from "../../core/migration/source.ts";
import { sleep } from "../../lib/retry.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import { isLibvirtError } from "../../libvirt/errors.ts";
import type { Hypervisor } from "../hypervisor.ts";
import { liftLimits } from "./brake.ts";
import type { Looked } from "./look.ts";
import { isKept } from "./memory.ts";
import { nothing } from "./source-attempt.ts";

const copyEndsMs = 5_000;
const copyLooksMs = 50;

export class Leftover {
  readonly #libvirt: Hypervisor;
  #isKept = false;
  #isRighted = false;
  #isLifted = false;

  constructor(libvirt: Hypervisor) {
    this.#libvirt = libvirt;
  }

  /** The copy that a former process began had not sent everything when this one found it. */
  get isKept(): boolean {
    return this.#isKept;
  }

  /** libvirt has been told that the guest stays. */
  get isRighted(): boolean {
    return this.#isRighted;
  }

  /** Once it was so it stays so: nothing asks for the hand-over of a copy that nobody leads. */
  async seeWhetherKept(looked: Looked): Promise<void> {
    this.#isKept ||= await isKept(this.#libvirt, looked);
  }

  /** Lets a guest that runs here run as fast as it may. */
  async lift({ guest, domain }: Looked): Promise<void> {
    if (this.#isLifted || domain === null || !isUp(guest)) return;
    await liftLimits(this.#libvirt, domain);
    this.#isLifted = true;
  }

  /**
   * Takes from libvirt what is left of the copy, which its own end may have left, and with it the pause that came of it. A copy that does not end is left
   * for another time: libvirt 11.3 forgets it by a confirm, and its thread, which waits for QEMU's word still, finds nothing where it was.
   */
  async putRight(domain: DomainRef): Promise<void> {
    try {
      await this.#libvirt.jobAbort(domain);
    } catch (error) {
      if (!isLibvirtError(error)) throw error;
    }
    if (!(await this.#copyEnds(domain))) return;
    const half = await this.#libvirt.openMigration();
    try {
      await half.migrateConfirm(domain, new Uint8Array(0), true, nothing);
    } finally {
      half.close();
    }
    this.#isRighted = true;
  }

  /** libvirt still works on it for a moment after it was told to end it. */
  async #copyEnds(domain: DomainRef): Promise<boolean> {
    const until = performance.now() + copyEndsMs;
    try {
      while (performance.now() < until) {
        const { type } = await this.#libvirt.jobStats(domain);
        // It says early that the copy came to nothing, and has then its mirrors to end.
        if (type === "none") return true;
        await sleep(copyLooksMs);
      }
      return false;
    } catch (error) {
      // The guest has ended, and its copy with it.
      if (isLibvirtError(error, "OperationInvalid")) return true;
      throw error;
    }
  }
}
