/**
 * This host's halves of live migrations, one loop each: level-triggered from what is wanted and from the records that lie here. A half
 * whose record lies here but that VStation does not name any more is over.
 *
 * `load` comes before the workers start: an instance that moves is looked after by its migration from the first moment on. Two
 * migrations of one instance follow one another: the later one begins when the former has been forgotten.
 */
import type { WantedMigration } from "../../api/agent.ts";
import { makeDurableDirectory, removeTemporaries } from "../../lib/durable.ts";
import { parseId, type MigrationId } from "../../lib/ids.ts";
import type { Subscription } from "../../libvirt/contract.ts";
import { migrationFile } from "../paths.ts";
import type { Half, MigrationContext } from "./half.ts";
import { isSourceRecord, readKept, type Kept } from "./records.ts";
import { SourceHalf } from "./source.ts";
import { TargetHalf } from "./target.ts";

export interface MigrationRunnerOptions extends Omit<MigrationContext, "over"> {
  readonly wanted: () => readonly WantedMigration[];
}

export class MigrationRunner {
  readonly #options: MigrationRunnerOptions;
  readonly #context: MigrationContext;
  readonly #halves = new Map<MigrationId, Half>();
  #subscriptions: Subscription[] = [];
  #stopped = false;

  constructor(options: MigrationRunnerOptions) {
    this.#options = options;
    this.#context = {
      ...options,
      over: (id) => {
        this.#halves.delete(id);
        this.changed();
      },
    };
  }

  /** Reads what lies here, and begins what is wanted. */
  async load(): Promise<void> {
    const { paths, log, libvirt } = this.#options.context;
    await this.#options.pauses.load();
    await makeDurableDirectory(paths.migrations, 0o700);
    for (const name of await removeTemporaries(paths.migrations)) {
      const id = parseId("migration", name.replace(/\.json$/, ""));
      if (id === undefined) continue;
      try {
        const kept = await readKept(migrationFile(paths, id));
        if (kept !== undefined) this.#halves.set(id, this.#make(kept.wanted, kept.record, false));
      } catch (error) {
        log.error({ err: error, migration: id }, "the record of a migration cannot be read");
      }
    }
    const wakeAll = (): void => {
      for (const half of this.#halves.values()) half.wake();
    };
    this.#subscriptions = [
      libvirt.onLifecycle(({ domain }) => {
        const instance = parseId("instance", domain.name);
        for (const half of this.#halves.values()) if (half.wanted.instanceId === instance) half.wake();
      }),
      libvirt.onLink(wakeAll),
    ];
    this.changed();
  }

  /** What is wanted may have changed. Workers keep their hands off from when this returns. */
  changed(): void {
    if (this.#stopped) return;
    const wanted = new Map(this.#options.wanted().map((one) => [one.id, one]));
    for (const [id, half] of this.#halves) half.tell(wanted.get(id) ?? null);
    for (const [id, one] of wanted) {
      const busy = [...this.#halves.values()].some(({ wanted: { instanceId } }) => instanceId === one.instanceId);
      if (this.#halves.has(id) || busy) continue;
      const half = this.#make(one, null, true);
      this.#halves.set(id, half);
      half.wake();
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#subscriptions.map((one) => one.close()));
    await Promise.all([...this.#halves.values()].map((half) => half.stop()));
    await this.#options.pauses.written();
  }

  #make(wanted: WantedMigration, record: Kept["record"] | null, named: boolean): Half {
    const { half } = wanted;
    if (half.is === "source") {
      const own = record !== null && isSourceRecord(record) ? record : null;
      return new SourceHalf(this.#context, { ...wanted, half }, own, named);
    }
    const own = record !== null && !isSourceRecord(record) ? record : null;
    return new TargetHalf(this.#context, { ...wanted, half }, own, named);
  }
}
