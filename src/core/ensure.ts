/**
 * What Compute does next about one instance: a pure function from (wanted, record, guest, what this process holds) to one step.
 *
 * Who owns what. VStation writes `wanted`; Compute writes `record` (durable, one file per instance) and reads `guest` from
 * libvirt. The worker in compute/vm/worker.ts calls {@link decide}, does the one step, looks again, and calls it again until the
 * step is `wait`. Nothing here waits, reads or writes: so every interleaving that a crash can make is a test input.
 *
 * The rule that everything else serves: **a start never happens twice**. A start is three moments: the intent is made durable
 * (`stage: "intent"`), libvirt is told, the outcome is made durable (`stage: "started"`). When Compute died in between, two
 * kinds of evidence decide: the domain runs (then it was started), or a *trace* of that very incarnation lies on the disk (its
 * serial log, named by incarnation, which exists from the moment libvirt prepares QEMU). No guest and no trace: the
 * start never reached QEMU and may be made. No guest but a trace: it may have run, so it is over (`exited`), and VStation alone
 * decides on the next incarnation.
 *
 * A reset is made until one is known to have been made, and then counted: when Compute dies between the reset and its count, the
 * guest is reset again. It was to be reset in any case, and its owner still sees it rebooting; to count one that may not have
 * been made would call a guest rebooted that was not. Several that are outstanding are one.
 *
 * What can race. A guest ends while a message arrives: the next look sees it off. An older message after a newer one: epochs
 * only go up (`knownEpoch`, the record, the mark in the domain), and the lower one is a stranger's. libvirt does not answer: the
 * guest is `unknown`, and on unknown there is only waiting.
 */

import { unreachable } from "../lib/errors.ts";
import type { SeenPhase, SeenReason } from "./seen.ts";

/** What the domain's own metadata says about its start. */
export interface Mark {
  readonly epoch: number;
  readonly incarnation: number;
  readonly resets: number;
}

/** Why a domain is off, as far as libvirt remembers. */
export type OffWhy = "shutdown" | "destroyed" | "crashed" | "failed" | "unknown";

export type PausedWhy = "starting" | "out_of_space" | "io_error" | "paused_outside";

/** The domain as libvirt last told it. */
export type Guest =
  | { readonly is: "unknown" }
  | { readonly is: "absent" }
  | { readonly is: "off"; readonly mark: Mark | null; readonly why: OffWhy }
  | { readonly is: "running"; readonly mark: Mark | null }
  | { readonly is: "paused"; readonly mark: Mark | null; readonly why: PausedWhy };

export type Power =
  | { readonly state: "running"; readonly incarnation: number; readonly resets: number }
  | { readonly state: "stopped"; readonly how: "soft" | "soft_first" | "hard" }
  | { readonly state: "gone" };

export interface Wanted {
  readonly epoch: number;
  readonly power: Power;
}

/** What this host durably knows about an instance. */
export interface RunRecord {
  /** The highest epoch this host has acted for. */
  readonly epoch: number;
  /** The highest incarnation whose start was intended here; 0 = none. */
  readonly incarnation: number;
  readonly stage: "none" | "intent" | "started" | "ended";
  /** True from before the first start on: from then on a missing disk is a loss, not something to create. */
  readonly diskMade: boolean;
  /** ISO time of the start. */
  readonly startedAt: string | null;
  /** The host's boot in which it was started. */
  readonly bootId: string;
  readonly resets: number;
  readonly end: { readonly reason: SeenReason; readonly message: string } | null;
  /** A stop under way: since when (ms), and of which kind. */
  readonly stop: { readonly how: "soft" | "soft_first" | "hard"; readonly sinceMs: number } | null;
}

/** What this process remembers between two looks; all of it may be lost. */
export interface Held {
  /** The incarnation for which this process has made disk, seed, network and definition ready. */
  readonly prepared: number | null;
  readonly failure: {
    readonly reason: SeenReason;
    readonly message: string;
    readonly attempts: number;
    readonly retryAtMs: number;
  } | null;
  /** This process has reset the guest up to this count and not written it down yet. */
  readonly resetDone: number | null;
  /** A call to libvirt got no answer: until then an outcome that shows nothing yet proves nothing. */
  readonly doubtUntilMs: number | null;
  /** When the power button was last pressed. */
  readonly pressedAtMs: number | null;
  /** The storage has room again for a guest that was paused for want of it. */
  readonly roomAgain: boolean;
  /** This process has removed everything of it. */
  readonly erased: boolean;
  /** Why its disks must stay closed for now (a copy is made of one, or put into it); a start waits for that. */
  readonly busy: string | null;
  /** It leaves or comes by a live migration: that alone acts on it, whatever is wanted and whatever libvirt says. */
  readonly migrating: "source" | "target" | null;
}

export const nothingHeld: Held = {
  prepared: null,
  failure: null,
  resetDone: null,
  doubtUntilMs: null,
  pressedAtMs: null,
  roomAgain: false,
  erased: false,
  busy: null,
  migrating: null,
};

export interface Situation {
  /** null: VStation does not name it. */
  readonly wanted: Wanted | null;
  /** The highest epoch that any message about it carried. */
  readonly knownEpoch: number;
  readonly record: RunRecord | null;
  readonly guest: Guest;
  /** Something on the disk shows that QEMU was launched for `record.incarnation`. */
  readonly trace: boolean;
  /** Files of it lie here although there is no record of a start. */
  readonly leftover: boolean;
  readonly held: Held;
  readonly bootId: string;
  readonly nowMs: number;
  /** The same moment in ISO form. */
  readonly nowIso: string;
}

export type Step =
  /** Nothing to do before `untilMs` (null: before something changes). */
  | { readonly do: "wait"; readonly untilMs: number | null }
  /** Make this record durable. */
  | { readonly do: "record"; readonly record: RunRecord }
  | { readonly do: "prepare"; readonly incarnation: number }
  | { readonly do: "start"; readonly incarnation: number }
  /** Press the power button. */
  | { readonly do: "press" }
  | { readonly do: "destroy" }
  | { readonly do: "reset"; readonly resets: number }
  | { readonly do: "resume" }
  /** Remove definition, disks, seed, logs, record. */
  | { readonly do: "erase" };

export interface Decision {
  readonly step: Step;
  /** What to report before the step is done; null = as before, "nothing" = there is nothing to report. */
  readonly phase: SeenPhase | "nothing" | null;
}

/** A guest that ignores the power button is destroyed after this long, when asked for by `soft_first`. */
export const softFirstMs = 60_000;
/** A guest that was still booting has not heard the button: it is pressed again. */
export const pressEveryMs = 10_000;

const waiting: Step = { do: "wait", untilMs: null };

/** The next step, and what to report before doing it. */
export function decide(s: Situation): Decision {
  if (s.held.migrating !== null) return { step: waiting, phase: phaseInMigration(s) };
  if (s.guest.is === "unknown") return { step: waiting, phase: null };
  if (s.wanted === null) return decideStranger(s);
  const known = Math.max(s.knownEpoch, s.record?.epoch ?? 0, markOf(s.guest)?.epoch ?? 0);
  if (s.wanted.epoch < known) return decideStranger(s);
  if (isUp(s.guest)) {
    const mark = markOf(s.guest) ?? (s.record && s.record.incarnation > 0 ? markFromRecord(s.record) : null);
    // A domain of our name that carries no mark and that we have no record of was made by somebody else.
    if (mark === null) return decideStranger(s);
    return decideUp(s, s.wanted, mark);
  }
  return decideDown(s, s.wanted);
}

/**
 * Its owner sees it running, wherever it is: of the source's the same as before is said until it is over there, and of the
 * target's nothing before it has arrived.
 */
function phaseInMigration({ held, record, guest }: Situation): SeenPhase | null {
  const told = held.migrating === "source" && guest.is !== "unknown" && record?.stage === "started";
  if (!told || record.startedAt === null) return null;
  return {
    is: "running",
    incarnation: record.incarnation,
    resets: record.resets,
    startedAt: record.startedAt,
  };
}

function decideStranger(s: Situation): Decision {
  const there = s.guest.is !== "absent" || s.record !== null || s.leftover;
  return { step: waiting, phase: there ? { is: "stranger", running: isUp(s.guest) } : "nothing" };
}

/* ---------------------------------------------------------------- a guest is there */

function decideUp(s: Situation, wanted: Wanted, mark: Mark): Decision {
  const record = s.record;
  const adopted = adopt(s, wanted, mark);
  if (record === null || adopted !== record) return { step: { do: "record", record: adopted }, phase: null };
  switch (wanted.power.state) {
    case "running":
      return decideRunning(s, record, wanted.power, mark);
    case "stopped":
      return decideStopping(s, record, wanted.power.how, mark);
    case "gone":
      return attempt(s, { do: "destroy" }, { is: "stopping", incarnation: mark.incarnation });
    default:
      return unreachable(wanted.power);
  }
}

/** The record as a running guest proves it to be; the same object if nothing has to change. */
function adopt(s: Situation, wanted: Wanted, mark: Mark): RunRecord {
  const record = s.record;
  if (record !== null && record.incarnation >= mark.incarnation) {
    const started = record.stage === "started" || record.incarnation > mark.incarnation;
    if (started && record.epoch === wanted.epoch) return record;
    return {
      ...record,
      epoch: wanted.epoch,
      stage: started ? record.stage : "started",
      startedAt: record.startedAt ?? s.nowIso,
      bootId: s.bootId,
      end: started ? record.end : null,
    };
  }
  return {
    epoch: wanted.epoch,
    incarnation: mark.incarnation,
    stage: "started",
    diskMade: true,
    startedAt: s.nowIso,
    bootId: s.bootId,
    resets: mark.resets,
    end: null,
    stop: null,
  };
}

function decideRunning(
  s: Situation,
  record: RunRecord,
  power: { incarnation: number; resets: number },
  mark: Mark,
): Decision {
  const phase: SeenPhase = {
    is: "running",
    incarnation: mark.incarnation,
    resets: record.resets,
    startedAt: record.startedAt ?? s.nowIso,
  };
  // Another incarnation than the wanted one runs. Ending it would be bookkeeping that kills a VM: show it and wait.
  if (mark.incarnation !== power.incarnation) return { step: waiting, phase };
  if (record.stop !== null) return { step: { do: "record", record: { ...record, stop: null } }, phase: null };
  if (s.guest.is === "paused") return decidePaused(s, s.guest.why, mark);
  const { resetDone } = s.held;
  if (resetDone !== null && resetDone > record.resets) {
    return { step: { do: "record", record: { ...record, resets: resetDone } }, phase: null };
  }
  if (power.resets > record.resets) return attempt(s, { do: "reset", resets: power.resets }, phase);
  return { step: waiting, phase };
}

function decidePaused(s: Situation, why: PausedWhy, mark: Mark): Decision {
  if (why === "starting") return { step: waiting, phase: { is: "starting", incarnation: mark.incarnation } };
  const phase: SeenPhase = { is: "paused", incarnation: mark.incarnation, reason: why };
  if (why === "out_of_space" && s.held.roomAgain) return attempt(s, { do: "resume" }, phase);
  return { step: waiting, phase };
}

function decideStopping(s: Situation, record: RunRecord, how: "soft" | "soft_first" | "hard", mark: Mark): Decision {
  const phase: SeenPhase = { is: "stopping", incarnation: mark.incarnation };
  if (record.stop?.how !== how) {
    return { step: { do: "record", record: { ...record, stop: { how, sinceMs: s.nowMs } } }, phase };
  }
  if (how === "hard") return attempt(s, { do: "destroy" }, phase);
  const deadline = how === "soft_first" ? record.stop.sinceMs + softFirstMs : null;
  if (deadline !== null && s.nowMs >= deadline) return attempt(s, { do: "destroy" }, phase);
  const nextPress = s.held.pressedAtMs === null ? s.nowMs : s.held.pressedAtMs + pressEveryMs;
  if (s.nowMs >= nextPress) return attempt(s, { do: "press" }, phase, deadline);
  return { step: { do: "wait", untilMs: deadline === null ? nextPress : Math.min(nextPress, deadline) }, phase };
}

/* ---------------------------------------------------------------- no guest is there */

function decideDown(s: Situation, wanted: Wanted): Decision {
  switch (wanted.power.state) {
    case "running":
      return decideStarting(s, wanted, wanted.power.incarnation);
    case "stopped":
      return decideStopped(s, wanted);
    case "gone":
      if (s.held.erased) return { step: waiting, phase: { is: "gone" } };
      if (inDoubt(s)) return waitOutDoubt(s);
      return attempt(s, { do: "erase" }, null);
    default:
      return unreachable(wanted.power);
  }
}

function decideStopped(s: Situation, wanted: Wanted): Decision {
  if (inDoubt(s)) return waitOutDoubt(s);
  const record = s.record;
  if (record !== null) {
    const over = record.stage === "none" || record.stage === "ended";
    if (!over || record.stop !== null || record.epoch !== wanted.epoch) {
      const stage = over ? record.stage : "ended";
      return { step: { do: "record", record: { ...record, epoch: wanted.epoch, stage, stop: null } }, phase: null };
    }
  }
  return { step: waiting, phase: { is: "stopped" } };
}

function decideStarting(s: Situation, wanted: Wanted, incarnation: number): Decision {
  const record = s.record;
  if (record !== null && record.incarnation > incarnation) {
    // An older start than one already made here: it is over, whatever became of it.
    return { step: waiting, phase: exited(record.incarnation, record.end ?? overtaken) };
  }
  if (record !== null && record.incarnation === incarnation) {
    if (record.stage === "ended") {
      if (record.epoch !== wanted.epoch) {
        return { step: { do: "record", record: { ...record, epoch: wanted.epoch } }, phase: null };
      }
      return { step: waiting, phase: exited(incarnation, record.end ?? stoppedAsAsked) };
    }
    if (record.stage === "started") return ended(record, endOf(s, record));
    if (inDoubt(s)) return waitOutDoubt(s);
    if (s.trace) return ended(record, interrupted);
  }
  if (s.held.busy !== null) return { step: waiting, phase: { is: "preparing", step: s.held.busy } };
  const failure = s.held.failure;
  if (failure !== null && s.nowMs < failure.retryAtMs) return failing(failure, incarnation);
  if (s.held.prepared !== incarnation) {
    return {
      step: { do: "prepare", incarnation },
      phase: failure === null ? preparing : failedPhase(failure, incarnation),
    };
  }
  if (record === null || record.incarnation < incarnation || record.epoch !== wanted.epoch) {
    const intent: RunRecord = {
      epoch: wanted.epoch,
      incarnation,
      stage: "intent",
      diskMade: true,
      startedAt: null,
      bootId: s.bootId,
      resets: 0,
      end: null,
      stop: null,
    };
    return { step: { do: "record", record: intent }, phase: failure === null ? { is: "starting", incarnation } : null };
  }
  return { step: { do: "start", incarnation }, phase: failure === null ? { is: "starting", incarnation } : null };
}

/* ---------------------------------------------------------------- helpers */

const preparing: SeenPhase = { is: "preparing", step: "disk, seed, network, definition" };

type End = NonNullable<RunRecord["end"]>;

const interrupted: End = {
  reason: "start_failed",
  message: "the start was interrupted and the guest may have run; it is not started again by itself",
};
const overtaken: End = { reason: "start_failed", message: "a newer start of this instance was made on this host" };
const stoppedAsAsked: End = { reason: "guest_shutdown", message: "stopped as asked before" };

function ended(record: RunRecord, end: End): Decision {
  return { step: { do: "record", record: { ...record, stage: "ended", end, stop: null } }, phase: null };
}

/** Why a guest that was running is not any more. */
function endOf(s: Situation, record: RunRecord): End {
  if (record.bootId !== s.bootId) return { reason: "host_restarted", message: "the host started anew" };
  if (s.guest.is !== "off") return { reason: "host_restarted", message: "libvirt does not know the domain any more" };
  const { why } = s.guest;
  switch (why) {
    case "shutdown":
      return { reason: "guest_shutdown", message: "the guest powered itself off" };
    case "destroyed":
      return { reason: "guest_crashed", message: "the domain was ended on the host by somebody else" };
    case "crashed":
      return { reason: "guest_crashed", message: "the guest panicked or its QEMU process died" };
    case "failed":
    case "unknown":
      return { reason: "guest_crashed", message: "its QEMU process ended while nobody watched" };
    default:
      return unreachable(why);
  }
}

function exited(incarnation: number, end: End): SeenPhase {
  return { is: "exited", incarnation, reason: end.reason, message: end.message };
}

function failedPhase(failure: NonNullable<Held["failure"]>, incarnation: number): SeenPhase {
  const { reason, message, attempts } = failure;
  return { is: "failed", incarnation, reason, message, attempts };
}

function failing(failure: NonNullable<Held["failure"]>, incarnation: number): Decision {
  return { step: { do: "wait", untilMs: failure.retryAtMs }, phase: failedPhase(failure, incarnation) };
}

/** A step that is held back while an earlier failure of this process waits for its next try. */
function attempt(s: Situation, step: Step, phase: SeenPhase | null, deadlineMs: number | null = null): Decision {
  const retryAt = s.held.failure?.retryAtMs ?? 0;
  if (s.nowMs >= retryAt) return { step, phase };
  return { step: { do: "wait", untilMs: deadlineMs === null ? retryAt : Math.min(retryAt, deadlineMs) }, phase };
}

function inDoubt(s: Situation): boolean {
  return s.held.doubtUntilMs !== null && s.nowMs < s.held.doubtUntilMs;
}

function waitOutDoubt(s: Situation): Decision {
  return { step: { do: "wait", untilMs: s.held.doubtUntilMs }, phase: null };
}

function isUp(guest: Guest): boolean {
  return guest.is === "running" || guest.is === "paused";
}

function markOf(guest: Guest): Mark | null {
  return guest.is === "off" || guest.is === "running" || guest.is === "paused" ? guest.mark : null;
}

function markFromRecord(record: RunRecord): Mark {
  return { epoch: record.epoch, incarnation: record.incarnation, resets: record.resets };
}
