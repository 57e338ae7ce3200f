/**
 * What the source of a live migration does next: a pure function to one step, as core/ensure.ts is for a guest. Compute does the step,
 * looks again, and asks again; nothing here waits, reads or writes, so each interleaving that a death can make is a test input.
 *
 *   (nothing) ── record copying ──> attempt: the target's machine, the copy, the hand-over ──> moved ── record left ──> (forgotten)
 *       │                              │ failed, or this program died in it
 *       └── record stayed <── dropped ─┴─ what does the target say? ── arrived ── record left
 *
 * The rules. The copy is begun once: a migration that failed is over, and another one is another migration. From the moment that the
 * copy is begun until the target has said its word, a guest that is paused here may be running there: it is resumed only on
 * `dropped`, which the target says when it can never run it any more, and it is ended only on `arrived`. Without that word there is
 * only waiting, and asking again, unless it can be no other ({@link wordOf}). On `fetching` the guest here is
 * part of the guest there: nothing ends it while it is paused, and where its memory does not flow any more it is made to flow again, as often as it takes. Should it be `dropped` after the switch all the same (the target's
 * host was lost before it ran there), no QEMU has a whole guest any more: it has ended here. So it has where it goes on here and runs there ({@link isStale}).
 *
 * What can race: the attempt with a cancel (libvirt decides which was first, and the target's word counts); this host's worker of the
 * instance, which keeps its hands off until the migration is over here.
 */
import { unreachable } from "../../lib/errors.ts";
import type { Fate, MigrationReason, Progress, SourceState } from "./halves.ts";

/** Durable, one per migration. */
export type SourceRecord =
  | { readonly stage: "copying" }
  | { readonly stage: "stayed"; readonly reason: MigrationReason; readonly message: string }
  | { readonly stage: "left"; readonly pauseMs: number | null };

/** How the one attempt stands that this process has begun. */
export type SourceAttempt =
  | { readonly is: "running"; readonly handing: boolean; readonly progress: Progress | null }
  /** The target has said that the guest runs there; the rest of its memory goes over. */
  | { readonly is: "feeding" }
  /** libvirt has said so at both ends. */
  | { readonly is: "moved"; readonly pauseMs: number | null }
  /** It came to nothing, or nobody knows: the target's word decides. `asked`: the target may have been asked to let the guest run. */
  | { readonly is: "failed"; readonly reason: MigrationReason; readonly message: string; readonly asked: boolean };

/**
 * The guest at this host, as far as this needs it. `held`: it ran here until its storage failed it, or had no room, and goes on by its worker's hand;
 * `paused` is by anything else; `off` is every way in which no QEMU of it runs.
 */
export type Whereabouts = "unknown" | "off" | "running" | "paused" | "held";

/** It runs, or would if its storage let it. */
export function isUp(guest: Whereabouts): boolean {
  return guest === "running" || guest === "held";
}

/**
 * What QEMU here says of post-copy: `none` before the switch and after its end, and between them whether the rest of the memory goes over; `joining`: another
 * way for it is being tried; `stuck`: the switch came to nothing, and QEMU lets the guest never run again.
 */
export interface Feed {
  readonly is: "unknown" | "none" | "flowing" | "broken" | "joining" | "stuck";
  readonly remainingBytes: number | null;
}

export interface SourceSituation {
  /** `over`: VStation has drawn its conclusion, and waits for nothing of this half any more. */
  readonly wish: "go" | "cancel" | "over";
  /** Where the target listens; null: not yet. */
  readonly port: number | null;
  /** The target's word, from itself or by way of VStation. */
  readonly fate: Fate | null;
  readonly record: SourceRecord | null;
  /** null: this process has begun none. After `record copying` of this very process one may be begun. */
  readonly attempt: SourceAttempt | null;
  /** For long the target has been asked for its word without an answer. */
  readonly inVain: boolean;
  /** QEMU has said to this process that it had not sent all of the guest away, and this process has begun nothing since. */
  readonly kept: boolean;
  /** This process has written `record copying`: no other one can have begun the attempt. */
  readonly ours: boolean;
  readonly guest: Whereabouts;
  /** By its policy the guest may run there before all of its memory is there. */
  readonly postcopy: boolean;
  readonly feed: Feed;
}

export type SourceStep =
  | { readonly do: "wait" }
  | { readonly do: "record"; readonly record: SourceRecord }
  | { readonly do: "attempt" }
  /** Ends the copy; the attempt then fails, unless it was too late. */
  | { readonly do: "cancel" }
  /** Makes the target say its word: what has not arrived there by then is dropped. */
  | { readonly do: "ask" }
  /** Joins the two QEMUs anew, for the memory that the target's guest lacks. */
  | { readonly do: "rejoin" }
  | { readonly do: "resume" }
  | { readonly do: "destroy" }
  /** Removes what is left of the instance on this host, but nothing that the target has too, and the record last. */
  | { readonly do: "clean" }
  /** Removes the record; the instance's worker goes on as before. */
  | { readonly do: "forget" };

export interface SourceDecision {
  readonly step: SourceStep;
  readonly say: SourceState;
}

const wait: SourceStep = { do: "wait" };

export function decideSource(s: SourceSituation): SourceDecision {
  if (s.record === null) return notBegun(s);
  switch (s.record.stage) {
    case "copying":
      return begun(s);
    case "stayed":
      return { step: s.wish === "over" ? { do: "forget" } : wait, say: stayed(s.record) };
    case "left":
      return { step: afterLeaving(s), say: { is: "left", pauseMs: s.record.pauseMs } };
    default:
      return unreachable(s.record);
  }
}

function stayed({ reason, message }: { reason: MigrationReason; message: string }): SourceState {
  return { is: "stayed", reason, message };
}

function stay(reason: MigrationReason, message: string, say: SourceState): SourceDecision {
  return { step: { do: "record", record: { stage: "stayed", reason, message } }, say };
}

function notBegun(s: SourceSituation): SourceDecision {
  const say: SourceState = { is: "waiting", step: s.port === null ? "the target makes itself ready" : "begins" };
  if (s.wish === "over") return { step: { do: "forget" }, say };
  // This host has lost its record, and the guest with it (it was set up anew): nothing of it can come from here any more.
  if (s.fate === "arrived" && s.guest === "off")
    return { step: { do: "record", record: { stage: "left", pauseMs: null } }, say };
  if (s.wish === "cancel") return stay("cancelled", "it was cancelled before it began", say);
  if (s.fate === "dropped") return stay("target_refused", "the target gave up before it began", say);
  // It would be another machine's guest: whatever runs here is none of its.
  if (s.fate !== null) return { step: wait, say };
  switch (s.guest) {
    case "off":
      return stay("guest_ended", "the guest does not run", say);
    case "unknown":
    case "paused":
      return { step: wait, say };
    // Its worker keeps its hands off as long as this lasts.
    case "held":
      return stay("guest_not_running", "its storage has stopped the guest", say);
    case "running":
      return { step: s.port === null ? wait : { do: "record", record: { stage: "copying" } }, say };
    default:
      return unreachable(s.guest);
  }
}

/**
 * The guest goes on here although it runs there: QEMU 10.0 lets it when the way ends after the last page was sent and before the target has said
 * that it is there (`migration_completion` ends in `failed`, and that in `vm_start`). It knows nothing of what was written there since, and would write
 * that over. Only the target's word tells: a guest that goes on after the switch may be whole, and the only one, where the target never let it run.
 */
function isStale({ guest, fate, attempt }: SourceSituation): boolean {
  return isUp(guest) && (fate === "fetching" || attempt?.is === "feeding");
}

function begun(s: SourceSituation): SourceDecision {
  const { attempt } = s;
  if (isStale(s)) return { step: { do: "destroy" }, say: feeding(s) };
  if (attempt === null && s.ours && s.fate === null) {
    const say: SourceState = { is: "copying", progress: null };
    return s.wish === "go"
      ? { step: { do: "attempt" }, say }
      : stay("cancelled", "it was cancelled before it began", say);
  }
  if (attempt?.is === "running") {
    const say: SourceState = attempt.handing ? { is: "handing" } : { is: "copying", progress: attempt.progress };
    return { step: s.wish !== "go" && !attempt.handing ? { do: "cancel" } : wait, say };
  }
  if (attempt?.is === "feeding") return { step: wait, say: feeding(s) };
  if (attempt?.is === "moved") return left(attempt.pauseMs);
  return undecided(s, attempt ?? restarted);
}

const restarted = {
  reason: "restarted",
  message: "the source's Compute began anew in the middle of it",
} as const;

function feeding({ feed }: SourceSituation): SourceState {
  const broken = feed.is === "broken" || feed.is === "joining" || feed.is === "stuck";
  return { is: "feeding", remainingBytes: feed.remainingBytes, broken };
}

/**
 * The target's word, or what it can only be. The guest runs there when an attempt asks for it and by nothing else; so a target that was not asked,
 * and is not heard any more (its host may have burned down), does not keep the guest from its owner here. An attempt of this process knows
 * whether it asked. A former process's would have asked when QEMU here had sent everything, so a QEMU that has not (`kept`) knows it.
 * That libvirt calls the guest running is no such proof: begun anew in a certain moment it resumes what was handed over.
 */
export function wordOf(s: Pick<SourceSituation, "fate" | "attempt" | "inVain" | "kept">): Fate | null {
  const { fate, attempt, inVain, kept } = s;
  if (fate !== null || !inVain) return fate;
  const notAsked = attempt === null ? kept : attempt.is === "failed" && !attempt.asked;
  return notAsked ? "dropped" : null;
}

/** The attempt is over, and its own word is not enough. */
function undecided(s: SourceSituation, why: { reason: MigrationReason; message: string }): SourceDecision {
  const say: SourceState = s.guest === "running" ? { is: "copying", progress: null } : { is: "handing" };
  const word = wordOf(s);
  switch (word) {
    case null:
      return { step: { do: "ask" }, say };
    case "fetching":
      return { step: s.feed.is === "broken" ? { do: "rejoin" } : { do: "ask" }, say: feeding(s) };
    case "arrived":
      return left(null);
    case "dropped":
      if (s.guest === "paused" || s.guest === "held") {
        if (s.feed.is === "unknown") return { step: wait, say };
        if (s.feed.is !== "none") return { step: { do: "destroy" }, say };
        // To let it run before its storage does would pause it again at once.
        return s.guest === "held" ? stay(why.reason, why.message, say) : { step: { do: "resume" }, say };
      }
      if (s.guest === "unknown") return { step: wait, say };
      if (s.guest === "off") return stay("guest_ended", "the guest ended while it was copied", say);
      return stay(why.reason, why.message, say);
    default:
      return unreachable(word);
  }
}

function left(pauseMs: number | null): SourceDecision {
  return { step: { do: "record", record: { stage: "left", pauseMs } }, say: { is: "handing" } };
}

function afterLeaving(s: SourceSituation): SourceStep {
  switch (s.guest) {
    case "paused":
    case "held":
      return { do: "destroy" };
    case "off":
      return s.wish === "over" ? { do: "clean" } : wait;
    // Its owner runs there. By post-copy it may be this source's QEMU that let it go on; otherwise nothing does, and if ever it
    // seems so, nothing here ends one of them unasked.
    case "running":
      return s.postcopy ? { do: "destroy" } : wait;
    case "unknown":
      return wait;
    default:
      return unreachable(s.guest);
  }
}
