/**
 * One sequential worker per instance: looks, asks the rules (core/ensure.ts) for one step, does it, and looks again.
 *
 * It takes no input. A message, an event, a timer or a reconnect only wakes it, so the path after a crash and the path in a quiet
 * hour are the same. What it holds in memory may be lost at any time; what must not be lost is in the record (durable, written
 * before the act it speaks of) and in the domain's own metadata.
 *
 * What libvirt said is in live-domain.ts, the disks of a machine that runs in live-disks.ts, what VStation is told in report.ts. A call
 * without an answer leaves a doubt: the next looks wait for it to clear before "off" is taken for "never started".
 */
import type { InstanceSpec } from "../../api/agent.ts";
import { decide, nothingHeld, type Held, type RunRecord, type Situation, type Step } from "../../core/ensure.ts";
import type { SeenPhase } from "../../core/seen.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { unreachable } from "../../lib/errors.ts";
import { exists } from "../../lib/files.ts";
import type { InstanceId } from "../../lib/ids.ts";
import { backoff } from "../../lib/retry.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import { consoleLogFile, recordFile } from "../paths.ts";
import type { WantedEntry } from "../wanted/store.ts";
import type { Context } from "./context.ts";
import { isOutcomeUnknown, messageOf, reasonOf } from "./failures.ts";
import { LiveDisks } from "./live-disks.ts";
import { LiveDomain } from "./live-domain.ts";
import { prepareInstance, removeFormerDisks } from "./prepare.ts";
import { type InstanceRecord, writeRecord } from "./record.ts";
import { damaged, seenInstance } from "./report.ts";
import { eraseInstance, forgetTrace, tellMark } from "./steps.ts";

/** How long an unanswered call to libvirt may still take effect. */
const doubtMs = 30_000;
const firstRetryMs = 1_000;
const longestRetryMs = 60_000;

/** What lay here of an instance when Compute started. */
export interface Found {
  readonly record: InstanceRecord | null;
  /** Files of it, with or without a record. */
  readonly leftover: boolean;
  /** Why the record cannot be read: then nothing is known of what ran, and nothing may be done. */
  readonly damage: string | null;
}

export class Worker {
  readonly id: InstanceId;
  readonly #context: Context;
  #record: InstanceRecord | null;
  #held: Held = nothingHeld;
  #phase: SeenPhase | null = null;
  #preparedFor: WantedEntry | null = null;
  #running: Promise<void> | null = null;
  #woken = false;
  #timer: NodeJS.Timeout | null = null;
  #stopped = false;
  /** Ends the wait for an image. */
  #interrupt: (() => void) | null = null;
  #leftover: boolean;
  readonly #domain: LiveDomain;
  readonly #disks: LiveDisks;
  readonly #holders = new Set<symbol>();
  readonly #damage: string | null;
  #nothing = false;

  constructor(id: InstanceId, context: Context, found: Found) {
    this.id = id;
    this.#context = context;
    this.#record = found.record;
    this.#leftover = found.leftover;
    this.#domain = new LiveDomain(id, context.libvirt);
    this.#disks = new LiveDisks(id, context);
    this.#damage = found.damage;
  }

  /** Nothing of it is here and nobody names it: it may be dropped. */
  get isIdle(): boolean {
    return this.#nothing && this.#running === null && this.#holders.size === 0 && !this.isMigrating;
  }

  /** Something of it lies here and nobody can tell what it stands on. */
  get isUnreadable(): boolean {
    return this.#damage !== null || (this.#leftover && this.#record === null);
  }

  get record(): InstanceRecord | null {
    return this.#record;
  }
  get domain(): DomainRef | null {
    return this.#domain.ref;
  }
  /** Its state has been reported since this process began. */
  get isKnown(): boolean {
    return this.#phase !== null || this.#nothing || this.#held.migrating === "target";
  }
  /** A live migration looks after it. */
  get isMigrating(): boolean {
    return this.#held.migrating !== null;
  }
  get isUp(): boolean {
    return this.#domain.isUp;
  }

  /** Something may have changed in libvirt. */
  lookAgain(): void {
    this.#domain.doubt();
    this.wake();
  }

  /** A device of the running machine came or went. */
  devicesChanged(): void {
    this.#disks.forget();
    this.wake();
  }

  /** libvirt went away: until it answers, nothing is known. */
  lost(): void {
    this.#domain.lost();
    this.#disks.forget();
  }

  /** What is wanted may have changed: earlier failures do not hold the next try back. */
  reconsider(): void {
    const { failure } = this.#held;
    if (failure) this.#held = { ...this.#held, failure: { ...failure, retryAtMs: 0 } };
    this.#interrupt?.();
    this.#disks.reconsider();
    this.wake();
  }

  /** The storage has room again. */
  room(): void {
    this.#held = { ...this.#held, roomAgain: true };
    this.wake();
  }

  /**
   * Keeps the guest off for as long as it is off: no start is begun before every holder has let go. Somebody has its disks open, or
   * is about to change them.
   */
  hold(why: string): () => void {
    const holder = Symbol(why);
    this.#holders.add(holder);
    this.#held = { ...this.#held, busy: why };
    return () => {
      this.#holders.delete(holder);
      if (this.#holders.size > 0) return;
      this.#held = { ...this.#held, busy: null };
      this.wake();
    };
  }

  /** A live migration looks after it from now on: what is under way here ends ({@link atRest}), and nothing else is begun. */
  migrates(as: "source" | "target" | null): void {
    this.#held = { ...this.#held, migrating: as };
    this.#disks.forget();
    this.#domain.doubt();
    this.reconsider();
  }

  /** It is to arrive here: should this be all that is left of it, it was started and has ended. */
  async adopt(record: InstanceRecord): Promise<void> {
    await this.#running;
    await writeRecord(this.#context.write, recordFile(this.#context.paths, this.id), record);
    this.#record = record;
  }

  /** Removes what this host has of an instance that has moved, or has not come; nothing is said of it. */
  async vanish(): Promise<void> {
    await this.#running;
    await this.#domain.look();
    await this.#erase();
    this.#held = { ...nothingHeld, busy: this.#held.busy, migrating: this.#held.migrating };
    this.#publish(null, undefined);
    this.#nothing = true;
  }

  /** Once nothing is under way: the domain if a guest runs, "off" if none does, null when that is not known now. */
  async atRest(): Promise<DomainRef | "off" | null> {
    this.lookAgain();
    await this.#running;
    return this.#domain.atRest();
  }

  wake(): void {
    if (this.#stopped) return;
    this.#woken = true;
    this.#running ??= this.#run().finally(() => (this.#running = null));
  }

  /** Ends the worker between two steps; the guest is not touched. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer) clearTimeout(this.#timer);
    this.#interrupt?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#woken && !this.#stopped) {
      this.#woken = false;
      if (this.#timer) clearTimeout(this.#timer);
      this.#timer = null;
      try {
        await this.#settle();
      } catch (error) {
        // Not a step's failure (those are held and shown) but one of looking: try again, and say so.
        this.#context.log.error({ err: error, instance: this.id }, "could not look after an instance");
        this.#sleep(firstRetryMs);
      }
    }
  }

  /** Steps until the rules say wait. */
  async #settle(): Promise<void> {
    while (!this.#stopped) {
      if (this.#damage !== null) {
        const entry = this.#context.wanted(this.id);
        return this.#publish(damaged(this.#damage, entry), entry);
      }
      if (this.#domain.isStale) await this.#look();
      const entry = this.#context.wanted(this.id);
      if (entry !== undefined && !this.isMigrating) await this.#leaveAddresses(entry);
      const situation = await this.#situation(entry);
      const { step, phase } = decide(situation);
      if (phase !== null) this.#publish(phase === "nothing" ? null : phase, entry);
      else if (this.#phase === null && this.#record === null && entry && !this.isMigrating) {
        // Of an instance with a record nothing is said before it was looked at: it may be running.
        this.#publish({ is: "preparing", step: "waiting for libvirt" }, entry);
      }
      if (step.do === "wait") {
        const untilMs = earlier(step.untilMs, await this.#settleDisks(phase, entry));
        if (untilMs !== null) this.#sleep(untilMs - this.#context.nowMs());
        this.#nothing = phase === "nothing";
        if (situation.guest.is === "paused" && situation.guest.why === "out_of_space") this.#context.onRoom(this.id);
        return;
      }
      await this.#attempt(step, entry);
    }
  }

  /**
   * One that is off and is to be found elsewhere from now on: the network lets go of where it was before anything is said of this
   * document. VStation takes that word for the former address being free.
   */
  async #leaveAddresses({ doc, knownEpoch }: WantedEntry): Promise<void> {
    const record = this.#record;
    if (record === null || this.isUp || this.#domain.guest.is === "unknown" || doc.power.state === "gone") return;
    if (doc.epoch < Math.max(knownEpoch, record.run.epoch) || addressesOf(doc.spec) === addressesOf(record.spec))
      return;
    await this.#context.network.sync();
    crashPoint("vm.addresses.left");
    await this.#write(record.run, { doc, knownEpoch });
  }

  /** A guest that runs as wanted gets its disks as wanted; returns when to look again. */
  async #settleDisks(phase: SeenPhase | "nothing" | null, entry: WantedEntry | undefined): Promise<number | null> {
    if (phase === null || phase === "nothing" || phase.is !== "running" || entry === undefined) return null;
    if (this.isMigrating) return null;
    for (;;) {
      const { moved, untilMs } = await this.#disks.step(this.#domain.known(), entry.doc.spec);
      this.#publish(phase, entry);
      // Something happened, or another document came: that comes first.
      if (!moved || this.#woken || this.#stopped || this.#context.wanted(this.id) !== entry) return untilMs;
    }
  }

  async #situation(entry: WantedEntry | undefined): Promise<Situation> {
    const run = this.#record?.run ?? null;
    const nowMs = this.#context.nowMs();
    // Any change of the document asks for a new preparation; it may have changed the machine.
    const held = this.#preparedFor === (entry ?? null) ? this.#held : { ...this.#held, prepared: null };
    return {
      wanted: entry ? { epoch: entry.doc.epoch, power: entry.doc.power } : null,
      knownEpoch: entry?.knownEpoch ?? 0,
      record: run,
      guest: this.#domain.guest,
      trace: run?.stage === "intent" && (await exists(consoleLogFile(this.#context.paths, this.id, run.incarnation))),
      leftover: this.#leftover,
      held,
      bootId: this.#context.bootId,
      nowMs,
      nowIso: new Date(nowMs).toISOString(),
    };
  }

  async #look(): Promise<void> {
    const wasUp = this.isUp;
    try {
      await this.#domain.look();
    } catch (error) {
      this.#context.log.warn({ err: error, instance: this.id }, "libvirt did not say how the domain is");
      this.#sleep(2 * firstRetryMs);
    }
    // Of a guest that was there before this process nobody knows on which processors it runs.
    if (!wasUp && this.isUp) void this.#context.machines.sync();
  }

  async #attempt(step: Exclude<Step, { do: "wait" }>, entry: WantedEntry | undefined): Promise<void> {
    const began = performance.now();
    try {
      await this.#do(step, entry);
      const ms = Math.round((performance.now() - began) * 10) / 10;
      this.#context.log.debug({ instance: this.id, step: step.do, ms }, "a step is done");
      if (step.do !== "record" && step.do !== "prepare") this.#held = { ...this.#held, failure: null };
    } catch (error) {
      const attempts = (this.#held.failure?.attempts ?? 0) + 1;
      const unknown = isOutcomeUnknown(error);
      this.#domain.doubt();
      this.#context.log.warn({ err: error, instance: this.id, step: step.do, attempts, unknown }, "a step failed");
      const now = this.#context.nowMs();
      this.#held = {
        ...this.#held,
        prepared: null,
        doubtUntilMs: unknown ? now + doubtMs : this.#held.doubtUntilMs,
        failure: {
          reason: reasonOf(error),
          message: messageOf(error),
          attempts,
          retryAtMs: now + backoff(attempts - 1, firstRetryMs, longestRetryMs),
        },
      };
      if (step.do === "start" && !unknown) await forgetTrace(this.#context, this.id, step.incarnation);
    }
  }

  async #do(step: Exclude<Step, { do: "wait" }>, entry: WantedEntry | undefined): Promise<void> {
    const { libvirt, starts } = this.#context;
    switch (step.do) {
      case "record":
        await this.#write(step.record, entry);
        crashPoint("vm.record.written");
        return;
      case "prepare":
        if (!(await this.#imageIsHere(entry))) return;
        return starts.run(() => this.#prepare(step.incarnation, entry));
      case "start":
        await starts.run(async () => {
          const started = await libvirt.domainCreate(this.#domain.known());
          crashPoint("vm.start.created");
          this.#domain.started(started);
        });
        // Processors may have been given away since it was defined; a pass tells those that run.
        void this.#context.machines.sync();
        if (entry !== undefined && entry === this.#preparedFor) this.#disks.started(entry.doc.spec);
        return;
      case "press":
        this.#held = { ...this.#held, pressedAtMs: this.#context.nowMs() };
        await libvirt.domainShutdown(this.#domain.known(), { by: "acpi" });
        crashPoint("vm.press.sent");
        return;
      case "destroy":
        await libvirt.domainDestroy(this.#domain.known(), { graceful: false });
        crashPoint("vm.destroy.done");
        this.#domain.destroyed();
        return;
      case "reset":
        await libvirt.domainReset(this.#domain.known());
        crashPoint("vm.reset.done");
        this.#held = { ...this.#held, resetDone: step.resets };
        return;
      case "resume":
        this.#held = { ...this.#held, roomAgain: false };
        await libvirt.domainResume(this.#domain.known());
        this.#domain.doubt();
        return;
      case "erase":
        await this.#erase();
        this.#held = { ...nothingHeld, busy: this.#held.busy, migrating: this.#held.migrating, erased: true };
        return;
      default:
        return unreachable(step);
    }
  }

  async #erase(): Promise<void> {
    await this.#context.network.forgetConnections(this.id);
    await eraseInstance(this.#context, this.id, this.#domain.ref);
    this.#record = null;
    this.#leftover = false;
    this.#domain.erased();
    await this.#context.machines.release(this.id);
    await this.#context.network.sync();
  }

  async #write(run: RunRecord, entry: WantedEntry | undefined): Promise<void> {
    const spec = entry?.doc.spec ?? this.#record?.spec;
    if (spec === undefined) throw new Error(`no document to write a record of ${this.id} from`);
    const before = this.#record?.run;
    // What the intent to start is written for has been made ready, its disk included.
    const systemDisk = run.stage === "intent" ? spec.systemDisk.id : (this.#record?.systemDisk ?? spec.systemDisk.id);
    const record = { spec, run, systemDisk };
    await writeRecord(this.#context.write, recordFile(this.#context.paths, this.id), record);
    this.#record = record;
    if (run.stop === null) this.#held = { ...this.#held, pressedAtMs: null };
    if (run.stage === "ended" && before?.stage !== "ended") this.#held = { ...this.#held, failure: null };
    if (run.stage === "started" && run.resets > (before?.resets ?? 0) && before?.stage === "started") {
      await tellMark(this.#context, this.#domain.known(), {
        epoch: run.epoch,
        incarnation: run.incarnation,
        resets: run.resets,
      });
    }
  }

  /**
   * Before a place among the starts is taken: a transfer may last minutes, and others shall start meanwhile. False when something
   * else came to be wanted before it was there; the transfer itself goes on.
   */
  async #imageIsHere(entry: WantedEntry | undefined): Promise<boolean> {
    if (entry === undefined) return true;
    const changed = Promise.withResolvers<false>();
    this.#interrupt = () => changed.resolve(false);
    const arrived = this.#context.images.ensure(entry.doc.spec.imageId, (percent) => {
      if (this.#interrupt !== null) this.#publish({ is: "preparing", step: `image ${percent} %` }, entry);
    });
    arrived.catch(() => undefined);
    try {
      return await Promise.race([arrived.then(() => true), changed.promise]);
    } finally {
      this.#interrupt = null;
    }
  }

  async #prepare(incarnation: number, entry: WantedEntry | undefined): Promise<void> {
    if (entry === undefined) throw new Error(`no document to prepare ${this.id} from`);
    const mark = { epoch: entry.doc.epoch, incarnation, resets: 0 };
    const { spec } = entry.doc;
    const former = this.#record;
    // A reinstalled instance has another system disk, which has not been made yet.
    const diskMade = former !== null && former.run.diskMade && former.systemDisk === spec.systemDisk.id;
    this.#disks.forget();
    const defined = await prepareInstance(this.#context, { id: this.id, spec, mark, diskMade });
    if (former !== null && !diskMade) await removeFormerDisks(this.#context, this.id, spec.systemDisk.id);
    this.#domain.defined(defined, mark);
    this.#preparedFor = entry;
    this.#held = { ...this.#held, prepared: incarnation, resetDone: null, erased: false };
  }

  #publish(phase: SeenPhase | null, entry: WantedEntry | undefined): void {
    this.#phase = phase;
    const known = {
      entry,
      run: this.#record?.run ?? null,
      mark: this.#domain.mark,
      disks: this.isUp ? this.#disks : null,
    };
    this.#context.publish(this.id, phase === null ? null : seenInstance(this.id, phase, known));
  }

  #sleep(ms: number): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.wake(), Math.max(0, ms));
  }
}

function addressesOf({ nics }: InstanceSpec): string {
  return JSON.stringify(nics.map(({ subnetId, ip, mac }) => [subnetId, ip, mac]));
}

function earlier(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b;
  return Math.min(a, b);
}
