/**
 * What VStation does next about one live migration: a pure function from what the two halves have said to the changes of one
 * transaction. It alone writes where the instance is afterwards and how the operation ends; the halves (source.ts, target.ts) go their
 * way without it from the moment that they have each other.
 *
 *   asked for ──> both halves know ──> target arrived ──> moved: the instance is the target's ── source left ──> over
 *                       │ source stayed  
 *                       └──> operation FAILED, the instance is where it was ── target dropped ──> over
 *
 * Room at the target is taken from the first transaction until the end, room at the source until it has left; so nobody is promised
 * what a guest still uses. Each half is told the other's last word, so that the loss of their own connection is no more than a delay.
 */
import type { HostLink } from "../decision.ts";
import type { OperationFailureCode } from "../failure-codes.ts";
import { fateOf, type Fate, type MigrationReason, type SourceState, type TargetState } from "./halves.ts";

/** The facts of one migration. Times in milliseconds since 1970. */
export interface Migration {
  readonly wish: "go" | "cancel";
  readonly deadline: number;
  /** The instance is the target's. */
  readonly moved: boolean;
  /** The operation has ended. */
  readonly ended: boolean;
  readonly source: SourceState | null;
  readonly target: TargetState | null;
  readonly sourceLink: HostLink;
  /** When the source's host was last heard. */
  readonly sourceSeenAt: number;
  readonly targetLink: HostLink;
}

export interface MigrationDecision {
  /** The instance is the target's from now on: its host, its epoch, and where its addresses are found. */
  readonly move: boolean;
  /** Both halves are to come to an end. */
  readonly cancel: boolean;
  /** How the operation ends. */
  readonly end:
    | { readonly as: "SUCCEEDED" }
    | { readonly as: "FAILED"; readonly code: string; readonly message: string }
    | null;
  /** Nothing of it is open any more: room that is not used is free, and the halves forget it. */
  readonly over: boolean;
  /** For who watches: what it waits for. */
  readonly step: { readonly name: string; readonly note: string | null };
  readonly dueAt: number | null;
}

/** How long a source that is out of reach is waited for when all that it can say yet is why its guest stayed; as a source waits for a target that was never asked to let it run. */
const lostSourceMs = 30_000;

/** The next step. Total: every input has a decision. */
export function reconcileMigration(m: Migration, now: number): MigrationDecision {
  const step = stepOf(m);
  const nothing = { move: false, cancel: false, end: null, over: false, step, dueAt: null };
  if (m.moved) return { ...nothing, over: m.source?.is === "left" };
  if (m.target?.is === "arrived" || m.source?.is === "left") {
    return { ...nothing, move: true, end: m.ended ? null : { as: "SUCCEEDED" } };
  }
  if (m.source?.is === "stayed") {
    const end = m.ended ? null : failureOf(m, m.source, now);
    return { ...nothing, cancel: m.wish === "go", end, over: m.target?.is === "dropped" };
  }
  // The target never runs it any more, so the instance is where it was; its host may be lost for good.
  if (m.target?.is === "dropped" && !m.ended && m.sourceLink === "unreachable") {
    const patientUntil = m.sourceSeenAt + lostSourceMs;
    if (now < patientUntil) return { ...nothing, dueAt: patientUntil };
    const reason = m.target.reason === "link_lost" ? "link_lost" : "target_refused";
    const message = "its host is out of reach; the target has nothing of it";
    return { ...nothing, end: failureOf(m, { reason, message }, now) };
  }
  // The guest is in two halves: whatever is wanted, it becomes whole first.
  if (m.wish === "cancel" || isHalved(m)) return nothing;
  if (now >= m.deadline && m.source?.is !== "handing") return { ...nothing, cancel: true };
  return { ...nothing, dueAt: m.deadline };
}

/** Why it came to nothing, by the source's word and the target's. */
function failureOf(
  m: Migration,
  { reason, message }: { readonly reason: MigrationReason; readonly message: string },
  now: number,
): NonNullable<MigrationDecision["end"]> {
  const { message: more, reason: theirs } = m.target?.is === "dropped" ? m.target : { message: null, reason: null };
  // Where the target gave up first, it knows why; one that was left alone with it only knows that.
  const knows = reason === "target_refused" && theirs !== null && theirs !== "link_lost";
  // The target may hear of it first, and end the copy in the source's hand.
  const calledOff = m.wish === "cancel" && (reason === "copy_failed" || reason === "target_refused");
  if ((calledOff || reason === "cancelled") && now >= m.deadline) return tooLate;
  const why = knows ? (more ?? message) : message;
  const text = calledOff ? `it was called off; what ended it: ${why}` : why;
  return { as: "FAILED", code: operationCodeOf[calledOff ? "cancelled" : knows ? theirs : reason], message: text };
}

/** By post-copy: it runs at the target, and some of its memory is at the source. */
export function isHalved({ source, target }: Pick<Migration, "source" | "target">): boolean {
  return target?.is === "fetching" || source?.is === "feeding";
}

/** Nobody called it off but its deadline. */
const tooLate = {
  as: "FAILED",
  code: "MigrationNotInTime" satisfies OperationFailureCode,
  message: "it had not come to its end by its deadline",
} as const;

/** The code with which the operation ends. */
export const operationCodeOf: Readonly<Record<MigrationReason, OperationFailureCode>> = {
  cancelled: "MigrationCancelled",
  guest_ended: "GuestEnded",
  target_refused: "MigrationTargetRefused",
  link_lost: "MigrationLinkLost",
  not_trusted: "MigrationNotTrusted",
  copy_failed: "MigrationCopyFailed",
  not_in_time: "MigrationNotInTime",
  restarted: "MigrationInterrupted",
  guest_not_running: "MigrationGuestNotRunning",
  guest_busy: "MigrationGuestBusy",
  guest_blocked: "MigrationGuestBlocked",
  cpu_differs: "MigrationCpuDiffers",
  machine_differs: "MigrationMachineDiffers",
  disk_missing: "MigrationDiskMissing",
  disk_differs: "MigrationDiskDiffers",
  state_local: "MigrationStateLocal",
  memory_missing: "MigrationMemoryMissing",
  ports_taken: "MigrationPortsTaken",
  postcopy_unavailable: "MigrationPolicyUnavailable",
  clock_differs: "MigrationClockDiffers",
};

/** What a half is told of the other one. */
export function wishFor(m: Pick<Migration, "wish" | "source" | "target">): {
  readonly wish: "go" | "cancel";
  readonly port: number | null;
  readonly fate: Fate | null;
} {
  const { wish, target } = m;
  const port = target?.is === "listening" || target?.is === "fetching" ? target.port : null;
  return { wish, port, fate: fateOf(target) };
}

/**
 * Which half is told that it is over: each as soon as nothing that it does changes the end any more, so that a host which is out of
 * reach for long does not keep the other one's worker from the guest. The source that stayed hands nothing on, whatever becomes
 * of the target; the target that has the guest keeps it, the one that dropped it is not waited for by who waits for the source, and
 * VStation tells its word to a source that still asks for it.
 */
export function isOverFor(m: Pick<Migration, "moved" | "ended" | "source" | "target"> & { readonly over: boolean }): {
  readonly source: boolean;
  readonly target: boolean;
} {
  return {
    source: m.over || m.source?.is === "stayed",
    target: m.over || m.moved || (m.ended && m.target?.is === "dropped"),
  };
}

export const migrationPhases = ["queued", "preparing", "copying", "handing", "fetching", "clearing", "ended"] as const;
/** `queued`: nothing was done for it yet. `fetching`: it runs at the target, and fetches the rest of its memory. `clearing`: where the guest goes on is decided, and a host has not yet let go of what it had of it. */
export type MigrationPhase = (typeof migrationPhases)[number];

/** How far it is, for who watches. `over`: nothing of it is open any more. */
export function phaseOf({
  over,
  moved,
  ended,
  source,
  target,
}: Pick<Migration, "moved" | "ended" | "source" | "target"> & { readonly over: boolean }): Exclude<
  MigrationPhase,
  "queued"
> {
  if (over) return "ended";
  if (moved || ended || source?.is === "stayed" || source?.is === "left" || target?.is === "arrived") return "clearing";
  if (isHalved({ source, target })) return "fetching";
  return source?.is === "copying" || source?.is === "handing" ? source.is : "preparing";
}

function stepOf({ source, target, sourceLink, targetLink, wish }: Migration): MigrationDecision["step"] {
  if (source?.is === "feeding" && source.broken) {
    return {
      name: "source.feeding",
      note: "the rest of its memory does not come over; the hosts are joined again as soon as they reach each other",
    };
  }
  if (sourceLink === "unreachable") return { name: "waiting", note: "its host is out of reach" };
  if (targetLink === "unreachable") return { name: "waiting", note: "the target is out of reach" };
  if (source?.is === "copying" || source?.is === "handing" || source?.is === "feeding")
    return { name: `source.${source.is}`, note: null };
  if (wish === "cancel") return { name: "cancelling", note: null };
  if (target?.is === "preparing") return { name: "target.preparing", note: target.step };
  return { name: target === null ? "waiting" : `target.${target.is}`, note: null };
}
