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

/** A share of 17 MiB/s of a link that many use; a move that goes no further is ended long before this. */
const moveMsPerGiB = minute;

/** As {@link operationLimit} for a move, whose memory and local disks (GiB) go over a link. */
export function moveLimit(gib: number): number {
  return operationLimit("instance.migrate", null) + Math.ceil(gib) * moveMsPerGiB;
}

/** An operation that waits for something beyond our reach (a silent host) is looked at again after this. */
export const waitAgainMs = minute;
/** Failed attempts at one start, by one host, before it counts as failed there. */
export const startAttempts = 3;
/** Hosts on which a first start is tried. */
export const launchHosts = 3;
