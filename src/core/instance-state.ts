/**
 * The state an instance's owner is shown: derived from what is wanted, what was seen and the open operation, never stored.
 *
 * An open operation names the transition. Without one the wanted power names the resting state, corrected where the host has
 * said otherwise: an instance that should be off and still runs is STOPPING, not STOPPED, and a guest that ended by itself
 * is not RUNNING. The store evaluates the same rules in SQL to filter and page; a test compares the two over every input.
 */
import { unreachable } from "../lib/errors.ts";
import type { InstanceState, OperationKind, RestartPolicy } from "./instance.ts";
import type { SeenPhase } from "./seen.ts";
import type { WantedPower } from "./wanted.ts";

export interface StateInput {
  power: WantedPower;
  /** Of the present epoch. */
  seen: SeenPhase["is"] | null;
  open: OperationKind | null;
  restartPolicy: RestartPolicy;
}

/** Total: every combination has a state. */
export function instanceState({ power, seen, open, restartPolicy }: StateInput): InstanceState {
  if (power.is === "gone") {
    switch (power.purpose) {
      case "terminate":
        return "TERMINATING";
      case "relocate":
        return "PENDING";
      case "launch_failed":
        return "LAUNCH_FAILED";
      default:
        return unreachable(power.purpose);
    }
  }
  // Another type or address is nothing that its owner sees but for the stop and the start that it may need.
  if (open === "instance.resize" || open === "instance.renumber") {
    return power.is === "running" ? "STARTING" : stopped(seen);
  }
  // Its guest runs at one place or the other, and its owner sees no difference.
  if (open === "instance.migrate") return power.is === "running" ? "RUNNING" : stopped(seen);
  if (open !== null) return transition(open);
  if (power.is === "stopped") return stopped(seen);
  if (seen !== null && isOver(seen)) return restartPolicy === "always" ? "STARTING" : "STOPPED";
  return "RUNNING";
}

function stopped(seen: SeenPhase["is"] | null): InstanceState {
  return seen !== null && mayRun(seen) ? "STOPPING" : "STOPPED";
}

function transition(
  open: Exclude<OperationKind, "instance.resize" | "instance.renumber" | "instance.migrate">,
): InstanceState {
  switch (open) {
    case "instance.run":
      return "PENDING";
    case "instance.start":
    case "instance.recover":
      return "STARTING";
    case "instance.stop":
      return "STOPPING";
    case "instance.reboot":
    case "instance.reinstall":
      return "REBOOTING";
    case "instance.terminate":
      return "TERMINATING";
    default:
      return unreachable(open);
  }
}

/** In this phase a guest runs, or the host does not say that none does. */
export function mayRun(phase: SeenPhase["is"]): boolean {
  switch (phase) {
    case "starting":
    case "running":
    case "paused":
    case "stopping":
    case "failed":
    case "stranger":
      return true;
    case "preparing":
    case "exited":
    case "stopped":
    case "gone":
      return false;
    default:
      return unreachable(phase);
  }
}

/** The guest has ended by itself. */
function isOver(phase: SeenPhase["is"]): boolean {
  return phase === "exited";
}
