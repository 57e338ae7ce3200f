/**
 * What a disk is to everyone who asks, and what VStation does next about one that something is under way with: pure rules.
 *
 *   create ──> UNATTACHED ──attach──> ATTACHING ──seen in the machine──> ATTACHED ──detach──> DETACHING ──seen no more──> UNATTACHED
 *      │ from a snapshot                  │ not in time, or refused         │ resize: EXPANDING      │ the guest holds on to it:
 *      └> DUMPING ──job done──> UNATTACHED└──> DETACHING (with the reason)  │ apply: ROLLBACKING     └──> ATTACHED (with the reason)
 *
 * Like an instance's, the state is derived and never stored; what is stored is the one piece of `work` that is open. An attach
 * or a detach is an order to the instance's host; only what the host says for that very order (by generation) ends it. So a
 * disk is free for another machine only once its present host has said that it is in none.
 */
import { unreachable } from "../lib/errors.ts";
import type { JobId, SnapshotId } from "../lib/ids.ts";

export const diskUsages = ["SYSTEM_DISK", "DATA_DISK"] as const;
export type DiskUsage = (typeof diskUsages)[number];

/** Types as clients name them; what is behind each is the zone's affair ({@link driverOf}). */
export const diskTypes = [
  "LOCAL_BASIC",
  "LOCAL_SSD",
  "CLOUD_BASIC",
  "CLOUD_SSD",
  "CLOUD_PREMIUM",
  "CLOUD_BSSD",
  "CLOUD_HSSD",
  "CLOUD_TSSD",
] as const;
export type DiskType = (typeof diskTypes)[number];

export type DiskWork =
  | { is: "attach" }
  | { is: "detach" }
  | { is: "resize" }
  /** Its content becomes a snapshot's: of a disk that is there, or of a new one (`first`). */
  | { is: "apply"; jobId: JobId; snapshotId: SnapshotId; first: boolean };

export const diskStates = [
  "UNATTACHED",
  "ATTACHING",
  "ATTACHED",
  "DETACHING",
  "EXPANDING",
  "ROLLBACKING",
  "DUMPING",
] as const;
export type DiskState = (typeof diskStates)[number];

export function diskState(work: DiskWork | null, isAttached: boolean): DiskState {
  switch (work?.is) {
    case undefined:
      return isAttached ? "ATTACHED" : "UNATTACHED";
    case "attach":
      return "ATTACHING";
    case "detach":
      return "DETACHING";
    case "resize":
      return "EXPANDING";
    case "apply":
      return work.first ? "DUMPING" : "ROLLBACKING";
    default:
      return unreachable(work);
  }
}

/** A cloud disk lies in the zone's shared folder where there is one, else like a local one on the host of its first attach. */
export function driverOf(type: DiskType, zoneHasShared: boolean): "local" | "shared" {
  return type.startsWith("CLOUD_") && zoneHasShared ? "shared" : "local";
}

/** How long a host and its guest may take for one piece of work before it is given up with a reason. */
export const diskWorkMs = 120_000;

export interface DiskFacts {
  work: DiskWork;
  sizeGiB: number;
  /** Milliseconds since 1970. */
  deadline: number;
  /** What the host says of the instance that has it, for the order that is open (null: not yet). */
  seen: { isIn: boolean; sizeGiB: number; problem: string | null } | null;
  hostReachable: boolean;
  job: { is: "waiting" | "running" } | { is: "done" } | { is: "failed"; message: string } | null;
}

export type DiskDecision =
  /** Nothing to do before `until`; `problem` is what is shown meanwhile (undefined: as before). */
  | { is: "wait"; until: number; deadline?: number; problem?: string }
  /** It is as wanted. */
  | { is: "settled" }
  /** It is in no machine any more. */
  | { is: "released" }
  /** What was asked for will not come about; it stays, or becomes, what `then` says. */
  | { is: "given-up"; problem: string; then: "attached" | "detach" | "unchanged" | "again" };

const lookAgainMs = 60_000;

/** Total: every input has a decision. */
export function decideDisk(facts: DiskFacts, now: number): DiskDecision {
  const { work, seen } = facts;
  switch (work.is) {
    case "attach":
      if (seen?.isIn === true && seen.sizeGiB >= facts.sizeGiB) return { is: "settled" };
      return orLate(facts, now, "detach", seen?.problem ?? "the machine did not take it in time");
    case "detach":
      if (seen?.isIn === false) return { is: "released" };
      return orLate(
        facts,
        now,
        "attached",
        seen?.problem ?? "the guest did not let go of it in time; unmount it there, or stop the instance first",
      );
    case "resize":
      if (seen?.isIn === true && seen.sizeGiB >= facts.sizeGiB) return { is: "settled" };
      return orLate(facts, now, "unchanged", seen?.problem ?? "it was not made larger in time; its host tries again");
    case "apply":
      if (facts.job?.is === "done") return { is: "settled" };
      if (facts.job?.is === "failed") {
        return { is: "given-up", problem: facts.job.message, then: work.first ? "again" : "unchanged" };
      }
      return { is: "wait", until: now + lookAgainMs };
    default:
      return unreachable(work);
  }
}

function orLate(
  facts: DiskFacts,
  now: number,
  then: "attached" | "detach" | "unchanged",
  problem: string,
): DiskDecision {
  if (now < facts.deadline) return { is: "wait", until: facts.deadline };
  if (facts.hostReachable) return { is: "given-up", problem, then };
  // Nobody could receive the order: nothing is known, so nothing is given up.
  const deadline = now + lookAgainMs;
  return { is: "wait", until: deadline, deadline, problem: "its host is out of reach" };
}
