/**
 * Runs the rules of src/core/reconcile.ts against SQL: takes no input but "look at this one now", reads the whole wanted and the
 * whole seen of the instance under its row lock, takes one step, and writes it in the same transaction. Many instances share
 * one transaction when many are waiting; none shares a decision.
 *
 * Only the holder of the zone's lease runs one, to keep two from doing the same work; correctness does not hang on that but on
 * the row lock. A nudge that is lost is made good by {@link Reconciler.sweepAll} at each fresh start, and deadlines by the sweep.
 */
import { crashPoint } from "../../lib/crash-point.ts";
import type { Decision } from "../../core/decision.ts";
import { plainPromise } from "../../core/machine.ts";
import { roomOf } from "../../core/placement.ts";
import { reconcile, relocationFailed } from "../../core/reconcile.ts";
import { isFailure } from "../../lib/errors.ts";
import type { InstanceId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import type { Placer } from "../placement/placer.ts";
import { logRetry, type Store } from "../store/database.ts";
import { instancesDue, instancesUnsettled, nextDue } from "../store/due.ts";
import { instanceLock, type LockedInstance } from "../store/instances.ts";
import { apply } from "./apply.ts";

export interface ReconcilerOptions {
  store: Store;
  placer: Placer;
  zone: string;
  log: Log;
  /** A transaction was committed; for metrics. */
  onReconciled: (instances: number, seconds: number) => void;
}

const batchSize = 128;
/** A timer further away than this is asked for again: the clock of the database decides, not ours. */
const longestSleepMs = 30_000;
const sweepLimit = 1_000;

export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #due = new Set<InstanceId>();
  readonly #stop = new AbortController();
  #wake = Promise.withResolvers<void>();
  #timer: { at: number; handle: NodeJS.Timeout } | undefined;
  readonly #running: Promise<void>;
  readonly #background = new Set<Promise<void>>();
  /** Being placed anew; every look at one says so again until it has a host. */
  readonly #placing = new Set<InstanceId>();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#running = this.#loop();
    this.sweepAll();
  }

  /** Instances that are to be looked at now. */
  get waiting(): number {
    return this.#due.size;
  }

  nudge(ids: Iterable<InstanceId>): void {
    for (const id of ids) this.#due.add(id);
    if (this.#due.size > 0) this.#wake.resolve();
  }

  /** Something becomes due at this time (ms). */
  at(dueAt: number): void {
    if (this.#stop.signal.aborted || (this.#timer !== undefined && this.#timer.at <= dueAt)) return;
    clearTimeout(this.#timer?.handle);
    const wait = Math.min(longestSleepMs, Math.max(0, dueAt - Date.now()));
    this.#timer = { at: dueAt, handle: setTimeout(() => this.#sweep(), wait) };
  }

  /** Looks at everything that is not at rest: nudges may have been lost. */
  sweepAll(): void {
    const { store, zone } = this.#options;
    void this.#inBackground("reading what is unsettled", async () => {
      this.nudge(await store.read((db) => instancesUnsettled(db, zone)));
      this.at(Date.now());
    });
  }

  async close(): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#timer?.handle);
    this.#wake.resolve();
    await this.#running;
    await Promise.allSettled(this.#background);
  }

  #sweep(): void {
    this.#timer = undefined;
    const { store, zone } = this.#options;
    void this.#inBackground("sweeping", async () => {
      const ids = await store.read((db) => instancesDue(db, zone, sweepLimit));
      this.nudge(ids);
      const next = await store.read((db) => nextDue(db, zone));
      // What is due now is being looked at; if that fails it is due again, but not in a tight circle.
      this.at(Date.now() + Math.max(1_000, Math.min(next ?? longestSleepMs, longestSleepMs)));
    });
  }

  #inBackground(doing: string, work: () => Promise<void>): Promise<void> {
    const task = (async () => {
      for (let failures = 0; !this.#stop.signal.aborted; failures++) {
        try {
          return await work();
        } catch (error) {
          logRetry(this.#options.log, error, `${doing} failed`);
          await sleep(backoff(failures, 100, 5_000), this.#stop.signal).catch(() => undefined);
        }
      }
    })();
    this.#background.add(task);
    void task.finally(() => this.#background.delete(task));
    return task;
  }

  async #loop(): Promise<void> {
    let failures = 0;
    while (!this.#stop.signal.aborted) {
      if (this.#due.size === 0) {
        await this.#wake.promise;
        this.#wake = Promise.withResolvers();
        continue;
      }
      const batch = [...this.#due].slice(0, batchSize);
      for (const id of batch) this.#due.delete(id);
      try {
        await this.#reconcile(batch);
        failures = 0;
      } catch (error) {
        this.nudge(batch);
        logRetry(this.#options.log, error, "reconciling failed");
        if (!isFailure(error, "unavailable") && batch.length > 1) await this.#oneByOne(batch);
        await sleep(backoff(failures++, 50, 5_000), this.#stop.signal).catch(() => undefined);
      }
    }
  }

  /** One instance that cannot be written must not keep the others from going on. */
  async #oneByOne(batch: readonly InstanceId[]): Promise<void> {
    for (const id of batch) {
      this.#due.delete(id);
      try {
        await this.#reconcile([id]);
      } catch (error) {
        this.#options.log.error({ err: error, instanceId: id }, "reconciling one instance failed");
        this.at(Date.now() + longestSleepMs);
      }
    }
  }

  async #reconcile(ids: readonly InstanceId[]): Promise<void> {
    const { store, onReconciled } = this.#options;
    const now = Date.now();
    const began = performance.now();
    const decided = await store.transaction(async (tx) => {
      const locked = await instanceLock(tx, ids);
      crashPoint("reconciler.batch.locked");
      const work = locked.map((one) => ({ one, decision: decide(one, now) }));
      await apply(tx, work, now);
      crashPoint("reconciler.batch.written");
      return work;
    });
    crashPoint("reconciler.batch.committed");
    onReconciled(ids.length, (performance.now() - began) / 1000);
    for (const { one, decision } of decided) this.#afterwards(one, decision);
  }

  /** What follows from a committed decision outside SQL; all of it would be found again after a crash. */
  #afterwards({ row, facts, otherAddress }: LockedInstance, decision: Decision): void {
    const { placer } = this.#options;
    if (decision.release === "everything") placer.drop(row.id, row.subnet_id, row.ip);
    if (otherAddress !== null && (decision.release === "everything" || decision.address === "letGo")) {
      placer.releaseAddress(otherAddress.subnetId, otherAddress.ip);
    }
    if (decision.release === "capacity") placer.leave(row.id);
    if (decision.dueAt !== null) this.at(decision.dueAt);
    if (!decision.place || this.#placing.has(row.id)) return;
    const size = { vcpus: row.vcpus, memoryMiB: row.memory_mib, diskGiB: row.disk_gib };
    const room = roomOf(size, row.machine ?? plainPromise);
    this.#placing.add(row.id);
    const placed = this.#inBackground("placing anew", async () => {
      if (await placer.relocate(row.id, facts, room, row.account_id, row.group_id)) return;
      await this.#giveUpRelocation(row.id);
    });
    void placed.finally(() => this.#placing.delete(row.id));
  }

  async #giveUpRelocation(id: InstanceId): Promise<void> {
    const now = Date.now();
    await this.#options.store.transaction(async (tx) => {
      const work = (await instanceLock(tx, [id]))
        .filter(({ facts }) => facts.power.is === "gone" && facts.power.purpose === "relocate" && facts.hostId === null)
        .map((one) => ({ one, decision: relocationFailed(one.facts) }));
      await apply(tx, work, now);
    });
  }
}

function decide({ facts, hostConnected }: LockedInstance, now: number): Decision {
  return reconcile(facts, facts.hostId === null || hostConnected ? "connected" : "unreachable", now);
}
