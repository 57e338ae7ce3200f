/** What an accepted request (see request-queue.ts) orders of an instance. */
import { unreachable } from "../lib/errors.ts";
import type { StopMode } from "./instance.ts";
import type { PowerRequest } from "./request-queue.ts";
import type { Instance } from "./wanted.ts";

/** The changes that an accepted request makes to what is wanted; a back-off of VStation's own is over with it. */
export function ordered(facts: Instance, request: PowerRequest): Partial<Instance> {
  return { ...change(facts, request), notBefore: null };
}

/** What another type or address orders: the guest, if one may run, goes down first. */
export function orderedAtRest(runs: boolean): Partial<Instance> {
  return { power: { is: "stopped", how: runs ? "soft_first" : "hard" }, failure: null, quickEnds: 0, notBefore: null };
}

function change(facts: Instance, request: PowerRequest): Partial<Instance> {
  switch (request.action) {
    case "start": {
      const ended = facts.seen?.phase.is === "exited" ? facts.seen.phase.incarnation : 0;
      const incarnation = Math.max(facts.incarnation, ended) + 1;
      return { power: { is: "running" }, incarnation, resets: 0, runningSince: null, failure: null, quickEnds: 0 };
    }
    case "stop":
      return { power: { is: "stopped", how: request.how }, failure: null, quickEnds: 0 };
    case "reboot":
      return reboot(facts, request.how);
    case "reinstall":
      return { power: { is: "stopped", how: "hard" }, failure: null, quickEnds: 0 };
    case "terminate":
      return { power: { is: "gone", purpose: "terminate" } };
    default:
      return unreachable(request);
  }
}

/**
 * A hard reboot is a reset of the running guest. A soft one is a soft stop and then a new start, both under one operation: the
 * guest goes down in its own order, and one that does not follow is left running and said so.
 */
function reboot(facts: Instance, how: StopMode): Partial<Instance> {
  if (how === "hard" && facts.power.is === "running") return { resets: facts.resets + 1 };
  return { power: { is: "stopped", how } };
}
