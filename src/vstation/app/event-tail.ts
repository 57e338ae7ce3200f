/**
 * The event stream: everything after an id, then live, in the order of ids and without a hole.
 *
 * One reader per process follows the table and serves every client. Ids are taken from a sequence inside transactions, so a lower
 * id may become visible after a higher one. At a gap the reader stops and looks again until either the missing ids appear or
 * every transaction that was open when the gap was seen is over (then they were rolled back and will never come). Clients
 * that are behind read from SQL up to where the reader is, then hop on. A nudge says "look again" and may be lost: the
 * listener's fresh start is one too.
 */
import type { Log } from "../../lib/log.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import type { ChangeEvent, Events } from "../cloud.ts";
import { logRetry, type Store } from "../store/database.ts";
import { eventLast, eventsAfter, type EventWindow } from "../store/events.ts";

const pageSize = 500;
const gapMs = 5;
/** What is kept for clients that are just a little behind. */
const keep = 4_096;

export class EventTail implements Events {
  readonly #store: Store;
  readonly #log: Log;
  readonly #stop = new AbortController();
  readonly #recent: ChangeEvent[] = [];
  /** Everything up to here has been handed out or never was. */
  #at: bigint | undefined;
  /** The first id that is missing, and the transaction before which whoever took it began. */
  #gap: { at: bigint; until: bigint } | undefined;
  #look = Promise.withResolvers<void>();
  #more = Promise.withResolvers<void>();
  readonly #running: Promise<void>;

  constructor(store: Store, log: Log) {
    this.#store = store;
    this.#log = log;
    this.#running = this.#run();
  }

  /** There may be something new. */
  nudge(): void {
    this.#look.resolve();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#look.resolve();
    this.#more.resolve();
    await this.#running;
  }

  async *follow(since: bigint | undefined, signal: AbortSignal): AsyncIterable<ChangeEvent> {
    const aborted = Promise.withResolvers<void>();
    const abort = (): void => aborted.resolve();
    signal.addEventListener("abort", abort);
    try {
      let at = since ?? (await this.#start());
      while (!signal.aborted && !this.#stop.signal.aborted) {
        const more = this.#more.promise;
        const events = await this.#after(at);
        for (const event of events) {
          if (signal.aborted) return;
          yield event;
          at = event.id;
        }
        if (events.length === 0) await Promise.race([more, aborted.promise]);
      }
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** Where "from now on" begins: once the reader knows its own place. */
  async #start(): Promise<bigint> {
    while (this.#at === undefined && !this.#stop.signal.aborted) await this.#more.promise;
    return this.#at ?? 0n;
  }

  async #after(at: bigint): Promise<ChangeEvent[]> {
    const upTo = this.#at;
    if (upTo === undefined || at >= upTo) return [];
    const oldest = this.#recent[0];
    if (oldest !== undefined && at >= oldest.id - 1n) return this.#recent.filter(({ id }) => id > at);
    const { events } = await this.#store.read((db) => eventsAfter(db, at, pageSize));
    return events.filter(({ id }) => id <= upTo);
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#stop.signal.aborted) {
      try {
        if (this.#at === undefined) this.#advance(await this.#store.read(eventLast), []);
        const again = await this.#read(this.#at ?? 0n);
        failures = 0;
        if (again === "more") continue;
        if (again === "gap") await sleep(gapMs, this.#stop.signal).catch(() => undefined);
        else await this.#look.promise;
        this.#look = Promise.withResolvers();
      } catch (error) {
        logRetry(this.#log, error, "the event stream could not be read");
        await sleep(backoff(failures++, 100, 2_000), this.#stop.signal).catch(() => undefined);
      }
    }
  }

  /** Hands out what may be handed out; says whether to look again at once, soon, or when nudged. */
  async #read(at: bigint): Promise<"more" | "gap" | "idle"> {
    const window = await this.#store.read((db) => eventsAfter(db, at, pageSize));
    const { ready, gap } = this.#untilGap(at, window);
    const last = ready.at(-1);
    if (last !== undefined) this.#advance(last.id, ready);
    if (gap) return "gap";
    return window.events.length === pageSize ? "more" : "idle";
  }

  #untilGap(at: bigint, window: EventWindow): { ready: ChangeEvent[]; gap: boolean } {
    const ready: ChangeEvent[] = [];
    let next = at + 1n;
    for (const event of window.events) {
      if (event.id !== next) {
        if (this.#gap?.at !== next) this.#gap = { at: next, until: window.nextTransaction };
        // Once whoever took the missing ids is over, they would be visible in this very window if they ever were to be.
        if (window.oldestOpen < this.#gap.until) return { ready, gap: true };
      }
      ready.push(event);
      next = event.id + 1n;
    }
    this.#gap = undefined;
    return { ready, gap: false };
  }

  #advance(at: bigint, events: ChangeEvent[]): void {
    this.#at = at;
    this.#recent.push(...events);
    if (this.#recent.length > keep) this.#recent.splice(0, this.#recent.length - keep);
    this.#more.resolve();
    this.#more = Promise.withResolvers();
  }
}
