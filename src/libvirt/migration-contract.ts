/**
 * The verbs of a live migration, phase by phase, so that each side runs its own half on its own socket and no daemon ever
 * talks to another one.
 *
 *   source: begin -> cookie, xml          target: prepare(cookie, xml) -> cookie, uri
 *   source: perform(cookie, uri) -> cookie (runs for the whole copy; abort with jobAbort)
 *                                         target: finish(cookie, cancelled) -> the domain, running, and a cookie
 *   source: confirm(cookie, cancelled): destroys the source's half, or lets it run on
 *
 * Who decides `cancelled`: perform failed -> finish(cancelled) on the target, confirm(cancelled) on the source. Perform worked
 * -> finish(); if finish itself fails -> confirm(cancelled), the source resumes. When the connection to a daemon is lost in
 * the middle the outcome is unknown until both sides' states were re-read.
 */
import type { CallOptions, DomainRef, StatValues } from "./contract.ts";

export type MigrationFlag =
  | "live"
  | "peer2peer"
  | "tunnelled"
  | "persist-dest"
  | "undefine-source"
  | "paused"
  | "non-shared-disk"
  | "non-shared-inc"
  | "change-protection"
  | "unsafe"
  | "offline"
  | "compressed"
  | "abort-on-error"
  | "auto-converge"
  | "rdma-pin-all"
  | "postcopy"
  | "tls"
  | "parallel"
  | "non-shared-synchronous-writes"
  | "postcopy-resume"
  | "zerocopy";

/** What a phase may be told. Each phase ignores what is not its own; pass the same set to all. */
export interface MigrationParams {
  /** Where QEMU listens and connects: "tcp://192.0.2.7:49152". */
  uri?: string;
  listenAddress?: string;
  /** The name the domain has on the target. */
  destinationName?: string;
  /** The target's XML: same guest-visible hardware, other host resources. */
  destinationXml?: string;
  persistentXml?: string;
  /** MiB/s. */
  bandwidth?: bigint;
  bandwidthPostcopy?: bigint;
  /** MiB/s that the switch-over may assume (QEMU's avail-switchover-bandwidth). */
  bandwidthSwitchover?: bigint;
  graphicsUri?: string;
  /** Disk targets to copy ("vda"); left out means all that are not shared. */
  disks?: readonly string[];
  disksPort?: number;
  disksUri?: string;
  compression?: readonly ("mt" | "xbzrle" | "zlib" | "zstd")[];
  compressionXbzrleCache?: bigint;
  compressionZstdLevel?: number;
  autoConvergeInitial?: number;
  autoConvergeIncrement?: number;
  parallelConnections?: number;
  tlsDestination?: string;
}

export interface MigrationOptions extends CallOptions {
  readonly flags: readonly MigrationFlag[];
  readonly params: MigrationParams;
}

export type JobType = "none" | "bounded" | "unbounded" | "completed" | "failed" | "cancelled" | "unknown";

export interface JobStats {
  readonly type: JobType;
  /** libvirt's fields by its own names: "memory_remaining", "downtime", "memory_iteration" ... */
  readonly values: StatValues;
}

export interface MigrationVerbs {
  migrateBegin(domain: DomainRef, options: MigrationOptions): Promise<{ cookie: Uint8Array; xml: string }>;
  migratePrepare(
    cookie: Uint8Array,
    options: MigrationOptions,
  ): Promise<{ cookie: Uint8Array; uri: string | undefined }>;
  /** The whole copy happens inside this call: give it the migration's deadline. */
  migratePerform(domain: DomainRef, cookie: Uint8Array, options: MigrationOptions): Promise<{ cookie: Uint8Array }>;
  /** With `cancelled` the target's half is thrown away, and no domain comes back. */
  migrateFinish(
    cookie: Uint8Array,
    cancelled: boolean,
    options: MigrationOptions,
  ): Promise<{ domain: DomainRef | undefined; cookie: Uint8Array }>;
  migrateConfirm(domain: DomainRef, cookie: Uint8Array, cancelled: boolean, options: MigrationOptions): Promise<void>;
  migrateSetMaxDowntime(domain: DomainRef, ms: bigint, options?: CallOptions): Promise<void>;
  /** MiB/s. */
  migrateSetMaxSpeed(domain: DomainRef, mibPerSecond: bigint, options?: CallOptions): Promise<void>;
  migrateSetCompressionCache(domain: DomainRef, bytes: bigint, options?: CallOptions): Promise<void>;
  migrateStartPostcopy(domain: DomainRef, options?: CallOptions): Promise<void>;
  jobStats(domain: DomainRef, options?: CallOptions & { completed?: boolean; keep?: boolean }): Promise<JobStats>;
  /** Cancels the running job; `postcopy` pauses a post-copy migration instead of cancelling. */
  jobAbort(domain: DomainRef, options?: CallOptions & { postcopy?: boolean }): Promise<void>;
}
