/**
 * The memory that a guest which went over by post-copy still lacks at the target, as its source sees it: whether it flows, and what to do where it does
 * not. A way that stands still is given up here, and QEMU then calls it broken; to join the two anew is the half's step. Not with the last of the memory:
 * a way that ends then is none that QEMU would mend (core/migration/source.ts, `isStale`), and what TCP sends again is all that can come.
 */
import { performance } from "node:perf_hooks";
import type { WantedMigration } from "../../api/agent.ts";
import type { Feed } from "../../core/migration/source.ts";
import type { Log } from "../../lib/log.ts";
import type { Hypervisor } from "../hypervisor.ts";
import type { Looked } from "./look.ts";
import { feedOf } from "./memory.ts";
import type { Story } from "./story.ts";

/** Between joins, the last one for good. */
const rejoinMs = [1_000, 2_000, 5_000, 10_000];
const stalledMs = 5_000;
/** More than QEMU sends in `firstLimitMs`, which it takes for the last of the memory, over any link. */
const lastBytes = 16 * 2 ** 20;
/** Longer than QEMU takes from an error to the end of the copy. */
const stuckMs = 5_000;
/** A break that lasts so long is somebody's business. */
const aloudMs = 60_000;

interface Surroundings {
  readonly libvirt: Pick<Hypervisor, "qmp">;
  readonly log: Pick<Log, "debug" | "warn" | "error">;
}

type Moved = Pick<WantedMigration, "id" | "instanceId">;
type Told = Pick<Story, "step" | "write">;

export class RestOfMemory {
  readonly #context: Surroundings;
  readonly #migration: Moved;
  readonly #story: Told;
  /** Joins that came to nothing, one after the other, and when the next one may be begun. */
  #rejoins = 0;
  #rejoinAt = 0;
  /** Since when nothing comes over, and whether somebody was told. */
  #broken: { readonly since: number; told: boolean } | null = null;
  /** Since when its switch has come to nothing, and whether that has lasted, and somebody was told. */
  #stuck: { readonly since: number; lasts: boolean } | null = null;
  #last: { readonly remainingBytes: number | null; readonly at: number; toldOfEnd?: true } | null = null;

  constructor(context: Surroundings, migration: Moved, story: Told) {
    this.#context = context;
    this.#migration = migration;
    this.#story = story;
  }

  /** `isHeard`: the target's Compute is there, and so is its host. */
  async look(looked: Looked, isHeard: boolean): Promise<Feed> {
    const feed = this.#patient(await feedOf(this.#context.libvirt, looked));
    this.#tell(feed);
    await this.#giveUpStalled(feed, looked, isHeard);
    return feed;
  }

  /** No more memory comes from here, and QEMU lets the guest never run again. */
  get isStuck(): boolean {
    return this.#stuck?.lasts === true;
  }

  /** What may pass is not known yet. */
  #patient(feed: Feed): Feed {
    if (feed.is === "unknown") return feed;
    if (feed.is !== "stuck") {
      this.#stuck = null;
      return feed;
    }
    this.#stuck ??= { since: performance.now(), lasts: false };
    if (performance.now() - this.#stuck.since < stuckMs) return { ...feed, is: "unknown" };
    if (!this.#stuck.lasts) {
      this.#stuck.lasts = true;
      const about = { migration: this.#migration.id, instance: this.#migration.instanceId };
      this.#context.log.error(
        about,
        "a guest's switch to post-copy came to nothing, and QEMU never lets it run here again",
      );
    }
    return feed;
  }

  /** Asked before each join: one that came to nothing makes the next one wait longer. */
  mayRejoin(): boolean {
    if (performance.now() < this.#rejoinAt) return false;
    this.#rejoinAt = performance.now() + (rejoinMs[Math.min(this.#rejoins++, rejoinMs.length - 1)] ?? 0);
    return true;
  }

  /** A cable that was cut says nothing: what does not move, and whose other end is not heard, is taken for broken. */
  async #giveUpStalled({ is, remainingBytes }: Feed, { domain }: Looked, isHeard: boolean): Promise<void> {
    const now = performance.now();
    const moves = this.#last?.remainingBytes !== remainingBytes;
    if ((is !== "flowing" && is !== "joining") || moves || this.#last === null) {
      this.#last = { remainingBytes, at: now };
      return;
    }
    if (isHeard || now - this.#last.at < stalledMs || domain === null) return;
    const { libvirt, log } = this.#context;
    const about = { migration: this.#migration.id, remainingBytes };
    if (is === "flowing" && (remainingBytes === null || remainingBytes < lastBytes)) {
      if (this.#last.toldOfEnd) return;
      this.#last.toldOfEnd = true;
      log.warn(
        about,
        "the last of a guest's memory does not arrive; it does as soon as the two hosts reach each other",
      );
      return;
    }
    this.#last = null;
    log.warn(about, "the rest of a guest's memory does not move: its way is given up");
    try {
      await libvirt.qmp(domain, "migrate-pause");
    } catch (error) {
      // One that is being dialled ends by itself, and is none to QEMU before.
      if (is !== "joining") throw error;
      log.debug({ err: error, ...about }, "a way that is being tried was not given up");
    }
  }

  /** Of a break at once in the story, and aloud when it lasts. */
  #tell({ is }: Feed): void {
    if (is === "flowing") {
      this.#broken = null;
      this.#rejoins = 0;
    }
    if (is !== "broken" && (is !== "joining" || this.#broken === null)) return;
    if (this.#broken === null) {
      this.#story.step("broken");
      void this.#story.write();
    }
    this.#broken ??= { since: performance.now(), told: false };
    const { since, told } = this.#broken;
    if (told || performance.now() - since < aloudMs) return;
    this.#broken.told = true;
    const about = { migration: this.#migration.id, instance: this.#migration.instanceId };
    this.#context.log.error(
      about,
      "a guest runs at the target without all of its memory, and the two hosts do not reach each other",
    );
  }
}
