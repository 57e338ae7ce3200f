/**
 * What VStation is to know of this host's instances, jobs and migrations, and what it has acknowledged: the latest state of each, never
 * a queue of past ones. A change is sent at once if no report is on its way, else with the next one; a report without acknowledgement
 * is made again from what is true then. Everything is sent whole after each connect and every few minutes.
 */
import type { FromCompute, SeenInstance } from "../../api/agent.ts";
import type { SeenMigration } from "../../api/agent-migration.ts";
import type { SeenJob } from "../../api/agent-storage.ts";
import type { InstanceId, JobId, MigrationId } from "../../lib/ids.ts";

type SeenMessage = Extract<FromCompute, { type: "seen" }>;

export interface OutboxOptions {
  /** The wanted generation that reports take into account. */
  readonly generation: () => number;
  /** False until every instance has been looked at: a whole report would say of the others that they are not there. */
  readonly isWhole: () => boolean;
  /** A report can be made now: called once for any number of changes. */
  readonly onReady: () => void;
}

interface InFlight {
  readonly seq: number;
  readonly instances: ReadonlySet<InstanceId>;
  readonly jobs: ReadonlySet<JobId>;
  readonly migrations: ReadonlySet<MigrationId>;
  readonly full: boolean;
}

export class Outbox {
  readonly #options: OutboxOptions;
  readonly #instances = new Levels<InstanceId, SeenInstance>();
  readonly #jobs = new Levels<JobId, SeenJob>();
  readonly #migrations = new Levels<MigrationId, SeenMigration>();
  #inFlight: InFlight | null = null;
  #fullDue = true;
  #lastSeq = 0;
  #lastGeneration = -1;
  #announced = false;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  get all(): IterableIterator<SeenInstance> {
    return this.#instances.values();
  }

  /** null: there is nothing to report of it any more. */
  set(id: InstanceId, seen: SeenInstance | null): void {
    // A report of changes cannot say "not here": the next whole one does.
    if (this.#instances.set(id, seen) === "removed") this.#fullDue = true;
    this.#announce();
  }

  /** null: the job is over and forgotten; nobody waits to hear that. */
  setJob(id: JobId, seen: SeenJob | null): void {
    if (this.#jobs.set(id, seen) === "changed") this.#announce();
  }

  /** null: this host has forgotten its half; nobody waits to hear that. */
  setMigration(id: MigrationId, seen: SeenMigration | null): void {
    if (this.#migrations.set(id, seen) === "changed") this.#announce();
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
    this.#instances.again(this.#inFlight.instances);
    this.#jobs.again(this.#inFlight.jobs);
    this.#migrations.again(this.#inFlight.migrations);
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
    const news = [this.#instances, this.#jobs, this.#migrations].some((levels) => levels.isDirty);
    if (!full && !news && wantedGeneration === this.#lastGeneration) return null;
    const instances = this.#instances.take(full);
    const jobs = this.#jobs.take(full);
    const migrations = this.#migrations.take(full);
    const seq = ++this.#lastSeq;
    this.#inFlight = { seq, instances: instances.ids, jobs: jobs.ids, migrations: migrations.ids, full };
    if (full) this.#fullDue = false;
    this.#lastGeneration = wantedGeneration;
    return {
      type: "seen",
      seq,
      full,
      wantedGeneration,
      instances: instances.values,
      jobs: jobs.values,
      migrations: migrations.values,
    };
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

/** The latest state of each thing of one kind, and which of them have changed since they were taken. */
class Levels<Id, Seen> {
  readonly #seen = new Map<Id, Seen>();
  #dirty = new Set<Id>();

  values(): IterableIterator<Seen> {
    return this.#seen.values();
  }

  get isDirty(): boolean {
    return this.#dirty.size > 0;
  }

  set(id: Id, seen: Seen | null): "changed" | "removed" | "same" {
    const before = this.#seen.get(id);
    if (seen === null) {
      this.#dirty.delete(id);
      return this.#seen.delete(id) ? "removed" : "same";
    }
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(seen)) return "same";
    this.#seen.set(id, seen);
    this.#dirty.add(id);
    return "changed";
  }

  again(ids: ReadonlySet<Id>): void {
    for (const id of ids) if (this.#seen.has(id)) this.#dirty.add(id);
  }

  take(all: boolean): { ids: ReadonlySet<Id>; values: Seen[] } {
    const ids = all ? new Set(this.#seen.keys()) : this.#dirty;
    this.#dirty = new Set();
    return { ids, values: [...ids].flatMap((id) => this.#seen.get(id) ?? []) };
  }
}
