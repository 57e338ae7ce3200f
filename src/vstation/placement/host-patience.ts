/**
 * Patience with hosts that are on their way: a request for which only they may have room waits a moment for them. Hosts are on their way
 * when a VStation begins to place (they dial in again) and when one has joined (its first words are still to come). In a zone that has
 * been without them for longer everybody is told so at once.
 */
import { sleep } from "../../lib/retry.ts";
import { isForWantOfHosts } from "./refusals.ts";

const patienceMs = 15_000;

export class HostPatience {
  #until = 0;
  #changed = Promise.withResolvers<void>();

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
    for (;;) {
      const { promise: changed } = this.#changed;
      try {
        return await work();
      } catch (error) {
        const left = this.#until - performance.now();
        if (left <= 0 || !isForWantOfHosts(error)) throw error;
        await Promise.race([changed, sleep(left)]);
      }
    }
  }
}
