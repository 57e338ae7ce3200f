/**
 * Whether a move is tried again after one that came to nothing, and when. What may be otherwise next time is: a host or program that began
 * anew, a link that broke, a target that could not, a guest that was busy. What two hosts are to each other is not; but where nobody named the
 * target another one may be as it must. What was somebody's wish, or the guest's own end, is final.
 */
import type { HostId } from "../../lib/ids.ts";
import type { MigrationReason } from "./halves.ts";
import { operationCodeOf } from "./migration.ts";

/** Of one request, the first try included. */
export const mostTries = 8;
export const defaultTries = 4;

const retryMs = 5_000;
/** Who asks again for what was tried often does not wait for hours. */
const mostDoublings = 4;
/** As many tries at one target; then another one, where there is another. */
const triesAtOneTarget = 2;

type Kind = "transient" | "load" | "elsewhere" | "final";

const kinds: Readonly<Record<MigrationReason, Kind>> = {
  cancelled: "final",
  guest_ended: "final",
  target_refused: "transient",
  link_lost: "transient",
  copy_failed: "transient",
  restarted: "transient",
  not_trusted: "elsewhere",
  not_in_time: "load",
  // Its storage may have stopped it, which passes.
  guest_not_running: "transient",
  guest_busy: "transient",
  guest_blocked: "final",
  cpu_differs: "elsewhere",
  machine_differs: "elsewhere",
  disk_missing: "elsewhere",
  disk_differs: "elsewhere",
  state_local: "final",
  memory_missing: "elsewhere",
  ports_taken: "transient",
  postcopy_unavailable: "elsewhere",
  clock_differs: "elsewhere",
};

export interface Failure {
  /** With which its operation ended. */
  readonly code: string;
  /** Which of the request's tries it was, from 1 on. */
  readonly attempt: number;
}

export type AfterFailure =
  | { readonly again: false }
  /** `strike`: the guest was too busy, and goes behind those that are not. */
  | { readonly again: true; readonly afterMs: number; readonly strike: boolean };

export interface Wanted {
  /** In all, at most. */
  readonly tries: number;
  /** The only target that will do; null: whichever fits. */
  readonly to: HostId | null;
}

/** `random` from 0 to 1: what failed together does not come back in one instant. */
export function afterFailure({ code, attempt }: Failure, { tries, to }: Wanted, random: number): AfterFailure {
  const kind = kindOf(code);
  const isFinal = kind === "final" || (kind === "elsewhere" && to !== null);
  if (isFinal || attempt >= tries) return { again: false };
  const whole = retryMs * 2 ** Math.min(attempt - 1, mostDoublings);
  return { again: true, afterMs: Math.round(whole * (0.75 + random / 2)), strike: kind === "load" };
}

function kindOf(code: string): Kind {
  const reason = (Object.keys(kinds) as MigrationReason[]).find((one) => operationCodeOf[one] === code);
  return reason === undefined ? "final" : kinds[reason];
}

/** A try that has ended. */
export interface Tried {
  readonly at: HostId;
  /** With which its operation ended; null: it did not fail. */
  readonly code: string | null;
}

/** Targets that will not do, or at which it failed too often; to be avoided where there are others. */
export function targetsToAvoid(tried: readonly Tried[]): HostId[] {
  const times = new Map<HostId, number>();
  for (const { at, code } of tried) {
    const counts = code !== null && kindOf(code) === "elsewhere" ? triesAtOneTarget : 1;
    times.set(at, (times.get(at) ?? 0) + counts);
  }
  return [...times].filter(([, count]) => count >= triesAtOneTarget).map(([host]) => host);
}

/**
 * What refused to begin a try, and so left everything as it was: `passing` without anybody's doing, `room` when others leave some, `blocked`
 * until somebody does something about it.
 */
export function refusalOf(code: string): "passing" | "room" | "blocked" {
  if (code === "InsufficientCapacity") return "room";
  return passing.has(code) ? "passing" : "blocked";
}

const passing: ReadonlySet<string> = new Set([
  "OperationInProgress",
  "MigrationUnfinished",
  "MigrationQueued",
  "DiskBusy",
  "HostUnreachable",
  "HostNotReady",
]);

/** One that waits, and was last told this, needs more than time. */
export function isStuck(code: string): boolean {
  return !isNotRunning(code) && kindOf(code) === "final" && refusalOf(code) !== "passing";
}

/** Its guest starts, ends or begins anew at present: a drain waits for what becomes of it. */
export function isNotRunning(code: string): boolean {
  return notRunning.has(code);
}

const notRunning: ReadonlySet<string> = new Set(["WrongState", "GuestEnded"]);
