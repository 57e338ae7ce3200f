/**
 * What a host says of an instance, as the pure rules need it. The wire schema is in src/api/agent.ts, which stands above this
 * folder; a type test beside this file keeps the two equal.
 */

/** Why a guest is not running although nobody asked for that, or why a step cannot be done. */
export const seenReasons = [
  "guest_shutdown",
  "guest_crashed",
  "host_restarted",
  "start_failed",
  "image_missing",
  "machine_unavailable",
  "disk_missing",
  "out_of_space",
  "io_error",
  "network_failed",
  "paused_outside",
] as const;
export type SeenReason = (typeof seenReasons)[number];

export type SeenPhase =
  | { is: "preparing"; step: string }
  | { is: "starting"; incarnation: number }
  | { is: "running"; incarnation: number; resets: number; startedAt: string }
  | { is: "paused"; incarnation: number; reason: SeenReason }
  | { is: "stopping"; incarnation: number }
  | { is: "exited"; incarnation: number; reason: SeenReason; message: string }
  | { is: "stopped" }
  | { is: "failed"; incarnation: number; reason: SeenReason; message: string; attempts: number }
  | { is: "gone" }
  | { is: "stranger"; running: boolean };

/** The last report about an instance from the host it is placed on. */
export interface Seen {
  epoch: number;
  /** Generation of the wanted document it answers to. */
  generation: number;
  phase: SeenPhase;
}
