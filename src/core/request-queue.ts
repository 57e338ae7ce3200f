/**
 * What the queue says to a tenant's request, knowing the instance's state and what is already under way: accept, ignore (the
 * same is already wanted) or deny with a reason. Pure; the caller holds the row lock under which the answer stays true.
 */
import {
  allowedStates,
  type InstanceAction,
  type InstanceState,
  type OperationKind,
  type StopMode,
  type Verdict,
} from "./instance.ts";

export interface Situation {
  state: InstanceState;
  open: { kind: OperationKind; how: StopMode | null } | null;
  terminationProtection: boolean;
}

export type PowerRequest =
  | { action: "start" }
  | { action: "stop"; how: StopMode }
  | { action: "reboot"; how: StopMode }
  | { action: "terminate" }
  /** Off, and then a start from a new system disk. */
  | { action: "reinstall" };

const kindOf = {
  start: "instance.start",
  stop: "instance.stop",
  reboot: "instance.reboot",
  terminate: "instance.terminate",
  reinstall: "instance.reinstall",
} as const satisfies Record<PowerRequest["action"], OperationKind>;

const strength: Record<StopMode, number> = { soft: 0, soft_first: 1, hard: 2 };

/** Decides on a power request. The open operation, if any, is superseded by an accepted request. */
export function decideRequest(request: PowerRequest, situation: Situation): Verdict {
  const { state, open } = situation;
  if (request.action === "terminate") return decideTerminate(situation);
  if (open !== null) {
    if (open.kind === kindOf[request.action]) {
      // A guest that does not follow the soft way must be reachable by the hard one, and only that direction makes sense.
      return isHarder(request, open.how) ? { is: "accept" } : { is: "ignore" };
    }
    // A recovery is VStation's own doing, not a request: its owner may say that it should rather stay off.
    const ownerEndsRecovery = open.kind === "instance.recover" && request.action === "stop";
    // A guest that hangs on its way down keeps its reboot open for minutes: pulling the plug needs no patience.
    const endsReboot = open.kind === "instance.reboot" && request.action === "stop" && request.how === "hard";
    if (ownerEndsRecovery || endsReboot) return { is: "accept" };
    if (isAllowed(request.action, state)) return { is: "deny", reason: "operation_in_progress", operation: open.kind };
  }
  if (!isAllowed(request.action, state)) return { is: "deny", reason: "wrong_state", state };
  return { is: "accept" };
}

/**
 * Decides on another type or address. `changes`: it is not so yet; whoever asks for what is so already, because an answer was lost, is
 * told yes. `mayStop`: a guest that runs may be stopped and started again for it.
 */
export function decideChange(
  action: "resize" | "renumber",
  situation: Situation,
  ask: { changes: boolean; mayStop: boolean },
): Verdict {
  const { state, open } = situation;
  const own = open !== null && open.kind === `instance.${action}`;
  if (open !== null && !own && isAllowed(action, state)) {
    return { is: "deny", reason: "operation_in_progress", operation: open.kind };
  }
  if (!ask.changes) return state === "TERMINATING" ? { is: "deny", reason: "wrong_state", state } : { is: "ignore" };
  if (own) return { is: "deny", reason: "operation_in_progress", operation: open.kind };
  if (!isAllowed(action, state)) return { is: "deny", reason: "wrong_state", state };
  return state === "RUNNING" && !ask.mayStop ? { is: "deny", reason: "must_stop" } : { is: "accept" };
}

/** Decides on a move of the running guest to another host. */
export function decideMigrate({ state, open }: Situation): Verdict {
  if (!isAllowed("migrate", state)) return { is: "deny", reason: "wrong_state", state };
  return open === null ? { is: "accept" } : { is: "deny", reason: "operation_in_progress", operation: open.kind };
}

/** Terminating is accepted over whatever is under way but a move to another host, unless the instance is protected. */
function decideTerminate({ state, open, terminationProtection }: Situation): Verdict {
  if (state === "TERMINATING") return { is: "ignore" };
  // Which of the two hosts would have to end it is known when the move has ended.
  if (open?.kind === "instance.migrate") return { is: "deny", reason: "operation_in_progress", operation: open.kind };
  if (terminationProtection) return { is: "deny", reason: "protected" };
  return isAllowed("terminate", state) ? { is: "accept" } : { is: "deny", reason: "wrong_state", state };
}

export function isAllowed(action: InstanceAction, state: InstanceState): boolean {
  return allowedStates[action].includes(state);
}

function isHarder(request: PowerRequest, how: StopMode | null): boolean {
  if (request.action !== "stop" && request.action !== "reboot") return false;
  return how !== null && strength[request.how] > strength[how];
}
