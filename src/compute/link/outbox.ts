/**
 * What VStation is to know of this host's instances, and what it has acknowledged: the latest state per instance, never a queue
 * of past ones. A change is sent at once if no report is on its way, else with the next one; a report without acknowledgement
 * is made again from what is true then. Everything is sent whole after each connect and every few minutes.
 */
import type { FromCompute, SeenInstance } from "../../api/agent.ts";
import type { InstanceId } from "../../lib/ids.ts";

type SeenMessage = Extract<FromCompute, { type: "seen" }>;

export interface OutboxOptions {
  /** The wanted generation that reports take into account. */
  readonly generation: () => number;
  /** False until every instance has been looked at: a whole report would say of the others that they are not there. */
  readonly isWhole: () => boolean;
  /** A report can be made now: called once for any number of changes. */
  readonly onReady: () => void;
}

export class Outbox {
  readonly #options: OutboxOptions;
  #seen = new Map<InstanceId, SeenInstance>();
  #dirty = new Set<InstanceId>();
  #inFlight: { seq: number; ids: ReadonlySet<InstanceId>; full: boolean } | null = null;
  #fullDue = true;
  #lastSeq = 0;
  #lastGeneration = -1;
  #announced = false;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  get all(): IterableIterator<SeenInstance> {
    return this.#seen.values();
  }

  /** null: there is nothing to report of it any more. */
  set(id: InstanceId, seen: SeenInstance | null): void {
    const before = this.#seen.get(id);
    if (seen === null) {
      // A report of changes cannot say "not here": the next whole one does.
      if (this.#seen.delete(id)) this.#fullDue = true;
      this.#dirty.delete(id);
    } else {
      if (before && JSON.stringify(before) === JSON.stringify(seen)) return this.#announce();
      this.#seen.set(id, seen);
      this.#dirty.add(id);
    }
    this.#announce();
  }

  /** The wanted generation has changed: the next report says so, even if no instance did. */
  changed(): void {
    this.#announce();
  }

  /** The connection is new: nothing that was sent before counts. */
  reset(): void {
    this.#inFlight = null;
    this.#lastSeq = 0;
    this.requestFull();
  }

  requestFull(): void {
    this.#fullDue = true;
    this.#announce();
  }

  /** The report on its way got no answer: the next one carries it again. */
  expire(): void {
    if (this.#inFlight === null) return;
    for (const id of this.#inFlight.ids) if (this.#seen.has(id)) this.#dirty.add(id);
    if (this.#inFlight.full) this.#fullDue = true;
    this.#inFlight = null;
    this.#announce();
  }

  acknowledge(seq: number): void {
    if (this.#inFlight?.seq !== seq) return;
    this.#inFlight = null;
    this.#announce();
  }

  /** The next report to send, or null if one is on its way or there is nothing new. */
  take(): SeenMessage | null {
    if (this.#inFlight !== null) return null;
    const full = this.#fullDue && this.#options.isWhole();
    const wantedGeneration = this.#options.generation();
    if (!full && this.#dirty.size === 0 && wantedGeneration === this.#lastGeneration) return null;
    const ids = full ? new Set(this.#seen.keys()) : this.#dirty;
    const instances = [...ids].flatMap((id) => this.#seen.get(id) ?? []);
    const seq = ++this.#lastSeq;
    this.#inFlight = { seq, ids, full };
    this.#dirty = new Set();
    if (full) this.#fullDue = false;
    this.#lastGeneration = wantedGeneration;
    return { type: "seen", seq, full, wantedGeneration, instances };
  }

  #announce(): void {
    if (this.#announced || this.#inFlight !== null) return;
    this.#announced = true;
    // After everything that changes in this turn of the event loop. Over before it is told: who cannot send now (the connection
    // is away) must be told again by the next change.
    queueMicrotask(() => {
      this.#announced = false;
      this.#options.onReady();
    });
  }
}
