/**
 * What the target of a live migration does next: a pure function to one step; see source.ts for the other half.
 *
 *   (nothing) ── record open ──> attempt: a machine that waits for the guest's memory ── record finishing ──> told to finish ──> runs ── record arrived
 *       │                           │ refused, cancelled, asked for its word, or this program died in it         │
 *       └────── record dropped <────┴────────────────────────────────────────────────────────────────────────────┘
 *
 * By post-copy: attempt ── record committed ──> libvirt lets it run as soon as the source switches ── record fetching ──> all is here ── record arrived
 *
 * The rules. Only this program's own `finish` lets the guest run here, so once `dropped` is written down it never does, and once a
 * running guest was seen it has `arrived`, whatever else was said. While a `finish` may still take effect (it was sent and not
 * answered) nothing is decided; after that time a guest that is still paused is ended first, and only its absence is `dropped`.
 * A target whose program died waits for no finish: libvirt throws away its half of a migration with the connection that
 * began it, and what it does not throw away is ended here.
 *
 * `finishing` is written down when the source asks for the finish and before libvirt is told to let the guest run, so without it that has never run here. Not sooner: a copy that fails in the
 * pause is taken back by the source's QEMU without a word from here. With it
 * a program that begins anew has libvirt's word alone. Where libvirt does not vouch that the guest has never run (it ran and ended; the host lost its
 * power), it has arrived: older memory over disks that may have been written since would destroy them, and a guest that has ended is only started anew.
 *
 * Not so by post-copy. A source that has switched can never run its guest again, so nothing that dies here may take the target's with it:
 * the finish is with libvirt before the source switches, and from `committed` on the guest may begin to run by libvirt's hand at any moment. It
 * is ended only when the source has said that nothing comes from there any more, and was not seen to run. In `fetching` it
 * is ended by nothing but that and QEMU's own word that memory is missing: then no host has it.
 */
import { unreachable } from "../../lib/errors.ts";
import type { MigrationReason, TargetState } from "./halves.ts";
import type { Whereabouts } from "./source.ts";

/** Durable, one per migration. */
export type TargetRecord =
  | { readonly stage: "open" }
  /** libvirt has been told, or is being told, to let it run: its copy is whole, and the source's QEMU never wakes it by itself any more. */
  | { readonly stage: "finishing" }
  /** libvirt has been told, or is being told, to let it run by post-copy. */
  | { readonly stage: "committed" }
  /** It has run here, and some of its memory was not here yet. */
  | { readonly stage: "fetching" }
  | { readonly stage: "arrived" }
  | { readonly stage: "dropped"; readonly reason: MigrationReason; readonly message: string };

/** How the one attempt stands that this process has begun. */
export type TargetAttempt =
  | { readonly is: "preparing"; readonly step: string }
  | { readonly is: "listening"; readonly port: number }
  /** The record is to say so before libvirt hears of it. */
  | { readonly is: "promising"; readonly port: number; readonly stage: "finishing" | "committed" }
  /** The finish is on its way, or its answer was lost and it may still take effect. */
  | { readonly is: "finishing" }
  /** It came to nothing, or nothing can come of it any more. `inDoubt`: libvirt was told to let the guest run, and never answered. */
  | { readonly is: "failed"; readonly reason: MigrationReason; readonly message: string; readonly inDoubt: boolean };

export interface TargetSituation {
  readonly wish: "go" | "cancel" | "over";
  readonly record: TargetRecord | null;
  readonly attempt: TargetAttempt | null;
  /** This process has written `record open`: no other one can have begun the attempt. */
  readonly ours: boolean;
  /** The source wants to hear the word now. */
  readonly asked: boolean;
  /** The source has said that it sends nothing any more, and never will. */
  readonly released: boolean;
  /** As libvirt has said since the attempt last changed; what was seen before that counts for nothing. */
  readonly guest: Whereabouts;
  /** libvirt vouches that the guest has not run here by this migration. */
  readonly neverRan: boolean;
  /** This program has heard that it began to run here. */
  readonly ran: boolean;
  /** `guest` was seen long enough after this process began for what libvirt was told before to have come to its end. */
  readonly settled: boolean;
  /** What of its memory is here; `missing`: not all of it, and none comes at present. */
  readonly memory: "unknown" | "whole" | "coming" | "missing";
  /** Where the source may dial; null: nowhere. */
  readonly port: number | null;
}

export type TargetStep =
  | { readonly do: "wait" }
  | { readonly do: "record"; readonly record: TargetRecord }
  /** Makes the machine ready and listens for the source. */
  | { readonly do: "attempt" }
  /** Listens for a source whose memory the guest needs, after this program has begun anew. */
  | { readonly do: "listen" }
  /** Ends the attempt: it then has failed. Nothing of it is at work after that. */
  | { readonly do: "end" }
  /** Lets a guest run whose source has switched, which libvirt here has been told and forgot. */
  | { readonly do: "resume" }
  /** Ends a guest that is paused here and that nobody will let run. */
  | { readonly do: "destroy" }
  /** Removes what was made for it here, but nothing that the source has too, and the record last. */
  | { readonly do: "clean" }
  /** Removes the record; the instance's worker looks after the guest. */
  | { readonly do: "forget" };

export interface TargetDecision {
  readonly step: TargetStep;
  readonly say: TargetState;
}

const wait: TargetStep = { do: "wait" };
const preparing: TargetState = { is: "preparing", step: "begins" };

export function decideTarget(situation: TargetSituation): TargetDecision {
  // Only a guest that has run here can have been failed by its storage here.
  const s = situation.guest === "held" ? { ...situation, guest: "running" as const } : situation;
  const { record } = s;
  if (record === null) {
    if (s.wish === "over") return { step: { do: "forget" }, say: preparing };
    if (s.wish === "cancel") return drop("cancelled", "it was cancelled before it began", preparing);
    return { step: { do: "record", record: { stage: "open" } }, say: preparing };
  }
  switch (record.stage) {
    case "open":
      return open(s);
    case "finishing":
      return s.attempt === null ? inDoubt(s, begunAnew) : open(s);
    case "committed":
      return committed(s);
    case "fetching":
      return fetching(s);
    case "arrived":
      return { step: s.wish === "over" ? { do: "forget" } : wait, say: { is: "arrived" } };
    case "dropped":
      return {
        step: afterDropping(s),
        say: { is: "dropped", reason: record.reason, message: record.message },
      };
    default:
      return unreachable(record);
  }
}

function drop(reason: MigrationReason, message: string, say: TargetState): TargetDecision {
  return { step: { do: "record", record: { stage: "dropped", reason, message } }, say };
}

function open(s: TargetSituation): TargetDecision {
  const { attempt } = s;
  const say = sayOf(s);
  if (attempt?.is === "promising") return { step: { do: "record", record: { stage: attempt.stage } }, say };
  // A finish that is under way looks like a guest that runs a moment before its answer comes: only the answer has its time in it.
  if (attempt?.is === "finishing") return { step: wait, say };
  if (s.guest === "unknown") return { step: wait, say };
  if (s.guest === "running") return { step: { do: "record", record: { stage: "arrived" } }, say };
  if (attempt?.is === "failed") return attempt.inDoubt ? inDoubt(s, attempt) : afterFailure(s, attempt, say);
  if (attempt === null && !s.ours) {
    return afterFailure(s, begunAnew, say);
  }
  if (s.wish !== "go") {
    return attempt === null ? drop("cancelled", "it was cancelled", say) : { step: { do: "end" }, say };
  }
  if (s.asked) {
    return attempt === null ? drop("link_lost", "the source gave up", say) : { step: { do: "end" }, say };
  }
  return attempt === null ? { step: { do: "attempt" }, say } : { step: wait, say };
}

/** Whoever was to let it run has died, or did not say whether it did. */
function inDoubt(
  s: TargetSituation,
  { reason, message }: { reason: MigrationReason; message: string },
): TargetDecision {
  if (s.guest === "unknown") return { step: wait, say: preparing };
  if (s.guest === "running" || !s.neverRan)
    return { step: { do: "record", record: { stage: "arrived" } }, say: preparing };
  if (s.guest === "paused") return { step: s.settled ? { do: "destroy" } : wait, say: preparing };
  return drop(reason, message, preparing);
}

function committed(s: TargetSituation): TargetDecision {
  const say: TargetState = s.port === null ? preparing : { is: "listening", port: s.port };
  if (s.port === null) return { step: { do: "listen" }, say };
  const { guest, memory, attempt } = s;
  if (guest === "running") {
    if (memory === "unknown") return { step: wait, say };
    return { step: { do: "record", record: { stage: memory === "whole" ? "arrived" : "fetching" } }, say };
  }
  // libvirt's answer is waited for by who has asked it.
  if (guest === "off" && attempt?.is !== "finishing") {
    // It ended in its first moment here: what the source has of it is older than its disks.
    if (s.ran) return { step: { do: "record", record: { stage: "arrived" } }, say };
    const { reason, message } = attempt?.is === "failed" ? attempt : begunAnew;
    return drop(reason, message, say);
  }
  if (guest !== "paused" || attempt?.is === "finishing")
    return { step: s.released && guest === "paused" ? { do: "destroy" } : wait, say };
  if (s.released) return { step: { do: "destroy" }, say };
  // Memory comes while it is paused: the source has switched, and never runs it again.
  return { step: memory === "coming" || memory === "missing" ? { do: "resume" } : wait, say };
}

function fetching(s: TargetSituation): TargetDecision {
  const say: TargetState = { is: "fetching", port: s.port };
  const { guest, memory } = s;
  if (guest === "off" || (guest !== "unknown" && memory === "whole")) {
    return { step: { do: "record", record: { stage: "arrived" } }, say };
  }
  if (s.port === null) return { step: { do: "listen" }, say };
  return { step: guest !== "unknown" && memory === "missing" && s.released ? { do: "destroy" } : wait, say };
}

const begunAnew = {
  reason: "restarted",
  message: "the target's Compute began anew in the middle of it",
} as const;

function sayOf({ attempt, port }: TargetSituation): TargetState {
  if (attempt?.is === "listening" || attempt?.is === "promising") return { is: "listening", port: attempt.port };
  if (attempt?.is === "preparing") return { is: "preparing", step: attempt.step };
  // Still there for the same source: another word would set both hosts to work in the guest's first moments here.
  if (attempt?.is === "finishing" && port !== null) return { is: "listening", port };
  return preparing;
}

function afterFailure(
  s: TargetSituation,
  { reason, message }: { reason: MigrationReason; message: string },
  say: TargetState,
): TargetDecision {
  if (s.guest === "paused") return { step: { do: "destroy" }, say };
  return drop(reason, message, say);
}

function afterDropping(s: TargetSituation): TargetStep {
  switch (s.guest) {
    case "paused":
      return { do: "destroy" };
    case "off":
      return s.wish === "over" ? { do: "clean" } : wait;
    // Not by this migration: nothing here ends it.
    case "running":
    case "held":
    case "unknown":
      return wait;
    default:
      return unreachable(s.guest);
  }
}
