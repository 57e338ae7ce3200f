/**
 * The halves of moves at a simulated host. What libvirt and QEMU would do between two hosts is one call from the one object to the other;
 * what is told and said of it is the real contract (src/api/agent-migration.ts). With `auto: false` a half says only what
 * {@link SimHalves.say} is given.
 */
import type { SeenMigration } from "../api/agent-migration.ts";
import type { WantedMigration } from "../api/agent.ts";
import type { SourceState, TargetState } from "../core/migration/halves.ts";
import type { StoryLine } from "../core/migration/story.ts";
import type { MigrationId } from "../lib/ids.ts";
import type { SimHost } from "./host.ts";
import type { SimMachine } from "./machine.ts";

const gib = 2 ** 30;

export class SimHalves {
  /** What the host was last told of each that is not over. */
  readonly wanted = new Map<MigrationId, WantedMigration>();
  auto = true;
  /** It was told all that it has to do with, once at least: what it has beside that is taken from it then. */
  isTold = false;
  readonly #host: SimHost;
  readonly #said = new Map<MigrationId, SeenMigration>();
  readonly #due = new Set<MigrationId>();

  constructor(host: SimHost) {
    this.#host = host;
  }

  /** What is to be reported now; all of it, or what was not since. */
  seen(full: boolean): SeenMigration[] {
    const seen = [...this.#said.values()].filter(({ id }) => full || this.#due.has(id));
    this.#due.clear();
    return seen;
  }

  take(migrations: readonly WantedMigration[], full: boolean): void {
    this.isTold ||= full;
    const named = new Set(migrations.map(({ id }) => id));
    for (const id of this.wanted.keys()) if (full && !named.has(id)) this.#forget(id);
    for (const migration of migrations) {
      if (migration.gone) this.#forget(migration.id);
      else this.#go(migration);
    }
  }

  say(id: MigrationId, state: SourceState | TargetState, story?: StoryLine[]): void {
    const is = this.wanted.get(id)?.half.is;
    if (is === undefined) throw new Error(`host ${this.#host.id} was not told of ${id}`);
    const told = story === undefined ? {} : { story };
    this.#said.set(id, { id, half: { is, state, ...told } } as SeenMigration);
    this.#due.add(id);
    if (state.is === "left") this.#machineOf(id)?.depart();
    this.#host.report();
  }

  /** It has said its final word. */
  isDone(id: MigrationId): boolean {
    const is = this.#said.get(id)?.half.state.is;
    return is === "stayed" || is === "left" || is === "arrived" || is === "dropped";
  }

  /** The guest of the other host's machine goes on here; false if this half takes none. */
  arrive(id: MigrationId): boolean {
    const migration = this.wanted.get(id);
    const said = this.#said.get(id)?.half.state;
    if (migration?.half.is !== "target" || (said?.is !== "listening" && said?.is !== "fetching")) return false;
    const { epoch, incarnation, resets, spec } = migration.half;
    this.#host.machine(migration.instanceId).arrive({ epoch, incarnation, resets });
    this.#host.specs.set(migration.instanceId, spec);
    this.say(id, { is: "arrived" });
    return true;
  }

  #go(migration: WantedMigration): void {
    const { id, half, wish } = migration;
    this.wanted.set(id, migration);
    if (half.is === "source") {
      const machine = this.#machineOf(id);
      if (machine !== undefined) machine.moving = true;
    }
    const said = this.#said.get(id)?.half.state.is;
    if (!this.auto || said === "arrived" || said === "dropped" || said === "stayed" || said === "left") return;
    if (wish === "cancel") {
      const is = half.is === "source" ? "stayed" : "dropped";
      this.say(id, { is, reason: "cancelled", message: "it was cancelled" });
    } else if (half.is === "target") {
      if (said === undefined) this.say(id, { is: "listening", port: 1 });
    } else if (half.fate === "dropped") {
      this.say(id, { is: "stayed", reason: "target_refused", message: "the target gave up" });
    } else if (half.port !== null) this.#copy(id, half);
  }

  #copy(
    id: MigrationId,
    { targetHostId, policy, ceilingMs }: Extract<WantedMigration["half"], { is: "source" }>,
  ): void {
    const began = { is: "began", at: Date.now(), policy, ceilingMs, aimMs: 30 } as const;
    const progress = { pass: 1, totalBytes: gib, sentBytes: 0, remainingBytes: gib, dirtyBytesPerSecond: 0 };
    const unhindered = { bytesPerSecond: gib, throttlePercent: 0, limitMs: 30 };
    this.say(id, { is: "copying", progress: { ...progress, ...unhindered } });
    const target = this.#host.options.neighbour?.(targetHostId);
    const end: SourceState =
      target?.halves.arrive(id) === true
        ? { is: "left", pauseMs: 0 }
        : { is: "stayed", reason: "link_lost", message: "the target does not answer" };
    this.say(id, end, [began, { at: Date.now(), ...end }]);
  }

  /** It is over here: the machine is this host's again, or not its any more. */
  #forget(id: MigrationId): void {
    const migration = this.wanted.get(id);
    const said = this.#said.get(id)?.half.state.is;
    this.wanted.delete(id);
    this.#said.delete(id);
    this.#due.delete(id);
    if (migration === undefined) return;
    const machine = this.#machineOf(id, migration);
    if (said === "left") this.#host.machines.delete(migration.instanceId);
    else if (machine !== undefined) machine.moving = false;
  }

  #machineOf(id: MigrationId, migration = this.wanted.get(id)): SimMachine | undefined {
    return migration === undefined ? undefined : this.#host.machines.get(migration.instanceId);
  }
}
