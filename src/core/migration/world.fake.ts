/**
 * A world for the rules of a migration (migration.test.ts): two hosts whose programs die, forget, stall and lose messages, with their libvirts
 * and QEMUs as far as these rules see them. One action after the other; whatever may never be is looked for after each.
 */
import type { Fate, MigrationReason, SourceState, TargetState } from "./halves.ts";
import type { Migration } from "./migration.ts";
import {
  decideSource,
  isUp,
  wordOf,
  type Feed,
  type SourceAttempt,
  type SourceRecord,
  type Whereabouts,
} from "./source.ts";
import { decideTarget, type TargetAttempt, type TargetRecord, type TargetSituation } from "./target.ts";

type Wish = "go" | "cancel" | "over";

/** Where the copy is, inside libvirt and on the two programs' own connection. `fed`: the source has switched to post-copy. */
type Copy = "none" | "copying" | "performed" | "fed";

export class World {
  now = 0;
  readonly postcopy: boolean;
  readonly source = {
    record: null as SourceRecord | null,
    attempt: null as SourceAttempt | null,
    ours: false,
    guest: "running" as Whereabouts,
    /** What its program saw when it last looked, and what it knew then: what it has learned since it has to look at anew. */
    looked: "running" as Whereabouts,
    knew: "",
    told: { wish: "go" as Wish, port: null as number | null, fate: null as Fate | null },
    /** Heard on the direct connection. */
    heard: null as Fate | null,
    /** It gives the target up, where it may. */
    inVain: false,
    kept: false,
    said: null as SourceState | null,
    forgotten: false,
  };
  readonly target = {
    record: null as TargetRecord | null,
    attempt: null as TargetAttempt | null,
    ours: false,
    asked: false,
    released: false,
    port: null as number | null,
    /** As it was when it was looked at last. */
    memory: "unknown" as TargetSituation["memory"],
    guest: "off" as Whereabouts,
    looked: "off" as Whereabouts,
    /** This process knows that the guest has run here. */
    ran: false,
    /** As libvirt has it: it vouches for what it has ended itself, and has forgotten all that once its host has begun anew. */
    neverRan: false,
    lookedNeverRan: false,
    /** When it looked, libvirt had done what it had been told. */
    settled: false,
    told: { wish: "go" as Wish },
    said: null as TargetState | null,
    forgotten: false,
  };
  readonly vstation: Migration & { over: boolean } = {
    wish: "go",
    deadline: 0,
    moved: false,
    ended: false,
    source: null,
    target: null,
    ...{ sourceLink: "connected", sourceSeenAt: 0 },
    targetLink: "connected",
    over: false,
  };
  copy: Copy = "none";
  /** By post-copy: a finish that is with libvirt before the guest can run, and stays there whoever dies. */
  early = false;
  /** The target has been asked to let the guest run. */
  asked = false;
  /** QEMU at the source has sent all of the guest away, and says so from then on. */
  sent = false;
  /** What is fed does not come over. */
  broken = false;
  /** The way ended in the switch itself: QEMU at the source lets the guest never run again. */
  stuck = false;
  /** The target has all of the memory. */
  whole = false;
  /** The way ended with the last of the memory: QEMU at the source lets go on what was switched away from, and what did not arrive is lost. */
  stale = false;
  filled = 0;
  /** A finish that libvirt has got and not done yet, and for how long. */
  finishing = false;
  rounds = 0;
  /** The guest has run at the target, and its disks are not what the source's memory knows. */
  ranThere = false;
  /** It ended, at the target unless it was stuck; whoever it belongs to is to start it anew from its disks. */
  ended = false;
  history: string[] = [];

  constructor(deadline: number, postcopy = false) {
    this.postcopy = postcopy;
    Object.assign(this.vstation, { deadline });
  }

  lookAtSource(): void {
    const { source, copy } = this;
    source.looked = source.guest;
    source.knew = this.#knownAtSource;
    if (source.record?.stage !== "copying" || (source.ours && source.attempt === null)) return;
    source.kept ||= source.attempt === null && !this.postcopy && source.guest !== "off" && !this.sent;
    if (wordOf({ ...source, fate: this.#fateAtSource }) !== "dropped" || copy === "none" || copy === "fed") return;
    // libvirt is told that it stays, and what is left of the copy ends.
    this.#copyBreaks();
    this.copy = "none";
    if (source.guest === "paused") source.guest = "running";
    source.looked = source.guest;
  }

  /** After `fetching` another word comes, by whichever way. */
  get #fateAtSource(): Fate | null {
    const { heard, told } = this.source;
    return heard === null || heard === "fetching" ? (told.fate ?? heard) : heard;
  }

  get #knownAtSource(): string {
    return `${this.#fateAtSource} ${this.source.attempt?.is}`;
  }

  stepSource(): void {
    const { source } = this;
    if (source.forgotten) return;
    const { step, say } = decideSource({
      ...source.told,
      fate: this.#fateAtSource,
      record: source.record,
      attempt: source.attempt,
      inVain: source.inVain,
      kept: source.kept,
      ours: source.ours,
      guest: source.knew === this.#knownAtSource ? source.looked : "unknown",
      postcopy: this.postcopy,
      feed: this.feed(),
    });
    source.said = say;
    switch (step.do) {
      case "wait":
        return;
      case "record":
        if (step.record.stage === "copying") source.ours = true;
        source.record = step.record;
        return;
      case "attempt":
        source.attempt = { is: "running", handing: false, progress: null };
        if (this.target.attempt?.is === "listening") {
          this.copy = "copying";
          this.target.guest = "paused";
          this.target.neverRan = true;
        } else this.#fails("link_lost", "nobody listens");
        return;
      case "cancel":
        this.#copyBreaks();
        this.#fails("cancelled", "cancelled");
        return;
      case "ask":
        // Where the target may run it early a copy that nobody leads is ended first.
        if (this.postcopy && this.copy === "copying") this.#copyBreaks();
        if (!this.target.forgotten && this.reaches()) {
          this.target.asked = true;
          this.target.released ||= this.stuck || (source.guest !== "paused" && this.copy === "none");
          const stage = this.target.record?.stage;
          if (stage === "arrived" || stage === "dropped" || stage === "fetching") source.heard = stage;
        }
        return;
      case "rejoin":
        if (this.reaches() && this.target.record?.stage === "fetching") {
          this.broken = false;
          source.attempt = { is: "feeding" };
        }
        return;
      case "resume":
        if (this.copy === "fed") throw new Error(`resumed what cannot run: ${this.history.join(" ")}`);
        source.guest = "running";
        return;
      case "destroy":
        source.guest = "off";
        this.stale = false;
        return;
      case "clean":
      case "forget":
        source.forgotten = true;
    }
  }

  stepTarget(): void {
    const { target } = this;
    if (target.forgotten) return;
    const memory = target.looked === "unknown" ? "unknown" : target.memory;
    const isFetching = target.record?.stage === "committed" || target.record?.stage === "fetching";
    const guest = target.ran && !isFetching ? "running" : target.looked;
    const looked = { guest, neverRan: target.lookedNeverRan };
    const { step, say } = decideTarget({ ...target, ...looked, wish: target.told.wish, memory });
    target.said = say;
    switch (step.do) {
      case "wait":
        return;
      case "record":
        if (step.record.stage === "open") target.ours = true;
        if (step.record.stage === "finishing" && target.attempt?.is === "promising") {
          target.attempt = { is: "finishing" };
          target.looked = "unknown";
          this.finishing = true;
          this.rounds = 0;
        }
        if (step.record.stage === "committed" && target.attempt?.is === "promising") {
          target.attempt = { is: "finishing" };
          this.early = true;
          if (target.guest !== "paused" || this.copy !== "copying") this.#finishFails();
        }
        target.record = step.record;
        return;
      case "attempt":
        target.attempt = { is: "listening", port: 1 };
        target.port = 1;
        return;
      case "listen":
        target.port = 2;
        return;
      case "resume":
        target.guest = "running";
        return;
      case "end":
        target.attempt = { is: "failed", reason: "cancelled", message: "ended", inDoubt: false };
        this.#targetConnectionEnds();
        return;
      case "destroy":
        // It is in no QEMU any more, and is started anew.
        if (target.record?.stage === "fetching") this.ended = true;
        target.guest = "off";
        target.neverRan = true;
        this.#finishFails();
        this.#copyBreaks();
        return;
      case "clean":
      case "forget":
        target.forgotten = true;
    }
  }

  /** The two programs can have each other. */
  reaches(): boolean {
    return this.target.port !== null && this.target.port === this.source.told.port;
  }

  feed(): Feed {
    if (this.copy === "fed") return { is: this.broken ? "broken" : "flowing", remainingBytes: null };
    return { is: this.stuck ? "stuck" : "none", remainingBytes: null };
  }

  lever(): void {
    if (!this.postcopy) return;
    if (this.early) this.#switchOver();
    else this.#commit();
  }

  /** The target is asked to let libvirt wait for the guest. */
  #commit(): void {
    const { source, target } = this;
    if (this.copy !== "copying" || source.attempt?.is !== "running" || target.attempt?.is !== "listening") return;
    this.asked = true;
    if (target.record?.stage === "open" && target.guest === "paused")
      target.attempt = { is: "promising", port: 1, stage: "committed" };
  }

  #switchOver(): void {
    if (!this.early || this.copy !== "copying" || this.source.attempt?.is !== "running") return;
    this.copy = "fed";
    this.source.guest = "paused";
    this.source.attempt = { ...this.source.attempt, handing: true };
  }

  /** libvirt at the target lets it run of itself. */
  runEarly(): void {
    const { source, target } = this;
    if (!this.early || target.guest !== "paused" || (this.copy !== "fed" && this.copy !== "performed")) return;
    target.guest = "running";
    // Told by an event, which comes before any of its end.
    target.ran = target.attempt?.is === "finishing";
    if (this.copy === "performed") return this.endEarly();
    if (source.attempt?.is === "running" && target.attempt !== null) source.attempt = { is: "feeding" };
  }

  /** The last of the memory comes, after some rounds in which it flows. */
  fillInTime(): void {
    if (this.copy !== "fed" || this.broken || this.target.guest !== "running" || ++this.filled < 4) return;
    this.whole = true;
    this.endEarly();
  }

  endEarly(): void {
    const { source, target } = this;
    const heard = source.attempt !== null && source.attempt.is !== "failed" && target.attempt?.is === "finishing";
    this.early = false;
    this.copy = "none";
    if (target.attempt?.is === "finishing") target.attempt = { is: "listening", port: 1 };
    if (heard) source.attempt = { is: "moved", pauseMs: 1 };
    // Of what nobody leads libvirt ends the source's half by itself.
    else if (this.whole) source.guest = "off";
    if (!heard && source.attempt !== null && source.attempt.is !== "moved") {
      this.#fails("link_lost", "no answer");
    }
  }

  /** The target may not see it: its QEMU waits for what is to come, and libvirt with it. */
  breakSwitch(isSeen: boolean): void {
    if (!this.early || this.copy !== "fed" || this.broken || this.target.guest !== "paused") return;
    this.copy = "none";
    this.stuck = true;
    this.ended = true;
    if (isSeen) this.#finishFails();
    if (this.source.attempt?.is === "running") this.#fails("link_lost", "the rest did not go over");
  }

  failAtTheEnd(arrived: boolean): void {
    const { source, target } = this;
    if (this.copy !== "fed" || this.broken || this.whole || target.guest !== "running") return;
    this.breakFeed();
    this.copy = "none";
    this.early = false;
    this.whole = arrived;
    this.stale = true;
    source.guest = "running";
  }

  breakFeed(): void {
    if (this.copy !== "fed") return;
    this.broken = true;
    const { source, target } = this;
    if (source.attempt?.is === "running" || source.attempt?.is === "feeding") {
      this.#fails("link_lost", "the link broke");
    }
    if (target.attempt?.is === "finishing" && target.guest === "running") target.attempt = { is: "listening", port: 1 };
  }

  /** libvirtd dies in the moment between the source's switch and the guest's start, and has forgotten that it was to start it. */
  forgetEarly(): void {
    const { target } = this;
    if (!this.early || this.copy !== "fed" || target.guest !== "paused") return;
    this.early = false;
    if (target.attempt?.is === "finishing") {
      target.attempt = { is: "failed", reason: "target_refused", message: "libvirt began anew", inDoubt: false };
    }
  }

  /** libvirt at the target throws its half away with the connection that began it, unless the guest runs already. */
  #targetConnectionEnds(): void {
    if (this.early) return;
    if (this.target.guest === "paused" && !this.finishing && this.copy !== "fed") this.target.guest = "off";
    this.#copyBreaks();
  }

  #fails(reason: MigrationReason, message: string): void {
    this.source.attempt = { is: "failed", reason, message, asked: this.asked };
  }

  #copyBreaks(): void {
    if (this.copy !== "copying") return;
    this.copy = "none";
    this.#finishFails();
    if (this.source.attempt?.is === "running") {
      this.#fails("copy_failed", "the copy broke");
    }
  }

  /** libvirt's, which waited for a copy that does not come. */
  #finishFails(): void {
    if (!this.early) return;
    this.early = false;
    this.target.guest = "off";
    if (this.target.attempt?.is === "finishing") {
      this.target.attempt = { is: "failed", reason: "target_refused", message: "the copy broke", inDoubt: false };
    }
  }

  /** The copy's last page: the source is paused. */
  perform(): void {
    if (this.copy !== "copying" || this.target.guest !== "paused") return;
    this.copy = "performed";
    this.sent = true;
    this.source.guest = "paused";
    if (this.source.attempt?.is === "running") this.source.attempt = { ...this.source.attempt, handing: true };
  }

  /** The source asks, the target takes it or refuses; it writes that down first. */
  askToFinish(): void {
    if (this.copy !== "performed" || this.source.attempt?.is !== "running" || this.finishing || this.early) return;
    const { target } = this;
    if (target.attempt?.is === "promising") return;
    this.asked = true;
    const takes = target.record?.stage === "open" && target.attempt?.is === "listening" && target.guest === "paused";
    if (takes) target.attempt = { is: "promising", port: 1, stage: "finishing" };
    else this.#fails("target_refused", "it does not take it");
  }

  /** libvirt does what the finish says; its answer may be lost on the way to either. */
  finish(works: boolean, targetHears: boolean, sourceHears: boolean): void {
    if (!this.finishing) return;
    this.finishing = false;
    this.copy = "none";
    const { target, source } = this;
    if (target.guest === "paused") target.guest = works ? "running" : "off";
    const ran = target.guest === "running";
    // Whoever has begun anew meanwhile waits for no answer, and the source's connection to it is gone.
    const heard = targetHears && target.attempt?.is === "finishing";
    if (heard) {
      target.looked = "unknown";
      target.ran = ran;
      target.attempt = ran
        ? { is: "listening", port: 1 }
        : { is: "failed", reason: "target_refused", message: "it did not run", inDoubt: false };
    }
    if (source.attempt?.is === "running") {
      const moved = ran && heard && sourceHears;
      if (moved) source.attempt = { is: "moved", pauseMs: 1 };
      else this.#fails("link_lost", "no answer");
    }
  }

  /** It takes some rounds, unless something happens to it before. */
  finishInTime(): void {
    if (++this.rounds > 2) this.finish(true, true, true);
  }

  /** The doubt about an unanswered finish has passed. */
  giveUpFinishing(): void {
    if (this.finishing || this.early || this.target.attempt?.is !== "finishing") return;
    if (this.target.record?.stage !== "finishing") return;
    this.target.attempt = { is: "failed", reason: "target_refused", message: "no answer", inDoubt: true };
    this.target.looked = "unknown";
  }

  dieSource(): void {
    const { source } = this;
    source.attempt = null;
    source.ours = false;
    source.heard = null;
    source.looked = "unknown";
    source.kept = false;
  }

  /** The storage fails it, and libvirt ends a copy over that. */
  holdHere(): void {
    if (this.source.guest !== "running") return;
    this.source.guest = "held";
    this.#copyBreaks();
  }

  holdThere(): void {
    if (this.target.guest !== "running" || this.copy === "fed") return;
    Object.assign(this.target, { guest: "held", neverRan: false });
  }

  /** It powers itself off, or crashes. */
  endThere(): void {
    const { target } = this;
    if (target.guest !== "running" || this.copy === "fed") return;
    target.guest = "off";
    target.neverRan = false;
    this.ended = true;
  }

  /** The target's host loses its power; by post-copy half of the guest would be lost with it. */
  loseTarget(): void {
    const { target } = this;
    if (this.postcopy) return;
    // Nobody can say any more whether it ran there: that it ended is the lesser evil.
    this.ended ||= isUp(target.guest) || target.record?.stage === "finishing";
    target.guest = "off";
    target.neverRan = false;
    if (this.finishing) this.finish(false, false, false);
    this.dieTarget();
  }

  dieTarget(): void {
    const { target } = this;
    target.attempt = null;
    target.ours = false;
    target.asked = false;
    target.ran = false;
    target.released = false;
    target.port = null;
    target.looked = "unknown";
    // What it led on goes on by itself; nobody at the source has an answer to wait for.
    if (this.source.attempt?.is === "feeding") {
      this.#fails("link_lost", "no answer");
    }
    this.#targetConnectionEnds();
  }
}
