/**
 * Keeps one connection to libvirtd alive: opens it, and opens a new one when it is lost, until closed.
 *
 * `prepare` runs on each fresh connection before anybody may use it; it is where subscriptions are made again. Only when it is
 * done is the link "connected", so whoever reads a level after "connected" misses no event that comes later. A connection that
 * breaks during `prepare` never was connected.
 */
import { Failure, formatError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { backoff, sleep } from "../lib/retry.ts";
import { deadlineOf } from "./calls.ts";
import { Connection, type ConnectionOptions, defaultDeadlineMs } from "./client.ts";
import type { CallOptions, LinkState } from "./contract.ts";
import { notConnected } from "./errors.ts";

export interface LinkOptions {
  readonly name: string;
  readonly connection: ConnectionOptions;
  readonly log: Log;
  readonly backoffMs?: { readonly base: number; readonly ceiling: number };
  prepare(connection: Connection): Promise<void>;
  /** The state changed; `first` tells the first "connected" from a reconnect. */
  changed(state: LinkState, first: boolean): void;
}

/** A local socket costs nothing to try, and a host without its libvirt is a host that nobody looks after: be back soon. */
const defaultBackoffMs = { base: 50, ceiling: 1_000 };

export class Link {
  readonly #options: LinkOptions;
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;
  #state: LinkState = "connecting";
  #connection: Connection | undefined;
  #everConnected = false;
  #lastFailure: unknown;
  #waiters = new Set<() => void>();

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#done = this.#run();
  }

  get state(): LinkState {
    return this.#state;
  }

  /** Calls on the present connection that have not ended. */
  get outstanding(): Connection["outstanding"] {
    return this.#connection?.outstanding ?? { waiting: 0, abandoned: 0, streams: 0 };
  }

  /** The connection to use now. Throws `unavailable` "LibvirtNotConnected" when there is none. */
  use(what: string): Connection {
    if (this.#state !== "connected" || !this.#connection) throw notConnected(what, this.#lastFailure);
    return this.#connection;
  }

  /** Resolves when connected; rejects when the deadline passes, the signal aborts or the link is closed first. */
  async ready(options?: CallOptions): Promise<void> {
    const gaveUp = new AbortController();
    const giveUp = (): void => gaveUp.abort();
    const timer = setTimeout(giveUp, deadlineOf(options, defaultDeadlineMs));
    options?.signal?.addEventListener("abort", giveUp, { once: true });
    try {
      while (this.#state !== "connected") {
        options?.signal?.throwIfAborted();
        if (this.#state === "closed" || gaveUp.signal.aborted) throw notConnected("ready", this.#lastFailure);
        await this.#next(gaveUp.signal);
      }
    } finally {
      clearTimeout(timer);
      options?.signal?.removeEventListener("abort", giveUp);
    }
  }

  /** Ends the connection, and the attempts to get one. */
  async close(): Promise<void> {
    this.#stop.abort(new Failure("unavailable", "LibvirtClosed", "closed here"));
    this.#connection?.close();
    await this.#done;
  }

  async #run(): Promise<void> {
    const { log, name, connection } = this.#options;
    const { base, ceiling } = this.#options.backoffMs ?? defaultBackoffMs;
    for (let attempt = 0; !this.#stop.signal.aborted; attempt++) {
      try {
        await this.#live();
        attempt = 0;
        if (this.#stop.signal.aborted) break;
        log.warn({ link: name, cause: formatError(this.#lastFailure) }, "connection to libvirt lost");
      } catch (error) {
        this.#lastFailure = error;
        const level = attempt === 0 ? "warn" : "debug";
        log[level]({ link: name, path: connection.socketPath, error: formatError(error) }, "no connection to libvirt");
      }
      // Aborting rejects the sleep, and the loop's own condition ends it then.
      await sleep(backoff(attempt, base, ceiling), this.#stop.signal).catch(() => undefined);
    }
    this.#change("closed");
  }

  /** The life of one connection. Returns when it was lost, throws when it never came to stand. */
  async #live(): Promise<void> {
    const connection = await Connection.open(this.#options.connection, this.#stop.signal);
    try {
      this.#stop.signal.throwIfAborted();
      this.#connection = connection;
      await this.#options.prepare(connection);
      if (!connection.open) throw await connection.lost;
      this.#options.connection.counters.connects++;
      this.#change("connected");
      this.#lastFailure = await connection.lost;
      this.#options.connection.counters.losses++;
    } finally {
      connection.close();
      this.#connection = undefined;
      if (this.#state === "connected") this.#change("lost");
    }
  }

  #change(state: LinkState): void {
    this.#state = state;
    const first = state === "connected" && !this.#everConnected;
    if (first) this.#everConnected = true;
    this.#options.changed(state, first);
    for (const wake of this.#waiters) wake();
    this.#waiters.clear();
  }

  async #next(gaveUp: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = (): void => resolve();
    this.#waiters.add(wake);
    gaveUp.addEventListener("abort", wake, { once: true });
    await promise;
    gaveUp.removeEventListener("abort", wake);
    this.#waiters.delete(wake);
  }
}
