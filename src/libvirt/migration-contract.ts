/**
 * The verbs of a live migration, phase by phase, so that each side runs its own half on its own socket and no daemon ever
 * talks to another one.
 *
 *   source: begin                      -> cookie, xml
 *   target: prepare(cookie, xml)       -> cookie, uri: QEMU listens there, paused
 *   source: perform(cookie, uri)       -> cookie: the whole copy, ends with the source paused (jobAbort cancels)
 *   target: finish(cookie, cancelled)  -> the domain, running, and a cookie; or with cancelled the target's half is gone
 *   source: confirm(cookie, cancelled): the source's half is gone; or with cancelled it runs on
 *
 * Who decides `cancelled`: perform failed -> finish(cancelled) on the target; libvirt has put the source right by itself then, and a
 * confirm(cancelled) finds nothing to do. Perform worked -> finish; if finish itself says that the domain did not come up ->
 * confirm(cancelled), the source resumes. When a connection is lost in the middle the outcome is unknown until both sides'
 * states were re-read; and a daemon throws away its half of an unfinished migration when the connection that began it ends.
 * The phases of one half are therefore verbs of a connection of their own, which ends with it (`openMigration`).
 */
import type { CallOptions, DomainRef, StatValues } from "./contract.ts";
import type { LibvirtError } from "./errors.ts";

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

export interface Begun {
  readonly cookie: Uint8Array;
  /** What the domain looks like on the target: options.params.destinationXml, completed by libvirt. */
  readonly xml: string;
}

export interface Prepared {
  readonly cookie: Uint8Array;
  /** Where the target's QEMU listens, unless it was told by `params.uri` alone. */
  readonly uri: string | undefined;
}

export interface Finished {
  /** As it runs on the target; undefined after a cancelled migration. */
  readonly domain: DomainRef | undefined;
  readonly cookie: Uint8Array;
  /** After a cancelled migration: what the target has to say about why its half failed, if anything. */
  readonly complaint: LibvirtError | undefined;
}

/** The phases of one migration at one host. */
export interface MigrationPhases {
  /** Source. Give all phases the same flags and parameters; what each phase must not see is taken out here. */
  migrateBegin(domain: DomainRef, options: MigrationOptions): Promise<Begun>;
  /** Target. */
  migratePrepare(begun: Begun, options: MigrationOptions): Promise<Prepared>;
  /** Source. The whole copy happens inside this call: give it the migration's deadline. */
  migratePerform(domain: DomainRef, prepared: Prepared, options: MigrationOptions): Promise<Uint8Array>;
  /** Target. `domain` is the source's. With `cancelled` the target's half is thrown away and no domain comes back. */
  migrateFinish(
    domain: DomainRef,
    cookie: Uint8Array,
    cancelled: boolean,
    options: MigrationOptions,
  ): Promise<Finished>;
  /** Source. With `cancelled` it is no error when there is nothing to cancel (any more). */
  migrateConfirm(domain: DomainRef, cookie: Uint8Array, cancelled: boolean, options: MigrationOptions): Promise<void>;
}

/** One host's half; closing it makes libvirt throw away what is unfinished of it, but for a phase that it is in. */
export interface MigrationHalf extends MigrationPhases {
  /** libvirtd has what was asked before, also should this connection end now. */
  heard(): Promise<void>;
  close(): void;
}

export interface MigrationVerbs {
  openMigration(): Promise<MigrationHalf>;
  migrateSetMaxDowntime(domain: DomainRef, ms: bigint, options?: CallOptions): Promise<void>;
  /** MiB/s. */
  migrateSetMaxSpeed(domain: DomainRef, mibPerSecond: bigint, options?: CallOptions): Promise<void>;
  migrateSetCompressionCache(domain: DomainRef, bytes: bigint, options?: CallOptions): Promise<void>;
  migrateStartPostcopy(domain: DomainRef, options?: CallOptions): Promise<void>;
  jobStats(domain: DomainRef, options?: CallOptions & { completed?: boolean; keep?: boolean }): Promise<JobStats>;
  /** Cancels the running job; `postcopy` pauses a post-copy migration instead of cancelling. */
  jobAbort(domain: DomainRef, options?: CallOptions & { postcopy?: boolean }): Promise<void>;
}
