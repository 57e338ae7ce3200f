/** One live migration as VStation drives it, in a test's hand: the same rules (core/migration), one step each time the test looks. */
import { localDisksOf } from "../../../src/api/agent-migration.ts";
import type { WantedInstance, WantedMigration } from "../../../src/api/agent.ts";
import type { SourceState, TargetState } from "../../../src/core/migration/halves.ts";
import { reconcileMigration, wishFor, type MigrationDecision } from "../../../src/core/migration/migration.ts";
import { defaultCeilingMs, type MigrationPolicy } from "../../../src/core/migration/policy.ts";
import type { StoryLine } from "../../../src/core/migration/story.ts";
import { newId } from "../../../src/lib/ids.ts";
import type { ComputeHost } from "./compute-host.ts";
import type { FakeHostSession } from "./fake-vstation.ts";
import { until } from "../../until.ts";

export interface Place {
  readonly host: ComputeHost;
  readonly session: FakeHostSession;
}

type Wanted = Omit<WantedInstance, "generation">;

export class Move {
  readonly id = newId("migration");
  readonly #wanted: Wanted;
  readonly #from: Place;
  readonly #to: Place;
  readonly #moved: () => void;
  readonly #told = new Map<Place, string>();
  wish: "go" | "cancel" = "go";
  moved = false;
  end: MigrationDecision["end"] = null;
  over = false;
  /** The last decision is put off while this is set. */
  holdOver = false;
  readonly how: { policy: MigrationPolicy; ceilingMs: number };

  /** `moved`: the instance is the target's from now on; whoever has to know is told by it. */
  constructor(
    wanted: Wanted,
    from: Place,
    to: Place,
    moved: () => void,
    how: { policy: MigrationPolicy; ceilingMs: number } = { policy: "gentle", ceilingMs: defaultCeilingMs },
  ) {
    this.how = how;
    this.#wanted = wanted;
    this.#from = from;
    this.#to = to;
    this.#moved = moved;
    this.step();
  }

  get source(): SourceState | null {
    const half = this.#from.session.seenMigrations.get(this.id);
    return half?.is === "source" ? half.state : null;
  }
  /** As far as the source has told it. */
  get story(): readonly StoryLine[] {
    const half = this.#from.session.seenMigrations.get(this.id);
    return (half?.is === "source" ? half.story : undefined) ?? [];
  }
  get target(): TargetState | null {
    const half = this.#to.session.seenMigrations.get(this.id);
    return half?.is === "target" ? half.state : null;
  }

  step(): void {
    if (this.over) return;
    const { source, target, wish, moved } = this;
    const links = { sourceLink: "connected", sourceSeenAt: Date.now(), targetLink: "connected" } as const;
    const facts = { wish, deadline: Infinity, moved, ended: this.end !== null, source, target, ...links };
    const decision = reconcileMigration(facts, Date.now());
    if (decision.cancel) this.wish = "cancel";
    this.end ??= decision.end;
    if (decision.move) {
      this.moved = true;
      const { session } = this.#to;
      // As VStation does: nothing is said at the source, which forgets it by itself.
      this.#from.session.instances.delete(this.#wanted.id);
      session.want({ ...this.#wanted, epoch: this.#wanted.epoch + 1 });
      this.#moved();
    }
    this.over = decision.over && !this.holdOver;
    this.#tell();
  }

  #tell(): void {
    const { id: instanceId, spec, epoch, power } = this.#wanted;
    const { wish, port, fate } = wishFor(this);
    const [incarnation, resets] = power.state === "running" ? [power.incarnation, power.resets] : [1, 0];
    const [from, to] = [this.#from, this.#to];
    const common = { id: this.id, instanceId, wish, gone: this.over };
    const { hostId: targetHostId } = to.session;
    const { hostId: sourceHostId } = from.session;
    const { address } = to.host;
    const disks = localDisksOf(spec);
    this.#say(from, {
      ...common,
      half: { is: "source", targetHostId, address, port, fate, epoch, disks, ...this.how },
    });
    const target = { is: "target", sourceHostId, spec, epoch: epoch + 1, incarnation, resets } as const;
    this.#say(to, { ...common, half: target });
  }

  #say(place: Place, document: Omit<WantedMigration, "generation">): void {
    const text = JSON.stringify(document);
    if (this.#told.get(place) === text) return;
    this.#told.set(place, text);
    place.session.wantMigration(document);
  }

  async until(what: string, holds: () => boolean, patienceMs = 120_000): Promise<void> {
    const looks = (): boolean => {
      this.step();
      return holds();
    };
    await until(what, looks, patienceMs).catch((error: unknown) => {
      throw new Error(`${what}: source ${JSON.stringify(this.source)}, target ${JSON.stringify(this.target)}`, {
        cause: error,
      });
    });
  }

  /** Both hosts have forgotten it. */
  async untilOver(): Promise<void> {
    this.holdOver = false;
    await this.until("the migration to be over", () => this.over);
    for (const { host } of [this.#from, this.#to]) {
      const left = () => host.sh(`ls ${host.stateDir}/migrations`).trim();
      await until(`${host.name} to forget it`, () => left() === "", 60_000);
    }
  }
}
