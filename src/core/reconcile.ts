/**
 * What VStation does next about one instance: a pure function from what is wanted, what the host last said and whether the host
 * can be reached, to the changes of one transaction. It alone ends operations, decides on another start, gives a host up and
 * lets an instance go. The reconciler calls it under the row lock again and again; it takes one step and never waits.
 *
 *            run        reboot (soft), resize, renumber     stop
 *   PENDING ──────> running k ──────────────> stopped ──> running k+1     (one operation over both orders)
 *      │ start failed for good                   ▲ soft, not followed: back to running k, operation FAILED
 *      ▼
 *   gone/relocate ── host confirms gone ──> placed elsewhere, epoch + 1, start k+1
 *      │ no host left
 *      ▼
 *   gone/launch_failed
 *
 * A hard reboot is a reset of the guest of k; one that ends under it is started as k+1, and the operation is over when that runs.
 *
 * The rules it serves. **Once**: a new start is ordered only when the host has said that the present one is over (`exited`), a
 * new placement only when the old host has confirmed that nothing is left (`gone`, for this very order: by its generation).
 * **Kept**: each operation has a deadline; past it, it ends FAILED with a reason, unless only a silent host or an unfinished
 * removal holds it up: then it says so and waits, because nothing is known. **No double booking of truth**: reports are
 * judged by incarnation and generation, so a late or repeated one changes nothing.
 *
 * **One address**: a promised one becomes the instance's own only when no guest of it runs, and the former one is free only when the
 * host has answered to the order that names the new one. So no packet of it is ever from two places, and no address is two's.
 *
 * `notBefore` marks the one state that no report shows: the present start is over, the next is decided, its time has not come.
 */
import { unreachable } from "../lib/errors.ts";
import { launchHosts, operationLimit, startAttempts, waitAgainMs } from "./deadlines.ts";
import { operationFailureOf } from "./failure-codes.ts";
import { decideRestart, restartDelaysMs, stableMs } from "./restart-policy.ts";
import type { SeenPhase, SeenReason } from "./seen.ts";
import { nothing, type Decision, type HostLink, type Patch } from "./decision.ts";
import type { Failed, Instance, OpenOperation, Step } from "./wanted.ts";

/** The next step for an instance. Total: every input has a decision. `now` in ms. */
export function reconcile(instance: Instance, link: HostLink, now: number): Decision {
  const decision = reconcilePower(instance, link, now);
  return { ...decision, address: decision.address ?? otherAddressOf(instance, decision) };
}

/** A promise that nothing will fulfil any more is taken back; a former address is let go of once the host knows of the change. */
function otherAddressOf(i: Instance, decision: Decision): "letGo" | null {
  if (i.otherAddress === null || decision.release === "everything") return null;
  switch (i.otherAddress) {
    case "next":
      return i.operation?.kind === "instance.renumber" && decision.end === null ? null : "letGo";
    case "former":
      return i.hostId === null || (i.seen !== null && i.seen.generation >= i.generation) ? "letGo" : null;
    default:
      return unreachable(i.otherAddress);
  }
}

function reconcilePower(instance: Instance, link: HostLink, now: number): Decision {
  const context: Context = { i: instance, link, now };
  // Between two hosts: what either says of the guest is the migration's, whose own reconciler ends the operation.
  if (instance.operation?.kind === "instance.migrate" && instance.power.is === "running") return nothing;
  switch (instance.power.is) {
    case "gone":
      return reconcileGone(context, instance.power.purpose);
    case "running":
      return reconcileRunning(context);
    case "stopped":
      return reconcileStopped(context, instance.power.how);
    default:
      return unreachable(instance.power);
  }
}

/** No host took it after its first one failed: the end of a relocation. */
export function relocationFailed(instance: Instance): Decision {
  const first = instance.failure ?? { code: "StartFailed", message: "its first start failed" };
  return launchFailed(instance, {
    code: first.code,
    message: `${first.message} (no other host could take it)`,
  });
}

interface Context {
  i: Instance;
  link: HostLink;
  now: number;
}

/* ---------------------------------------------------------------- gone */

function reconcileGone(context: Context, purpose: "terminate" | "relocate" | "launch_failed"): Decision {
  const { i } = context;
  const confirmed = i.hostId === null || (i.seen?.phase.is === "gone" && i.seen.generation >= i.generation);
  if (!confirmed) return waitForGone(context, purpose);
  switch (purpose) {
    case "terminate":
      return { ...nothing, end: i.operation ? { as: "SUCCEEDED" } : null, release: "everything" };
    case "relocate":
      if (i.hostId !== null) return { ...nothing, release: "capacity", steps: step(i, "host.released", null) };
      return { ...nothing, place: true, dueAt: context.now + waitAgainMs };
    case "launch_failed":
      return i.hostId === null ? nothing : { ...nothing, release: "capacity" };
    default:
      return unreachable(purpose);
  }
}

function waitForGone(context: Context, purpose: "terminate" | "relocate" | "launch_failed"): Decision {
  const { i, link, now } = context;
  const operation = i.operation;
  const base = { ...nothing, ...progressOf(context) };
  if (operation === null) return base;
  if (now < operation.deadline) return { ...base, dueAt: operation.deadline };
  if (purpose === "relocate" && link === "connected") {
    // It will be cleaned up here all the same; only the owner does not wait for that any longer.
    return launchFailed(i, i.failure ?? { code: "DeadlineExceeded", message: "its host did not let go of it in time" });
  }
  return { ...base, ...keepWaiting(context, operation) };
}

/* ---------------------------------------------------------------- running */

function reconcileRunning(context: Context): Decision {
  const { i } = context;
  const phase = i.seen?.phase;
  switch (phase?.is) {
    case "running":
      return phase.incarnation === i.incarnation ? isUp(context, phase.resets) : inProgress(context);
    case "paused":
      return phase.incarnation === i.incarnation ? isUp(context, 0) : inProgress(context);
    case "exited":
      return phase.incarnation >= i.incarnation ? hasEnded(context, phase) : inProgress(context);
    case "failed":
      return phase.incarnation === i.incarnation ? hasFailed(context, phase) : inProgress(context);
    case undefined:
    case "preparing":
    case "starting":
    case "stopping":
    case "stopped":
    case "gone":
    case "stranger":
      return inProgress(context);
    default:
      return unreachable(phase);
  }
}

function isUp(context: Context, resets: number): Decision {
  const { i, now } = context;
  const patch: Patch = {};
  if (!i.launched) patch.launched = true;
  if (i.runningSince === null) patch.runningSince = now;
  if (i.failure !== null) patch.failure = null;
  if (i.notBefore !== null) patch.notBefore = null;
  const operation = i.operation;
  if (operation !== null) {
    if (operation.kind === "instance.reboot" && resets < i.resets) return { ...inProgress(context), patch };
    return { ...nothing, patch, end: { as: "SUCCEEDED" }, dueAt: stableAt(i, now) };
  }
  const stable = stableAt(i, now);
  if (stable !== null && now >= stable) return { ...nothing, patch: { ...patch, quickEnds: 0 } };
  return { ...nothing, patch, dueAt: stable };
}

/** When its quick ends will be forgotten; null if there are none. */
function stableAt(i: Instance, now: number): number | null {
  return i.quickEnds === 0 ? null : (i.runningSince ?? now) + stableMs;
}

const ownEnds: readonly SeenReason[] = ["guest_shutdown", "guest_crashed", "host_restarted"];

function hasEnded(context: Context, phase: SeenPhase & { is: "exited" }): Decision {
  const { i, now } = context;
  const operation = i.operation;
  if (operation === null) return endedByItself(context, phase);
  if (i.notBefore !== null) return startNext(context, phase.incarnation);
  const ran = ownEnds.includes(phase.reason);
  const note = `start ${phase.incarnation} ended: ${phase.message}`;
  // It was to begin anew, and to be up after that: a guest that ended on the way (its reset brought its machine down, its host lost
  // power) is started, whoever would start it otherwise. Once: the start that this orders has no reset to wait for.
  if (operation.kind === "instance.reboot" && i.resets > 0) {
    return startAnew(context, phase.incarnation + 1, step(i, "guest.ended", note));
  }
  if (ran) {
    return {
      ...nothing,
      patch: i.launched ? {} : { launched: true },
      end: { as: "SUCCEEDED" },
      steps: step(i, "guest.ended", note),
      dueAt: now,
    };
  }
  // The start itself went wrong in a way that may have run: it counts, and a new incarnation is a new start.
  const delay = i.quickEnds < startAttempts ? restartDelaysMs[i.quickEnds] : undefined;
  if (delay === undefined) return giveUp(context, failureOf(phase.reason, phase.message));
  return {
    ...nothing,
    patch: { quickEnds: i.quickEnds + 1, notBefore: now + delay },
    steps: step(i, "start.failed", note),
    dueAt: now + delay,
  };
}

function startNext(context: Context, ended: number): Decision {
  const { i, now } = context;
  const at = i.notBefore ?? now;
  if (now < at) return { ...nothing, dueAt: at };
  return {
    ...nothing,
    patch: { ...orderStart(ended + 1), notBefore: null },
    steps: step(i, "start.ordered", `start ${ended + 1}`),
    dueAt: i.operation?.deadline ?? null,
  };
}

/** The start that the open operation asked for all along, now that no guest of it runs. */
function startAnew({ now }: Context, incarnation: number, steps: Step[]): Decision {
  const deadline = now + operationLimit("instance.start", null);
  return { ...nothing, patch: orderStart(incarnation), deadline, steps, dueAt: deadline };
}

function orderStart(incarnation: number): Patch {
  return { power: { is: "running" }, incarnation, resets: 0, runningSince: null };
}

function endedByItself(context: Context, phase: SeenPhase & { is: "exited" }): Decision {
  const { i, now } = context;
  if (i.restartPolicy === "never") {
    const failure = phase.reason === "guest_shutdown" ? null : failureOf(phase.reason, phase.message);
    return { ...nothing, patch: { power: { is: "stopped", how: "hard" }, failure } };
  }
  const ranMs = i.runningSince === null ? 0 : now - i.runningSince;
  const verdict = decideRestart(i.quickEnds, ranMs, phase.reason === "host_restarted" ? "host" : "guest");
  if (verdict.is === "crash_loop") {
    const failed = {
      code: "CrashLoop",
      message: `the guest ended soon after each of ${restartDelaysMs.length + 1} starts, last: ${phase.message}; read its console log, then start it again`,
    };
    return {
      ...nothing,
      patch: { power: { is: "stopped", how: "hard" }, failure: failed, quickEnds: 0, notBefore: null },
      recover: { failed, deadline: now },
    };
  }
  return {
    ...nothing,
    patch: { quickEnds: verdict.quickEnds, notBefore: now + verdict.afterMs },
    recover: { failed: null, deadline: now + operationLimit("instance.recover", null) },
    dueAt: now + verdict.afterMs,
  };
}

function hasFailed(context: Context, phase: SeenPhase & { is: "failed" }): Decision {
  const { i } = context;
  const final = isFinal(phase.reason) || phase.attempts >= startAttempts;
  // The first word after an order may still be about what failed before it: only a further attempt under this operation counts.
  const last = i.operation?.lastStep;
  const isAnother = last?.name === "host.failed" && last.note !== noteOf(phase);
  if (i.operation === null || !final || !isAnother) return inProgress(context);
  return giveUp(context, failureOf(phase.reason, phase.message));
}

/** Trying again on the same host changes nothing. */
function isFinal(reason: SeenReason): boolean {
  return reason === "image_missing" || reason === "disk_missing" || reason === "machine_unavailable";
}

/** The start that the open operation asked for will not be made here. */
function giveUp({ i }: Context, failure: Failed): Decision {
  if (i.operation?.kind === "instance.run" && !i.launched) {
    const tried = i.hostId === null ? i.triedHosts : [...i.triedHosts, i.hostId];
    if (tried.length >= launchHosts || failure.code === "DeadlineExceeded") return launchFailed(i, failure);
    return {
      ...nothing,
      patch: { power: { is: "gone", purpose: "relocate" }, triedHosts: tried, failure, notBefore: null },
      steps: step(i, "host.given-up", failure.message),
      dueAt: i.operation.deadline,
    };
  }
  return {
    ...nothing,
    patch: { power: { is: "stopped", how: "hard" }, failure, notBefore: null },
    end: { as: "FAILED", ...failure },
  };
}

function launchFailed(i: Instance, failure: Failed): Decision {
  return {
    ...nothing,
    patch: { power: { is: "gone", purpose: "launch_failed" }, failure, notBefore: null },
    end: i.operation === null ? null : { as: "FAILED", ...failure },
  };
}

/* ---------------------------------------------------------------- stopped */

function reconcileStopped(context: Context, how: "soft" | "soft_first" | "hard"): Decision {
  const { i, link, now } = context;
  const operation = i.operation;
  if (operation === null) return nothing;
  if (isOff(i)) {
    const address = operation.kind === "instance.renumber" && i.otherAddress === "next" ? "enter" : null;
    if (startsAgain(operation)) {
      return { ...startAnew(context, lastIncarnation(i) + 1, step(i, "guest.stopped", null)), address };
    }
    if (address === null) return { ...nothing, end: { as: "SUCCEEDED" } };
    // Its host is told, and answers; then it is done.
    return { ...nothing, address, steps: step(i, "address.changed", null), dueAt: operation.deadline };
  }
  const base = { ...nothing, ...progressOf(context) };
  if (now < operation.deadline) return { ...base, dueAt: operation.deadline };
  if (link === "unreachable") return { ...base, ...keepWaiting(context, operation) };
  switch (how) {
    case "soft": {
      const message = "the guest did not follow the request to shut down in time; it runs on. Use a hard stop";
      return { ...nothing, patch: { power: { is: "running" } }, end: failedAs("GuestDidNotStop", message) };
    }
    case "soft_first": {
      const deadline = now + operationLimit("instance.stop", "hard");
      return {
        ...base,
        patch: { power: { is: "stopped", how: "hard" } },
        deadline,
        steps: step(i, "stop.hard", "the guest did not follow the soft way in time"),
        dueAt: deadline,
      };
    }
    case "hard":
      return { ...nothing, end: failedAs("DeadlineExceeded", `its host could not end it in time; ${lastWord(i)}`) };
    default:
      return unreachable(how);
  }
}

/** It was stopped only on the way to its next start; what was off when another type or address was asked for has no way to stop by. */
function startsAgain({ kind, how }: OpenOperation): boolean {
  if (kind === "instance.resize" || kind === "instance.renumber") return how !== null;
  return kind === "instance.reboot" || kind === "instance.reinstall";
}

/** No guest of it runs, and none will: the host has seen this order, or the last start is over for good. */
function isOff(i: Instance): boolean {
  const seen = i.seen;
  if (seen === null) return false;
  if (seen.phase.is === "exited") return seen.phase.incarnation >= i.incarnation;
  return (seen.phase.is === "stopped" || seen.phase.is === "gone") && seen.generation >= i.generation;
}

function lastIncarnation(i: Instance): number {
  return i.seen?.phase.is === "exited" ? Math.max(i.incarnation, i.seen.phase.incarnation) : i.incarnation;
}

/* ---------------------------------------------------------------- on the way */

function inProgress(context: Context): Decision {
  const { i, link, now } = context;
  const operation = i.operation;
  if (operation === null) return nothing;
  const base = { ...nothing, ...progressOf(context) };
  if (now < operation.deadline) return { ...base, dueAt: operation.deadline };
  if (link === "unreachable") return { ...base, ...keepWaiting(context, operation) };
  const failure = { code: "DeadlineExceeded", message: `not done in time; ${lastWord(i)}` };
  // The guest of the incarnation runs; only its reset did not come.
  if (operation.kind === "instance.reboot" && i.resets > 0) return { ...nothing, end: { as: "FAILED", ...failure } };
  return giveUp(context, failure);
}

/** What the host's report says about the open operation, written down once. */
function progressOf({ i }: Context): Pick<Decision, "taken" | "steps"> {
  const { operation, seen } = i;
  if (operation === null || seen === null || seen.generation < i.generation) return { taken: false, steps: [] };
  return { taken: operation.state === "PENDING", steps: step(i, `host.${seen.phase.is}`, noteOf(seen.phase)) };
}

function keepWaiting(
  { i, link, now }: Context,
  operation: OpenOperation,
): Pick<Decision, "deadline" | "steps" | "dueAt"> {
  const note = link === "unreachable" ? "its host is out of reach" : lastWord(i);
  // The time of an order that nobody could receive has not begun: it gets its full share once the host is back.
  const share = link === "unreachable" ? waitAgainMs : operationLimit(operation.kind, operation.how);
  return { deadline: now + share, steps: step(i, "waiting", note), dueAt: now + share };
}

function step(i: Instance, name: string, note: string | null): Step[] {
  const last = i.operation?.lastStep;
  if (i.operation === null || (last?.name === name && last.note === note)) return [];
  return [{ name, note }];
}

function failedAs(code: string, message: string): { as: "FAILED" } & Failed {
  return { as: "FAILED", code, message };
}

function failureOf(reason: SeenReason, message: string): Failed {
  return { code: operationFailureOf[reason], message };
}

function noteOf(phase: SeenPhase): string | null {
  switch (phase.is) {
    case "preparing":
      return phase.step;
    case "failed":
      return `attempt ${phase.attempts}: ${phase.message}`;
    case "exited":
      return phase.message;
    case "paused":
      return phase.reason;
    case "starting":
    case "running":
    case "stopping":
    case "stopped":
    case "gone":
    case "stranger":
      return null;
    default:
      return unreachable(phase);
  }
}

/** What the host last said, for a person. */
function lastWord(i: Instance): string {
  if (i.seen === null) return "its host has not said anything about it yet";
  const note = noteOf(i.seen.phase);
  return `its host last said: ${i.seen.phase.is}${note === null ? "" : ` (${note})`}`;
}
