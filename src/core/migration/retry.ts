/**
 * Whether a move is tried again after one that came to nothing, and when. What may be otherwise next time is: a host or program that began
 * anew, a link that broke, a target that could not, a guest that was busy. What was somebody's wish, the guest's own end, or what two hosts are
 * to each other, is not.
 */
import type { HostId } from "../../lib/ids.ts";
import type { MigrationReason } from "./halves.ts";
import { operationCodeOf } from "./migration.ts";
import type { PreflightReason } from "./preflight.ts";

/** Of one request, the first try included. */
export const mostTries = 8;
export const defaultTries = 4;

const retryMs = 5_000;
/** As many tries at one target; then another one, where there is another. */
const triesAtOneTarget = 2;

const kinds: Readonly<Record<Exclude<MigrationReason, PreflightReason>, "transient" | "load" | "final">> = {
  cancelled: "final",
  guest_ended: "final",
  target_refused: "transient",
  link_lost: "transient",
  copy_failed: "transient",
  restarted: "transient",
  not_trusted: "final",
  not_in_time: "load",
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

/** `random` from 0 to 1: what failed together does not come back in one instant. */
export function afterFailure({ code, attempt }: Failure, tries: number, random: number): AfterFailure {
  const kind = kindOf(code);
  if (kind === "final" || attempt >= tries) return { again: false };
  const whole = retryMs * 2 ** (attempt - 1);
  return { again: true, afterMs: Math.round(whole * (0.75 + random / 2)), strike: kind === "load" };
}

function kindOf(code: string): "transient" | "load" | "final" {
  const reason = (Object.keys(kinds) as (keyof typeof kinds)[]).find((one) => operationCodeOf[one] === code);
  return reason === undefined ? "final" : kinds[reason];
}

/** Targets at which it failed too often, to be avoided where there are others. */
export function targetsToAvoid(failedAt: readonly HostId[]): HostId[] {
  const times = new Map<HostId, number>();
  for (const host of failedAt) times.set(host, (times.get(host) ?? 0) + 1);
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
