/**
 * "Tell me when this one thing changes", for long polls: one follower of the change events, shared by everyone who waits.
 *
 * The order that loses nothing: watch first, read second, then wait. Whatever is committed after the read wakes the watch, if
 * the follower was live by then. After an error the follower resumes behind the last event it saw. What is left is its very
 * beginning, and bugs: so a wait never lasts longer than `lookAgainMs` before the truth is read once more. A wake-up that is
 * lost costs seconds, never a hang.
 */
import { formatError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import type { ChangeEvent, Events } from "../cloud.ts";

const standardLookAgainMs = 5000;

export interface Watch extends Disposable {
  /** Resolves at the first change since the watch was made, after `ms` or sooner, or when the signal aborts: read again then. */
  happened(ms: number, signal: AbortSignal): Promise<void>;
}

export class Changes {
  readonly #events: Events;
  readonly #log: Log;
  readonly #closing: AbortSignal;
  readonly #lookAgainMs: number;
  readonly #watches = new Map<string, Set<() => void>>();

  constructor(events: Events, log: Log, closing: AbortSignal, lookAgainMs = standardLookAgainMs) {
    this.#events = events;
    this.#log = log;
    this.#closing = closing;
    this.#lookAgainMs = lookAgainMs;
    void this.#follow();
  }

  watch(subject: ChangeEvent["subject"], id: string): Watch {
    const key = `${subject} ${id}`;
    const { promise, resolve } = Promise.withResolvers<void>();
    const set = this.#watches.get(key) ?? new Set();
    this.#watches.set(key, set.add(resolve));
    return {
      happened: async (ms, signal) => {
        const end = new AbortController();
        const ends = AbortSignal.any([signal, this.#closing, end.signal]);
        const waited = sleep(Math.min(ms, this.#lookAgainMs), ends).catch(() => undefined);
        await Promise.race([promise, waited]);
        end.abort();
      },
      [Symbol.dispose]: () => {
        set.delete(resolve);
        if (set.size === 0 && this.#watches.get(key) === set) this.#watches.delete(key);
      },
    };
  }

  get watching(): number {
    let count = 0;
    for (const set of this.#watches.values()) count += set.size;
    return count;
  }

  async #follow(): Promise<void> {
    let last: bigint | undefined;
    for (let failures = 0; !this.#closing.aborted; failures++) {
      try {
        for await (const event of this.#events.follow(last, this.#closing)) {
          last = event.id;
          failures = 0;
          for (const resolve of this.#watches.get(`${event.subject} ${event.subjectId}`) ?? []) resolve();
        }
      } catch (error) {
        if (this.#closing.aborted) return;
        this.#log.warn({ err: error }, `following changes: ${formatError(error)}`);
      }
      await sleep(backoff(failures, 100, 5000), this.#closing).catch(() => undefined);
    }
  }
}
