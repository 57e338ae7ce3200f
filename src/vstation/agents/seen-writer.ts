/**
 * Commits what hosts report, many hosts in one transaction, and only then lets each session acknowledge. While one commit is
 * on its way further reports of a host are folded into one: a report is a level, so the last word about an instance is all
 * that counts, and memory is bounded by what hosts have, not by how often they say it.
 */
import { crashPoint } from "../../lib/crash-point.ts";
import type { SeenMigration } from "../../api/agent-migration.ts";
import type { SeenInstance } from "../../api/agent.ts";
import type { SeenJob } from "../../api/agent-storage.ts";
import type { HostId, InstanceId, JobId, MigrationId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import { isAway, type Store } from "../store/database.ts";
import { seenSave, type SeenOutcome } from "../store/seen.ts";

export interface SeenMessage {
  hostId: HostId;
  session: string;
  seq: number;
  full: boolean;
  wantedGeneration: number;
  instances: readonly SeenInstance[];
  jobs: readonly SeenJob[];
  migrations: readonly SeenMigration[];
  /** Called after the commit. */
  ack: (seq: number) => void;
  /** The report cannot be written, alone and with the database there: something in it is wrong. */
  refuse: () => void;
}

interface Pending {
  session: string;
  seq: number;
  full: boolean;
  wantedGeneration: number;
  instances: Map<InstanceId, SeenInstance>;
  jobs: Map<JobId, SeenJob>;
  migrations: Map<MigrationId, SeenMigration>;
  ack: (seq: number) => void;
  refuse: () => void;
}

const batchHosts = 256;

export class SeenWriter {
  readonly #store: Store;
  readonly #log: Log;
  readonly #onOutcome: (outcome: SeenOutcome) => void;
  #pending = new Map<HostId, Pending>();
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(store: Store, log: Log, onOutcome: (outcome: SeenOutcome) => void) {
    this.#store = store;
    this.#log = log;
    this.#onOutcome = onOutcome;
  }

  add(message: SeenMessage): void {
    const { hostId, session, seq, full, wantedGeneration, ack, refuse } = message;
    const earlier = this.#pending.get(hostId);
    const older = earlier === undefined || full || earlier.session !== session ? undefined : earlier;
    const instances = older?.instances ?? new Map<InstanceId, SeenInstance>();
    for (const instance of message.instances) instances.set(instance.id, instance);
    const jobs = older?.jobs ?? new Map<JobId, SeenJob>();
    for (const job of message.jobs) jobs.set(job.id, job);
    const migrations = older?.migrations ?? new Map<MigrationId, SeenMigration>();
    for (const migration of message.migrations) migrations.set(migration.id, migration);
    const wasFull = earlier?.session === session && earlier.full;
    this.#pending.set(hostId, {
      session,
      seq,
      full: full || wasFull,
      wantedGeneration,
      instances,
      jobs,
      migrations,
      ack,
      refuse,
    });
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (this.#pending.size > 0 && !this.#closed) {
      const batch = [...this.#pending].slice(0, batchHosts);
      for (const [hostId] of batch) this.#pending.delete(hostId);
      try {
        await this.#commit(batch);
        failures = 0;
      } catch (error) {
        if (isAway(error)) {
          for (const [hostId, pending] of batch) this.#putBack(hostId, pending);
          await sleep(backoff(failures++, 50, 2_000));
        } else await this.#oneByOne(batch);
      }
    }
    this.#running = undefined;
  }

  /** One host's report that cannot be written must not keep the others' from being. */
  async #oneByOne(batch: [HostId, Pending][]): Promise<void> {
    for (const one of batch) {
      try {
        await this.#commit([one]);
      } catch (error) {
        const [hostId, pending] = one;
        if (isAway(error)) this.#putBack(hostId, pending);
        else {
          this.#log.error({ err: error, hostId }, "a host's report cannot be written");
          pending.refuse();
        }
      }
    }
  }

  async #commit(batch: [HostId, Pending][]): Promise<void> {
    const outcome = await this.#store.transaction((tx) =>
      seenSave(
        tx,
        batch.map(([hostId, { session, full, wantedGeneration, instances, jobs, migrations }]) => ({
          hostId,
          session,
          full,
          wantedGeneration,
          instances: [...instances.values()],
          jobs: [...jobs.values()],
          migrations: [...migrations.values()],
        })),
      ),
    );
    crashPoint("agents.seen.committed");
    this.#onOutcome(outcome);
    for (const [, { seq, ack }] of batch) ack(seq);
  }

  /** What came meanwhile is newer and stays on top. */
  #putBack(hostId: HostId, older: Pending): void {
    const newer = this.#pending.get(hostId);
    if (newer === undefined) {
      this.#pending.set(hostId, older);
      return;
    }
    if (newer.session !== older.session || newer.full) return;
    newer.full = older.full;
    for (const [id, instance] of older.instances) if (!newer.instances.has(id)) newer.instances.set(id, instance);
    for (const [id, job] of older.jobs) if (!newer.jobs.has(id)) newer.jobs.set(id, job);
    for (const [id, one] of older.migrations) if (!newer.migrations.has(id)) newer.migrations.set(id, one);
  }
}
