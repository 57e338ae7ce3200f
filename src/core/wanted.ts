/**
 * What VStation wants of an instance and remembers about bringing it there: the facts that the pure rules in this folder read
 * and change. One row of SQL; the store maps it to and fro.
 */
import type { HostId, OperationId } from "../lib/ids.ts";
import type { OperationKind, RestartPolicy, StopMode } from "./instance.ts";
import type { Seen } from "./seen.ts";

/** Why nothing of the instance may remain on its host. */
export type GonePurpose =
  /** Its owner ended it. */
  | "terminate"
  /** Its first start failed here; once this host has confirmed that nothing is left, another host is tried. */
  | "relocate"
  /** Its first start failed for good; it stays listed as LAUNCH_FAILED until its owner ends it. */
  | "launch_failed";

/** The order to the host. `running` means the incarnation and resets beside it. */
export type WantedPower = { is: "running" } | { is: "stopped"; how: StopMode } | { is: "gone"; purpose: GonePurpose };

/** Why trying came to an end, in a sentence that says what to do. */
export interface Failed {
  code: string;
  message: string;
}

/**
 * `next`: promised to it; it gets it when its host has said that no guest of it runs. `former`: the one that it had before; it is free
 * for others when its host has said that it knows of the change. In between it has one address, and it is never in two places.
 */
export type OtherAddress = "next" | "former";

export interface OpenOperation {
  id: OperationId;
  kind: OperationKind;
  state: "PENDING" | "RUNNING";
  how: StopMode | null;
  deadline: number;
  /** What was last written down about it; the same thing is not written twice. */
  lastStep: Step | null;
}

export interface Step {
  name: string;
  note: string | null;
}

/** Times are milliseconds since 1970 by VStation's clock. */
export interface Instance {
  power: WantedPower;
  /** The last start and reset that were ordered; kept while stopped. */
  incarnation: number;
  resets: number;
  epoch: number;
  /** Of the last change that concerns the host. */
  generation: number;
  /** null: on no host (between two placements, or launch failed and cleaned up). */
  hostId: HostId | null;
  /** The last report of the present epoch. */
  seen: Seen | null;
  restartPolicy: RestartPolicy;
  /** A guest of it has run at least once. */
  launched: boolean;
  /** When the present incarnation was first seen running. */
  runningSince: number | null;
  /** Ends by itself in a row, each but the first soon after its start. */
  quickEnds: number;
  /** Back-off: the next start is not ordered before this. */
  notBefore: number | null;
  triedHosts: readonly HostId[];
  failure: Failed | null;
  /** The second address that it holds, if any. */
  otherAddress: OtherAddress | null;
  operation: OpenOperation | null;
}
