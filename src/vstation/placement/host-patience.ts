/**
 * Patience with hosts that are on their way: a request for which only they may have room waits a moment for them. Hosts are on their way
 * when a VStation begins to place (they dial in again) and when one has joined (its first words are still to come). In a zone that has
 * been without them for longer everybody is told so at once, after one more look: the host that has just joined may not have been told of yet.
 */
import { sleep } from "../../lib/retry.ts";
import { isForWantOfHosts } from "./refusals.ts";

const patienceMs = 15_000;

export class HostPatience {
  readonly #look: () => Promise<void>;
  #looking: Promise<void> | null = null;
  #until = 0;
  #changed = Promise.withResolvers<void>();

  /** `look`: reads the hosts anew, and tells this of what it finds. */
  constructor(look: () => Promise<void>) {
    this.#look = look;
  }

  /** Hosts are on their way from now on. */
  renew(): void {
    this.#until = performance.now() + patienceMs;
  }

  /** What hosts offer is not what it was: whoever waits for it asks again. */
  hostsChanged(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Does it again when hosts have changed, as long as it fails for want of hosts that are on their way. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    let looked = false;
    for (;;) {
      const { promise: changed } = this.#changed;
      try {
        return await work();
      } catch (error) {
        const left = this.#until - performance.now();
        if (!isForWantOfHosts(error) || (left <= 0 && looked)) throw error;
        if (left > 0) await Promise.race([changed, sleep(left)]);
        else {
          looked = true;
          // One look is enough for all who ask at once.
          await (this.#looking ??= this.#look().finally(() => (this.#looking = null)));
        }
      }
    }
  }
}
