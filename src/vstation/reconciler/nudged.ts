/**
 * A pass that is made again and again: at each nudge, and for as long as it says so every moment without one. It takes no input but "look
 * now", so a nudge that was lost, or two that came together, change nothing; one that comes during a pass makes another.
 */
import type { Log } from "../../lib/log.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import { logRetry } from "../store/database.ts";

export interface NudgedOptions {
  readonly log: Log;
  /** For the log: "looking after migrations". */
  readonly doing: string;
  /** True while it is to be made again without a nudge. */
  readonly pass: () => Promise<boolean>;
}

const againMs = 1_000;

export class Nudged {
  readonly #options: NudgedOptions;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  /** Of the next pass. */
  #wake = Promise.withResolvers<void>();

  constructor(options: NudgedOptions) {
    this.#options = options;
    this.#running = this.#loop();
  }

  nudge(): void {
    this.#wake.resolve();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#wake.resolve();
    await this.#running;
  }

  async #loop(): Promise<void> {
    const { log, doing, pass } = this.#options;
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted;) {
      this.#wake = Promise.withResolvers();
      const nudged = this.#wake.promise;
      try {
        const again = await pass();
        failures = 0;
        if (again) await Promise.race([nudged, sleep(againMs, signal).catch(() => undefined)]);
        else await nudged;
      } catch (error) {
        logRetry(log, error, `${doing} failed`);
        await sleep(backoff(failures++, 100, 5_000), signal).catch(() => undefined);
      }
    }
  }
}

/** In a pass over several: one that cannot be written must not keep the others from going on. */
export async function alone(log: Log, id: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    logRetry(log, error, `looking after ${id} failed`);
  }
}
