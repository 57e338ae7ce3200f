/**
 * What Compute sees of libvirt: one object that lives as long as the agent, over connections that come and go.
 *
 * Rules that hold for every verb:
 * - It either resolves, or rejects with a {@link Failure} or a LibvirtError (errors.ts), within its deadline. `timeout` and
 *   the code "LibvirtConnectionLost" mean that the outcome is unknown: re-read, never resend. "LibvirtNotConnected" means that
 *   nothing was sent.
 * - Handles ({@link DomainRef}) are values. libvirt finds the domain by its uuid; name and id are for people.
 * - While the daemon is away every verb fails at once; the supervisor reconnects by itself, makes every subscription again and
 *   then calls the `onResync` listeners, who re-read whatever they follow, because events in between are gone.
 */
import type { Log } from "../lib/log.ts";
import type { Counters } from "./counters.ts";
import type { DomainEventKind, DomainEventOf, MonitorEvent } from "./events.ts";
import type { MigrationVerbs } from "./migration-contract.ts";
import type { Procedure } from "./protocol/notation.ts";
import type { DomainStatus } from "./states.ts";

/** Names a domain. `id` is libvirt's number for a running one, -1 when it is not running (or was not when this was read). */
export interface DomainRef {
  readonly name: string;
  /** Lower case with dashes. */
  readonly uuid: string;
  readonly id: number;
}

export interface CallOptions {
  /** Milliseconds until the call rejects with `timeout`. Each verb has its own default. */
  readonly deadlineMs?: number;
  /** Aborting rejects at once with the signal's reason; what the daemon does with the call is then unknown. */
  readonly signal?: AbortSignal;
}

/** Values of a typed parameter list. 64-bit counters become numbers: exact up to 2^53, the nearest beyond. */
export type StatValues = Readonly<Record<string, number | string | boolean>>;

/** Which definition a change goes to: the running process, the one used at the next start, or both. */
export type Affect = "live" | "config" | "both";

export interface Subscription {
  /**
   * Resolves when the daemon sends these events for the first time: what happens after is delivered, until the link is lost.
   * Resolves as well when the subscription is closed first. Never rejects.
   */
  readonly active: Promise<void>;
  /** Ends delivery at once; tells the daemon when it is there. Never rejects, may be called twice. */
  close(): Promise<void>;
}

/**
 * Called once per event, in order. While a returned promise is pending further events of this subscription wait in its own
 * queue, so a slow listener delays only itself. What it throws is logged and counted. If its queue overflows, the queue is
 * dropped and `onResync` listeners are called with "overflow".
 */
export type Listener<E> = (event: E) => void | Promise<void>;

export type LinkState = "connecting" | "connected" | "lost" | "closed";

export type ResyncReason = "connected" | "reconnected" | "overflow";

export interface DomainStats {
  readonly domain: DomainRef;
  readonly values: StatValues;
}

export type StatsGroup =
  | "state"
  | "cpu-total"
  | "balloon"
  | "vcpu"
  | "interface"
  | "block"
  | "perf"
  | "iothread"
  | "memory"
  | "dirtyrate"
  | "vm";

/** A byte stream to a guest's console. Iterate it to read; it ends when the guest or the daemon closes it. */
export interface ByteStream extends AsyncIterable<Uint8Array> {
  /** Resolves when the bytes were handed to the daemon's socket; rejects once the stream has ended. */
  write(bytes: Uint8Array | string): Promise<void>;
  /** Finishes in both directions: pending reads end, the daemon confirms or the deadline passes. */
  close(): Promise<void>;
  /** Throws the stream away without waiting. */
  abort(): void;
}

export interface Versions {
  /** libvirt, e.g. "11.3.0". */
  readonly libvirt: string;
  /** QEMU, e.g. "10.0.2". */
  readonly hypervisor: string;
}

export interface NodeInfo {
  readonly model: string;
  readonly memoryKib: bigint;
  readonly cpus: number;
  readonly mhz: number;
  readonly numaNodes: number;
  readonly sockets: number;
  readonly coresPerSocket: number;
  readonly threadsPerCore: number;
}

export interface BlockInfo {
  /** What the guest sees, bytes. */
  readonly capacity: bigint;
  /** What the storage has set aside, bytes. */
  readonly allocation: bigint;
  /** The end of the container, bytes. */
  readonly physical: bigint;
}

export interface BlockJob {
  readonly job: "unknown" | "pull" | "copy" | "commit" | "active-commit" | "backup";
  readonly bandwidth: bigint;
  readonly cursor: bigint;
  readonly end: bigint;
}

export interface Iothread {
  readonly id: number;
  readonly cpus: readonly number[];
}

export const memoryStatNames = [
  "swap-in",
  "swap-out",
  "major-fault",
  "minor-fault",
  "unused",
  "available",
  "actual-balloon",
  "rss",
  "usable",
  "last-update",
  "disk-caches",
  "hugetlb-pgalloc",
  "hugetlb-pgfail",
] as const;
export type MemoryStat = (typeof memoryStatNames)[number];

export interface InterfaceStats {
  readonly rxBytes: bigint;
  readonly rxPackets: bigint;
  readonly rxErrors: bigint;
  readonly rxDrops: bigint;
  readonly txBytes: bigint;
  readonly txPackets: bigint;
  readonly txErrors: bigint;
  readonly txDrops: bigint;
}

/** Which QEMU, and what of it, a question about guests means; what is left out libvirt chooses. */
export interface EmulatorWant {
  readonly emulator?: string;
  readonly arch?: string;
  readonly machine?: string;
  readonly virtType?: "kvm" | "qemu";
}

/** Verbs of the host. */
export interface HostVerbs {
  version(options?: CallOptions): Promise<Versions>;
  hostname(options?: CallOptions): Promise<string>;
  /** The host's capabilities as libvirt's XML. */
  capabilities(options?: CallOptions): Promise<string>;
  domainCapabilities(want: EmulatorWant, options?: CallOptions): Promise<string>;
  /**
   * Resolves when this host can give a guest the processor that `cpu` (libvirt's `<cpu>` element) describes; else a LibvirtError
   * "CpuIncompatible" whose text names what is missing.
   */
  cpuCompare(want: EmulatorWant, cpu: string, options?: CallOptions): Promise<void>;
  /** The best processor that all of the described ones can give, as a `<cpu>` element; `expand`: with each feature of its model named. */
  cpuBaseline(
    want: EmulatorWant,
    cpus: readonly string[],
    options?: CallOptions & { expand?: boolean },
  ): Promise<string>;
  nodeInfo(options?: CallOptions): Promise<NodeInfo>;
  nodeMemoryStats(cell?: number, options?: CallOptions): Promise<Readonly<Record<string, bigint>>>;
  nodeCpuStats(cpu?: number, options?: CallOptions): Promise<Readonly<Record<string, bigint>>>;
  /** Free pages per NUMA cell, for each wanted page size in KiB. */
  nodeFreePages(
    pageKib: readonly number[],
    cells: { first: number; count: number },
    options?: CallOptions,
  ): Promise<readonly bigint[]>;
}

/** Verbs of a domain. A domain that does not exist is a LibvirtError of kind `not_found`, but for the two lookups. */
export interface DomainVerbs {
  /** Defines or redefines; idempotent for the same XML. `validate` checks it against libvirt's schema first. */
  domainDefine(xml: string, options?: CallOptions & { validate?: boolean }): Promise<DomainRef>;
  /** Forgets the definition. Keeps the NVRAM file unless told otherwise; drops a managed save. */
  domainUndefine(domain: DomainRef, options?: CallOptions & { nvram?: "keep" | "remove" }): Promise<void>;
  /** Starts a defined domain and returns it with its new id. Already running: LibvirtError of kind `conflict`. */
  domainCreate(domain: DomainRef, options?: CallOptions & { paused?: boolean }): Promise<DomainRef>;
  /** Starts a domain that libvirt forgets when it stops. */
  domainCreateTransient(xml: string, options?: CallOptions & { paused?: boolean }): Promise<DomainRef>;
  /**
   * Ends the QEMU process. `graceful` (the default) only sends SIGTERM and fails if QEMU does not go, so that disk caches are
   * flushed; without it SIGKILL follows. Not running: LibvirtError of kind `conflict`.
   */
  domainDestroy(domain: DomainRef, options?: CallOptions & { graceful?: boolean }): Promise<void>;
  /** Asks the guest to power off; resolves when asked, not when off. */
  domainShutdown(domain: DomainRef, options?: CallOptions & { by?: "acpi" | "agent" }): Promise<void>;
  domainReboot(domain: DomainRef, options?: CallOptions & { by?: "acpi" | "agent" }): Promise<void>;
  /** Pulls the reset line: the guest starts over in the same process. */
  domainReset(domain: DomainRef, options?: CallOptions): Promise<void>;
  domainSuspend(domain: DomainRef, options?: CallOptions): Promise<void>;
  domainResume(domain: DomainRef, options?: CallOptions): Promise<void>;

  domainLookupByName(name: string, options?: CallOptions): Promise<DomainRef | undefined>;
  domainLookupByUuid(uuid: string, options?: CallOptions): Promise<DomainRef | undefined>;
  /** All domains, or only the active (running, paused) or only the inactive ones. */
  domainList(want?: { active?: boolean; inactive?: boolean }, options?: CallOptions): Promise<readonly DomainRef[]>;
  domainState(domain: DomainRef, options?: CallOptions): Promise<DomainStatus>;
  domainXml(
    domain: DomainRef,
    options?: CallOptions & { inactive?: boolean; secure?: boolean; migratable?: boolean },
  ): Promise<string>;

  /** Stores one XML element under our namespace in the definition, or removes it (`xml: undefined`). */
  domainMetadataSet(
    domain: DomainRef,
    element: { uri: string; prefix: string; xml: string | undefined },
    affect: Affect,
    options?: CallOptions,
  ): Promise<void>;
  domainMetadataGet(
    domain: DomainRef,
    uri: string,
    from: "live" | "config",
    options?: CallOptions,
  ): Promise<string | undefined>;

  /** One answer for many domains; `domains` left out means all active ones. */
  domainStats(
    want?: { domains?: readonly DomainRef[]; groups?: readonly StatsGroup[]; nowait?: boolean },
    options?: CallOptions,
  ): Promise<readonly DomainStats[]>;

  deviceAttach(domain: DomainRef, xml: string, affect: Affect, options?: CallOptions): Promise<void>;
  /** Asks the guest to let go of the device; a live one is gone only with the "device-removed" event. */
  deviceDetach(domain: DomainRef, xml: string, affect: Affect, options?: CallOptions): Promise<void>;
  /** As {@link deviceDetach}, of the device with this alias. */
  deviceDetachAlias(domain: DomainRef, alias: string, affect: Affect, options?: CallOptions): Promise<void>;
  deviceUpdate(domain: DomainRef, xml: string, affect: Affect, options?: CallOptions): Promise<void>;
  blockInfo(domain: DomainRef, disk: string, options?: CallOptions): Promise<BlockInfo>;
  blockResize(domain: DomainRef, disk: string, bytes: bigint, options?: CallOptions): Promise<void>;
  /** Sets what a disk (its target) may move in a second, reads and writes together; 0 = as much as it can. */
  blockTune(
    domain: DomainRef,
    disk: string,
    limits: { bytes: bigint; iops: bigint },
    affect: Affect,
    options?: CallOptions,
  ): Promise<void>;
  blockJobInfo(domain: DomainRef, disk: string, options?: CallOptions): Promise<BlockJob | undefined>;
  blockJobAbort(domain: DomainRef, disk: string, options?: CallOptions & { pivot?: boolean }): Promise<void>;
  vcpusSet(domain: DomainRef, count: number, affect: Affect, options?: CallOptions): Promise<void>;
  vcpuPin(
    domain: DomainRef,
    vcpu: number,
    cpus: readonly number[],
    affect: Affect,
    options?: CallOptions,
  ): Promise<void>;
  /** Pins what is not a vCPU or an I/O thread of the process. */
  emulatorPin(domain: DomainRef, cpus: readonly number[], affect: Affect, options?: CallOptions): Promise<void>;
  iothreads(domain: DomainRef, options?: CallOptions): Promise<readonly Iothread[]>;
  iothreadPin(
    domain: DomainRef,
    iothread: number,
    cpus: readonly number[],
    affect: Affect,
    options?: CallOptions,
  ): Promise<void>;
  memorySet(domain: DomainRef, kib: bigint, affect: Affect, options?: CallOptions): Promise<void>;
  /** By name; sizes in KiB. What the guest's balloon driver does not tell is missing. */
  memoryStats(domain: DomainRef, options?: CallOptions): Promise<Readonly<Partial<Record<MemoryStat, number>>>>;
  /** Counters of one tap device, as seen by the guest. */
  interfaceStats(domain: DomainRef, device: string, options?: CallOptions): Promise<InterfaceStats>;
  /** Saves a running domain's memory to libvirt's own file and stops it; the next domainCreate goes on from there. */
  managedSave(domain: DomainRef, options?: CallOptions): Promise<void>;
  managedSaveRemove(domain: DomainRef, options?: CallOptions): Promise<void>;

  /** Opens a character device of a running guest (the first console if `device` is left out); `force` takes it over. */
  consoleOpen(domain: DomainRef, options?: CallOptions & { device?: string; force?: boolean }): Promise<ByteStream>;
  /** One PNG or PPM picture of a running guest's screen. */
  screenshot(
    domain: DomainRef,
    options?: CallOptions & { screen?: number },
  ): Promise<{ readonly mime: string; readonly bytes: Uint8Array }>;

  /** One QMP command; resolves with its `return`, rejects with a QmpError that carries QMP's class. */
  qmp(domain: DomainRef, command: string, args?: Record<string, unknown>, options?: CallOptions): Promise<unknown>;
  /** One guest-agent command; the deadline covers the guest's answer. */
  agent(domain: DomainRef, command: string, args?: Record<string, unknown>, options?: CallOptions): Promise<unknown>;
  /** The guest's wall clock, in milliseconds since 1970, as its agent reads it; rejects at once when there is no agent. */
  timeGet(domain: DomainRef, options?: CallOptions): Promise<number>;
  /** Has the guest's agent set it. */
  timeSet(domain: DomainRef, ms: number, options?: CallOptions): Promise<void>;
}

/** Following what happens. A subscription outlives reconnects; it exists for the caller from the moment the call returns. */
export interface EventVerbs {
  readonly link: LinkState;
  onLink(listener: Listener<LinkState>): Subscription;
  /** "connected" (first time), "reconnected" or "overflow": events may be missing before this point, re-read the level. */
  onResync(listener: Listener<ResyncReason>): Subscription;
  /** Follows one kind of event on all domains. */
  on<K extends DomainEventKind>(kind: K, listener: Listener<DomainEventOf<K>>): Subscription;
  onLifecycle(listener: Listener<DomainEventOf<"lifecycle">>): Subscription;
  /** Raw QMP events; `event` left out means all of them. */
  onMonitor(want: { event?: string; domain?: DomainRef }, listener: Listener<MonitorEvent>): Subscription;
}

export interface OpenOptions {
  /** The unix socket of libvirtd or virtqemud. */
  readonly socketPath: string;
  /** The driver's URI at the daemon, default "qemu:///system". */
  readonly uri?: string;
  readonly log: Log;
  /** Calls in flight on one connection, default 4; one below the daemon's `max_client_requests` (calls.ts). */
  readonly window?: number;
  /** Silence of `count` intervals in a row means the daemon is dead; default 3 times 5 s. */
  readonly keepalive?: { readonly intervalMs: number; readonly count: number };
}

export interface Outstanding {
  /** Calls somebody waits for. */
  readonly waiting: number;
  /** Calls nobody waits for any more that the daemon has not answered. */
  readonly abandoned: number;
  /** Connections of open streams. */
  readonly streams: number;
  /** Registrations of events, wanted or standing. */
  readonly topics: number;
}

/** The whole client. Made by `openLibvirt(options: OpenOptions): Libvirt` in open.ts, which returns at once and connects behind it. */
export interface Libvirt extends HostVerbs, DomainVerbs, MigrationVerbs, EventVerbs {
  readonly counters: Readonly<Counters>;
  /** What has not ended yet; all zero (topics: the subscribed ones) when nothing runs. */
  readonly outstanding: Outstanding;
  /** Any procedure of the tables in protocol/, for what has no verb here. */
  call<A, R>(procedure: Procedure<A, R>, args: A, options?: CallOptions): Promise<R>;
  /** Resolves when connected (at once if so); rejects with `unavailable` when the deadline passes first. */
  ready(options?: CallOptions): Promise<void>;
  /** Settles every waiter with `unavailable`, ends every stream and subscription, and never reconnects. */
  close(): Promise<void>;
}
