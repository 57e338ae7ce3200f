/**
 * What an instance is to everyone who asks: its states, its operations and which action each state allows.
 *
 * Three layers, one writer each. **Wanted** (VStation, by an accepted request or the restart policy), **seen** (Compute), and the
 * **state** below, which nobody writes: `core/instance-state.ts` derives it from the two and from the open operation, so that no
 * third truth can disagree with them.
 */

/** As clients of the CVM API know them; see the state table in docs/architecture.md. */
export const instanceStates = [
  "PENDING",
  "LAUNCH_FAILED",
  "RUNNING",
  "STOPPED",
  "STARTING",
  "STOPPING",
  "REBOOTING",
  "TERMINATING",
] as const;
export type InstanceState = (typeof instanceStates)[number];

export const instanceActions = [
  "start",
  "stop",
  "reboot",
  "resize",
  "renumber",
  "terminate",
  "modify",
  "reinstall",
  "migrate",
] as const;
export type InstanceAction = (typeof instanceActions)[number];

/** The states in which each action is accepted; the server enforces this table, the CLI and the console explain from it. */
export const allowedStates: Record<InstanceAction, readonly InstanceState[]> = {
  start: ["STOPPED"],
  stop: ["RUNNING"],
  reboot: ["RUNNING"],
  /** One that runs must be allowed to be stopped for it. */
  resize: ["RUNNING", "STOPPED"],
  renumber: ["RUNNING", "STOPPED"],
  terminate: ["PENDING", "LAUNCH_FAILED", "RUNNING", "STOPPED", "STARTING", "STOPPING", "REBOOTING"],
  reinstall: ["RUNNING", "STOPPED"],
  modify: ["PENDING", "RUNNING", "STOPPED", "STARTING", "STOPPING", "REBOOTING"],
  /** Only operators ask for it. */
  migrate: ["RUNNING"],
};

/** What the request queue says to an action, knowing the state and what is already under way. */
export type Verdict =
  | { is: "accept" }
  /** The same thing is already wanted: answer success, do nothing. */
  | { is: "ignore" }
  | { is: "deny"; reason: "wrong_state"; state: InstanceState }
  /** It runs, and nobody said that it may be stopped for that. */
  | { is: "deny"; reason: "must_stop" }
  | { is: "deny"; reason: "operation_in_progress"; operation: OperationKind }
  | { is: "deny"; reason: "protected" };

export const operationKinds = [
  "instance.run",
  "instance.start",
  "instance.stop",
  "instance.reboot",
  /** Another type: at once if it is off, else over a stop and a start. */
  "instance.resize",
  /** Another address, subnet or VPC: like another type, over a stop and a start unless it is off. */
  "instance.renumber",
  "instance.terminate",
  /** A new system disk, and a start from it. */
  "instance.reinstall",
  /** Its guest goes on at another host. How it ends is written by the reconciler of migrations. */
  "instance.migrate",
  /** VStation's own: a guest that ended by itself is started again. */
  "instance.recover",
] as const;
export type OperationKind = (typeof operationKinds)[number];

export const operationStates = ["PENDING", "RUNNING", "SUCCEEDED", "FAILED"] as const;
export type OperationState = (typeof operationStates)[number];

/** What an instance may be handed at its first boot. */
export const userDataBytes = 16 * 1024;

export const restartPolicies = ["always", "never"] as const;
export type RestartPolicy = (typeof restartPolicies)[number];

export type StopMode = "soft" | "soft_first" | "hard";
