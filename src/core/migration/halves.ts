/**
 * The words that the two halves of a live migration say of themselves. The wire schema is src/api/agent-migration.ts, which stands above
 * this folder; a type test beside this file keeps the two equal.
 *
 * The one thing that these words protect: **a guest never runs in two places**. It may run at the source until the source says `left`
 * or is paused in `handing`; it may run at the target from `arrived` on. `dropped` and `arrived` are final and durable before they
 * are said, and so are `stayed` and `left`: whatever was said once is true for good, however often either program dies.
 *
 * By post-copy there is a time between: `fetching` at the target (the guest runs there, and memory of it is only at the source) and `feeding` at
 * the source. It is durable at the target before it is said, and leads to `arrived` alone. In it neither side's guest may be ended by
 * anything here: the two together are the guest.
 */
import { preflightReasons } from "./preflight.ts";

/** How far the copy is, by QEMU's own count. Bytes, bytes per second, milliseconds. */
export interface Progress {
  /** Rounds over the memory that have begun. */
  readonly pass: number;
  readonly totalBytes: number;
  readonly sentBytes: number;
  readonly remainingBytes: number;
  readonly dirtyBytesPerSecond: number;
  readonly bytesPerSecond: number;
  /** The share of the time for which the guest's processors rest, for the copy's sake. */
  readonly throttlePercent: number;
  /** The pause that is allowed now. */
  readonly limitMs: number;
  /** Of the disks that are copied with the memory; left out: none is. */
  readonly disks?: { readonly totalBytes: number; readonly remainingBytes: number } | undefined;
}

/** How memory and disks go over: `tls` by the certificates of the hosts' QEMUs, or in plain text. */
export const migrationTransports = ["tls", "plain"] as const;
export type MigrationTransport = (typeof migrationTransports)[number];

/** For one guest's memory. More than sixteen fill no link better: a hundred Gbit/s take eight to sixteen. */
export const mostConnections = 16;

/** Why a migration came to nothing; names are stable. */
export const migrationReasons = [
  ...preflightReasons,
  /** Somebody asked for that. */
  "cancelled",
  /** The guest ended, or was ended, while its memory was copied. */
  "guest_ended",
  /** The target could not make a machine that takes the guest. */
  "target_refused",
  /** The two hosts lost each other. */
  "link_lost",
  /** A certificate of one of the two hosts is not good, or not there. */
  "not_trusted",
  /** libvirt or QEMU gave up at the source. */
  "copy_failed",
  /** The memory changed faster than it could be copied, to the deadline. */
  "not_in_time",
  /** A program or host that had a half of it began anew. */
  "restarted",
] as const;
export type MigrationReason = (typeof migrationReasons)[number];

export type SourceState =
  | { readonly is: "waiting"; readonly step: string }
  /** The guest runs here. */
  | { readonly is: "copying"; readonly progress: Progress | null }
  /** The guest is paused here, and may run at the target: only the target's word decides. */
  | { readonly is: "handing" }
  /** It runs at the target, and what that has not fetched yet of its memory is here. `broken`: nothing of it comes over at present. */
  | { readonly is: "feeding"; readonly remainingBytes: number | null; readonly broken: boolean }
  /** It runs here, or ended here, and this migration will never hand it on. */
  | { readonly is: "stayed"; readonly reason: MigrationReason; readonly message: string }
  /** It is the target's, and cannot run here again. Times of the pause in milliseconds, where they were seen. */
  | { readonly is: "left"; readonly pauseMs: number | null };

export type TargetState =
  | { readonly is: "preparing"; readonly step: string }
  /** The source may dial this port. */
  | { readonly is: "listening"; readonly port: number }
  /** It runs here, and some of its memory is at the source yet, which may dial this port (null: it is being opened anew). */
  | { readonly is: "fetching"; readonly port: number | null }
  /** It has run here and has all of its memory, or has ended here; or it will never run here by this migration. */
  | { readonly is: "arrived" }
  | { readonly is: "dropped"; readonly reason: MigrationReason; readonly message: string };

/** What became of it at the target, once that is decided; after `fetching` only `arrived` can come, and the other two are the last word. */
export const fates = ["fetching", "arrived", "dropped"] as const;
export type Fate = (typeof fates)[number];

export function fateOf(target: TargetState | null): Fate | null {
  return fates.find((fate) => fate === target?.is) ?? null;
}
