/**
 * Being the one that places in a zone. {@link Lease} takes the lease when it can, renews it, and says when it was taken and lost;
 * who holds it also runs the zone's reconcilers. How it is taken and why two can never commit is told in store/zone.ts.
 */
import { crashPoint } from "../../lib/crash-point.ts";
import { formatError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import type { Store } from "../store/database.ts";
import { leaseLock } from "../store/lease-lock.ts";
import { leaseRelease, leaseRenew, leaseTake } from "../store/zone.ts";

export interface LeaseOptions {
  store: Store;
  database: string;
  zone: string;
  /** Where other replicas reach this one. */
  address: string;
  log: Log;
  ttlMs?: number;
  onTaken: () => void;
  onLost: () => void;
}

const defaultTtlMs = 10_000;

export class Lease {
  readonly #options: LeaseOptions & { ttlMs: number };
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>;
  #epoch: number | undefined;
  /** Ends the present wait for the lock, or our holding of it. */
  #lock = new AbortController();
  #taking: Promise<void> = Promise.resolve();

  constructor(options: LeaseOptions) {
    this.#options = { ...options, ttlMs: options.ttlMs ?? defaultTtlMs };
    this.#running = Promise.all([this.#lockLoop(), this.#timeLoop()]);
  }

  /** The fencing number to commit with; undefined while another one holds the lease. */
  get epoch(): number | undefined {
    return this.#epoch;
  }

  /** A commit was refused for its epoch: somebody else has the lease. */
  lost(): void {
    if (this.#epoch === undefined) return;
    this.#epoch = undefined;
    // Whoever took it while we hung shall have the lock too, so that the next one learns of their death at once.
    this.#lock.abort();
    this.#options.log.warn("the placement lease was lost");
    this.#options.onLost();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    const epoch = this.#epoch;
    this.#epoch = undefined;
    if (epoch === undefined) return;
    await leaseRelease(this.#options.store, this.#options.zone, epoch).catch((error: unknown) => {
      // It runs out by itself.
      this.#options.log.warn({ chain: formatError(error) }, "could not give the lease back");
    });
  }

  /** Waits in the queue for the lock; getting it proves that the former holder's process is gone. */
  async #lockLoop(): Promise<void> {
    const { database, zone, log } = this.#options;
    for (let failures = 0; !this.#stop.signal.aborted; failures++) {
      try {
        this.#lock = new AbortController();
        const signal = AbortSignal.any([this.#stop.signal, this.#lock.signal]);
        await leaseLock(database, zone, signal, async () => {
          failures = 0;
          await this.#take(true);
        });
      } catch (error) {
        log.debug({ chain: formatError(error) }, "waiting for the placement lock failed");
      }
      await sleep(backoff(failures, 50, 2_000), this.#stop.signal).catch(() => undefined);
    }
  }

  /** Renews what we hold, and takes what has run out because its holder hangs. */
  async #timeLoop(): Promise<void> {
    const { store, zone, ttlMs, log } = this.#options;
    while (!this.#stop.signal.aborted) {
      await sleep(ttlMs / 3, this.#stop.signal).catch(() => undefined);
      if (this.#stop.signal.aborted) return;
      try {
        if (this.#epoch === undefined) await this.#take(false);
        else if (!(await leaseRenew(store, zone, this.#epoch, ttlMs))) this.lost();
      } catch (error) {
        // Without the database nobody can take it either; commits are checked there, not here.
        log.debug({ chain: formatError(error) }, "could not renew the placement lease");
      }
    }
  }

  /** One attempt after the other: two at once could leave us with the lower of two epochs. */
  #take(holderDead: boolean): Promise<void> {
    const attempt = this.#taking.then(() => this.#takeOnce(holderDead));
    this.#taking = attempt.catch(() => undefined);
    return attempt;
  }

  async #takeOnce(holderDead: boolean): Promise<void> {
    const { store, zone, address, log, ttlMs } = this.#options;
    if (this.#epoch !== undefined || this.#stop.signal.aborted) return;
    const epoch = await leaseTake(store, zone, { holder: store.replica, address, holderDead, ttlMs });
    if (epoch === undefined) return;
    crashPoint("placement.lease.taken");
    this.#epoch = epoch;
    log.info({ epoch, zone }, "placing in this zone from now on");
    this.#options.onTaken();
  }
}
