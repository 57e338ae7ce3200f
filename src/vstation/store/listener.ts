/**
 * Hears other replicas' commits on one dedicated connection (LISTEN). Notifications that were sent while it was down are lost,
 * so after every (re)connection it tells its owner to read everything again; that, and not the notification, is what makes
 * the system right.
 */
import pg from "pg";
import { formatError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import { connectionOptions } from "./database.ts";
import { channel, parsePayload, type Wake } from "./wake.ts";

export interface ListenerOptions {
  database: string;
  replica: string;
  log: Log;
  onWake: (wake: Wake) => void;
  /** The connection is (again) up: whatever was told before may have been missed. */
  onFresh: () => void;
}

/** How often a silent connection is asked whether it still lives. */
const probeMs = 10_000;

export class Listener {
  readonly #options: ListenerOptions;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#stop.signal.aborted) {
      try {
        await this.#session(() => {
          failures = 0;
        });
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        const level = failures === 0 ? "warn" : "debug";
        this.#options.log[level]({ chain: formatError(error) }, "the database connection was lost; trying again");
      }
      await sleep(backoff(failures++, 50, 2_000), this.#stop.signal).catch(() => undefined);
    }
  }

  /** One connection's life; returns or throws when it is over. */
  async #session(up: () => void): Promise<void> {
    const { database, replica, log, onWake, onFresh } = this.#options;
    const client = new pg.Client({ ...connectionOptions(database), query_timeout: 5_000 });
    const over = Promise.withResolvers<void>();
    // It may reject before anyone waits for it (a connection refused).
    over.promise.catch(() => undefined);
    client.on("error", (error) => over.reject(error));
    client.on("end", () => over.resolve());
    client.on("notification", ({ payload }) => {
      const wake = parsePayload(payload ?? "", replica);
      if (wake !== undefined) onWake(wake);
    });
    const stopped = (): void => over.resolve();
    this.#stop.signal.addEventListener("abort", stopped);
    const probe = setInterval(() => {
      client.query("select 1").catch((error: unknown) => over.reject(error as Error));
    }, probeMs);
    try {
      await client.connect();
      await client.query(`listen ${channel}`);
      log.info("connected to the database");
      up();
      onFresh();
      await over.promise;
    } finally {
      clearInterval(probe);
      this.#stop.signal.removeEventListener("abort", stopped);
      // A connection that is gone already says so again here, and nobody needs to know twice.
      await client.end().catch(() => undefined);
    }
  }
}
