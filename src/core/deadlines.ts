/** How long each kind of operation may take before it ends or says why it waits, in milliseconds. */
import type { OperationKind, StopMode } from "./instance.ts";

const minute = 60_000;

/** A first start may fetch an image and fill a disk; the others only touch what is already on the host. */
const operationMs: Record<OperationKind, number> = {
  "instance.run": 10 * minute,
  "instance.start": 5 * minute,
  "instance.stop": 5 * minute,
  "instance.reboot": 5 * minute,
  "instance.resize": 5 * minute,
  "instance.renumber": 5 * minute,
  "instance.terminate": 5 * minute,
  "instance.reinstall": 10 * minute,
  "instance.migrate": 10 * minute,
  "instance.recover": 10 * minute,
};

/** Time from its acceptance until an operation of this kind must end. */
export function operationLimit(kind: OperationKind, how: StopMode | null): number {
  // A host gives a soft_first stop a minute before it turns hard by itself; a lost one is not worth five.
  if (kind === "instance.stop" && how === "hard") return 2 * minute;
  return operationMs[kind];
}

/** An operation that waits for something beyond our reach (a silent host) is looked at again after this. */
export const waitAgainMs = minute;
/** Failed attempts at one start, by one host, before it counts as failed there. */
export const startAttempts = 3;
/** Hosts on which a first start is tried. */
export const launchHosts = 3;
