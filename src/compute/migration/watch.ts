/**
 * The eyes on a copy that is under way: how far it is, for who watches, and what the policy makes of it.
 *
 * A question to QEMU that falls into the pause makes it longer, and a pause can begin at the end of any pass. So there is a look every
 * second only while that end is far; near to it there is none but soon after a pass has begun, of which libvirt tells unasked, and
 * not at all in a pass that is over by then. Passes that are all shorter than that, one after the other, are looked at now and then.
 */
import { performance } from "node:perf_hooks";
import * as z from "zod";
import type { Progress } from "../../core/migration/halves.ts";
import { isBehind, looksBehind } from "../../core/migration/disk-backlog.ts";
import { decideLever, type Decision, type Look, type Plan } from "../../core/migration/policy.ts";
import { formatError } from "../../lib/errors.ts";
import type { MigrationId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { DomainRef, StatValues, Subscription } from "../../libvirt/contract.ts";
import type { Hypervisor } from "../hypervisor.ts";
import { messageOf } from "../vm/failures.ts";
import type { Brake } from "./brake.ts";
import { pull } from "./levers.ts";
import { wall, type Story } from "./story.ts";

const everyMs = 1_000;
/** With so little left the next look waits for a pass. */
export const quietMs = 3_000;
const quietEveryMs = 15_000;
/** A pass that is not over by then has some time to go. */
const settledMs = 150;
/** In which passes follow one another too fast for any of them to be looked at. */
const restlessMs = 3_000;
/**
 * What the pause may take until a second pass is over. At the end of the first one, which goes over all of the memory, the target is behind: of
 * pages that hold nothing the source sends some bytes each, and what is in the buffers between the two takes the target longer than
 * a pause should. The second pass of a quiet guest is so small that it lets the target catch up, and fits into this.
 */
export const firstLimitMs = 1;
const aimsFromPass = 3;
/** A pass can begin the pause: nothing is said to QEMU in its first moments. */
const aimAfterMs = 50;
/** QEMU's own word for its speed is of the last tenth of a second; ours is better over this. */
const measurableMs = 300;

export interface WatchOptions {
  readonly libvirt: Hypervisor;
  readonly domain: DomainRef;
  readonly migration: MigrationId;
  readonly plan: Plan;
  readonly brake: Brake;
  readonly story: Story;
  readonly log: Log;
  readonly progress: (progress: Progress) => void;
  /** The copy is to end. */
  readonly giveUp: (why: string) => void;
  readonly postcopy: () => Promise<void>;
}

export class Watch {
  readonly #options: WatchOptions;
  readonly #passes: Subscription;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #looking = false;
  /** When the present pass began, by the process's clock. */
  #pass: { readonly number: number; readonly at: number } | null = null;
  /** When the first pass began since the last look. */
  #restless: number | null = null;
  #last: { readonly at: number; readonly sentBytes: number } | null = null;
  /** By QEMU's answer. */
  #limitMs = firstLimitMs;
  #aiming: NodeJS.Timeout | undefined;
  /** Of limits libvirt does not tell. */
  #percent = 0;
  /** Looks, one after the other, at which the disks were behind. */
  #behind = 0;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#passes = options.libvirt.on("migration-iteration", ({ domain, iteration }) => {
      if (domain.uuid === options.domain.uuid) this.#passBegan(iteration);
    });
    this.#lookIn(everyMs);
  }

  /** What QEMU may take now for the last of the memory. */
  get limitMs(): number {
    return this.#limitMs;
  }

  /** From here on nothing is asked. */
  stop(): void {
    this.#stopped = true;
    this.#options.brake.hold();
    clearTimeout(this.#timer);
    clearTimeout(this.#aiming);
  }

  async close(): Promise<void> {
    this.stop();
    await this.#passes.close();
  }

  #passBegan(number: number): void {
    const at = performance.now();
    this.#pass = { number, at };
    this.#restless ??= at;
    this.#aim(number);
    this.#lookIn(Math.max(0, Math.min(settledMs, this.#restless + restlessMs - at)));
  }

  /** Soon, and until it is so; then never again: a lever may have allowed more since. */
  #aim(pass: number): void {
    if (pass < aimsFromPass || this.#limitMs !== firstLimitMs || this.#stopped) return;
    this.#aiming ??= setTimeout(() => void this.#setAim(), aimAfterMs);
  }

  async #setAim(): Promise<void> {
    const { libvirt, domain, plan, log, migration } = this.#options;
    try {
      await libvirt.migrateSetMaxDowntime(domain, BigInt(plan.aimMs));
      if (this.#limitMs === firstLimitMs) this.#limitMs = plan.aimMs;
    } catch (error) {
      log.warn(
        { chain: formatError(error), migration },
        "the pause that is aimed at could not be set; it will be tried again",
      );
    }
    this.#aiming = undefined;
  }

  #lookIn(ms: number): void {
    clearTimeout(this.#timer);
    if (!this.#stopped && !this.#looking) this.#timer = setTimeout(() => void this.#look(), ms);
  }

  async #look(): Promise<void> {
    const { log, migration } = this.#options;
    this.#looking = true;
    let next = everyMs;
    try {
      next = await this.#lookAndAct();
    } catch (error) {
      log.debug({ err: error, migration }, "libvirt did not say how far the copy is");
    } finally {
      this.#looking = false;
    }
    // One that began meanwhile.
    this.#lookIn(this.#restless === null ? next : settledMs);
  }

  /** After how long to look again, if no pass begins before. */
  async #lookAndAct(): Promise<number> {
    const { libvirt, domain, plan, story, progress } = this.#options;
    this.#restless = null;
    const { values } = await libvirt.jobStats(domain);
    if (this.#stopped) return 0;
    const at = performance.now();
    const read = readStats(values);
    if (read.totalBytes === 0) {
      // The disks go before the memory, and no lever is for them.
      progress({ ...read, limitMs: this.#allowedMs });
      return everyMs;
    }
    // libvirt may not have told of the passes.
    this.#aim(read.pass);
    const bytesPerSecond = this.#rate(at, read);
    const look: Look = {
      is: "look",
      at: wall(at),
      pass: read.pass,
      // Of a pass that libvirt has not told of yet nothing is known but that it is new.
      passMs: this.#pass?.number === read.pass ? Math.round(at - this.#pass.at) : 0,
      totalBytes: read.totalBytes,
      remainingBytes: read.remainingBytes,
      dirtyBytesPerSecond: read.dirtyBytesPerSecond,
      bytesPerSecond,
    };
    story.add(look);
    const decision = decideLever(plan, story.seen);
    if (decision !== null) await this.#act(decision);
    const disks = await this.#disks(read);
    if (this.#stopped) return 0;
    const throttlePercent = Math.max(read.throttlePercent, this.#percent);
    progress({ ...read, ...disks, throttlePercent, bytesPerSecond, limitMs: this.#allowedMs });
    void story.write();
    if (disks !== null) {
      this.#expectDisksToFollow(disks.disks, bytesPerSecond);
      return everyMs;
    }
    return read.remainingBytes < (bytesPerSecond * quietMs) / 1_000 ? quietEveryMs : everyMs;
  }

  /** What a person is told: the first passes are not meant to end in a pause. */
  get #allowedMs(): number {
    return Math.max(this.#limitMs, this.#options.plan.aimMs);
  }

  /** While the memory goes over libvirt says of the disks what was so before; QEMU knows. */
  async #disks({ disks }: Stats): Promise<{ readonly disks: NonNullable<Progress["disks"]> } | null> {
    if (disks === undefined || this.#stopped) return null;
    const jobs = jobsSchema.parse(await this.#options.libvirt.qmp(this.#options.domain, "query-block-jobs"));
    return { disks: { ...disks, remainingBytes: jobs.reduce((sum, { len, offset }) => sum + len - offset, 0) } };
  }

  #expectDisksToFollow({ remainingBytes }: { readonly remainingBytes: number }, bytesPerSecond: number): void {
    const { plan, giveUp } = this.#options;
    this.#behind = isBehind(remainingBytes, { bytesPerSecond, ceilingMs: plan.ceilingMs }) ? this.#behind + 1 : 0;
    if (this.#behind < looksBehind) return;
    const mib = Math.round(remainingBytes / 2 ** 20);
    giveUp(
      `its disks change faster than they are copied: ${mib} MiB of them are left, and would be sent while it is paused. Try when it writes less`,
    );
  }

  async #act({ lever, why }: Decision): Promise<void> {
    const { libvirt, domain, migration, brake, story, log, giveUp, postcopy } = this.#options;
    let failed = "";
    try {
      // It may switch over before the call has its answer: what was meant stands in the story by then.
      await pull(libvirt, domain, lever, { brake, giveUp: () => giveUp(why), postcopy });
      if (lever.pull === "pause") this.#limitMs = lever.limitMs;
      if (lever.pull === "throttle") this.#percent = lever.percent;
    } catch (error) {
      log.warn({ chain: formatError(error), migration, lever }, "a lever on a migration could not be pulled");
      failed = `; but that failed: ${messageOf(error)}`;
    }
    log.info({ migration, lever, why }, "a lever on a migration was pulled");
    story.add({ is: "lever", at: wall(performance.now()), lever, why: `${why}${failed}`.slice(0, 1_024) });
  }

  /** Between two looks, where those are far enough apart. */
  #rate(at: number, { sentBytes, bytesPerSecond }: Stats): number {
    const last = this.#last;
    if (last !== null && at - last.at < measurableMs) return bytesPerSecond;
    this.#last = { at, sentBytes };
    return last === null
      ? bytesPerSecond
      : Math.round((Math.max(0, sentBytes - last.sentBytes) / (at - last.at)) * 1_000);
  }
}

/** A mirror's `len` grows with what is written behind it. */
const jobsSchema = z.array(z.object({ len: z.int(), offset: z.int() }));

type Stats = Omit<Progress, "limitMs">;

function readStats(values: StatValues): Stats {
  const number = (name: string): number => {
    const value = values[name];
    return typeof value === "number" ? value : 0;
  };
  return {
    pass: number("memory_iteration"),
    totalBytes: number("memory_total"),
    sentBytes: number("memory_processed"),
    remainingBytes: number("memory_remaining"),
    dirtyBytesPerSecond: number("memory_dirty_rate") * number("memory_page_size"),
    bytesPerSecond: number("memory_bps"),
    throttlePercent: number("auto_converge_throttle"),
    ...(number("disk_total") === 0
      ? {}
      : { disks: { totalBytes: number("disk_total"), remainingBytes: number("disk_remaining") } }),
  };
}
