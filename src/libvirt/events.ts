/**
 * Every domain event a subscriber can get, as a union on `kind`. The codecs are in protocol/events.ts; this is what is left
 * when numbers have become names. An event is a nudge: whoever acts on it re-reads the level, since events are lost with the
 * connection (see `onResync` in contract.ts).
 */
import type { DomainRef, StatValues } from "./contract.ts";
import type { Lifecycle } from "./states.ts";

interface On {
  readonly domain: DomainRef;
}

export type LifecycleEvent = { readonly kind: "lifecycle" } & On & Lifecycle;

/** The guest reset itself. The process lives on, so no lifecycle event is sent. */
export interface RebootEvent extends On {
  readonly kind: "reboot";
}
export interface RtcChangeEvent extends On {
  readonly kind: "rtc-change";
  /** Seconds that the guest's clock is off UTC. */
  readonly offsetSeconds: number;
}
export interface WatchdogEvent extends On {
  readonly kind: "watchdog";
  readonly action: "none" | "pause" | "reset" | "poweroff" | "shutdown" | "debug" | "inject-nmi" | "unknown";
}
export interface IoErrorEvent extends On {
  readonly kind: "io-error";
  readonly path: string;
  readonly device: string;
  readonly action: "none" | "pause" | "report" | "unknown";
  /** "enospc" when the storage is full, "eperm"/"eio" ...; empty when QEMU gave none. */
  readonly reason: string;
}
export interface GraphicsEvent extends On {
  readonly kind: "graphics";
  readonly phase: "connect" | "initialize" | "disconnect" | "unknown";
}
export interface ControlErrorEvent extends On {
  readonly kind: "control-error";
}
export interface BlockJobEvent extends On {
  readonly kind: "block-job";
  /** The disk's target, e.g. "vda". */
  readonly disk: string;
  readonly job: "unknown" | "pull" | "copy" | "commit" | "active-commit" | "backup";
  readonly status: "completed" | "failed" | "canceled" | "ready" | "unknown";
}
export interface DiskChangeEvent extends On {
  readonly kind: "disk-change";
  readonly device: string;
  readonly oldPath: string | undefined;
  readonly newPath: string | undefined;
}
export interface TrayChangeEvent extends On {
  readonly kind: "tray-change";
  readonly device: string;
  readonly tray: "open" | "close" | "unknown";
}
export interface PowerEvent extends On {
  readonly kind: "pm-wakeup" | "pm-suspend" | "pm-suspend-disk";
}
export interface BalloonChangeEvent extends On {
  readonly kind: "balloon-change";
  readonly kib: number;
}
export interface DeviceEvent extends On {
  readonly kind: "device-added" | "device-removed" | "device-removal-failed";
  readonly device: string;
}
export interface TunableEvent extends On {
  readonly kind: "tunable";
  readonly values: StatValues;
}
export interface AgentLifecycleEvent extends On {
  readonly kind: "agent-lifecycle";
  readonly agent: "connected" | "disconnected" | "unknown";
  readonly reason: "unknown" | "domain-started" | "channel-event";
}
export interface MigrationIterationEvent extends On {
  readonly kind: "migration-iteration";
  readonly iteration: number;
}
export interface JobCompletedEvent extends On {
  readonly kind: "job-completed";
  readonly values: StatValues;
}
export interface MetadataChangeEvent extends On {
  readonly kind: "metadata-change";
  readonly what: "description" | "title" | "element" | "unknown";
  /** The namespace for "element". */
  readonly uri: string | undefined;
}
export interface BlockThresholdEvent extends On {
  readonly kind: "block-threshold";
  readonly disk: string;
  readonly path: string | undefined;
  readonly threshold: bigint;
  readonly excess: bigint;
}
export interface MemoryFailureEvent extends On {
  readonly kind: "memory-failure";
  readonly recipient: "hypervisor" | "guest" | "unknown";
  readonly action: "ignore" | "inject" | "fatal" | "reset" | "unknown";
  readonly actionRequired: boolean;
  readonly recursive: boolean;
}
export interface MemoryDeviceSizeEvent extends On {
  readonly kind: "memory-device-size";
  readonly device: string;
  readonly kib: bigint;
}
export interface NicMacChangeEvent extends On {
  readonly kind: "nic-mac-change";
  readonly device: string;
  readonly oldMac: string;
  readonly newMac: string;
}

export type DomainEvent =
  | LifecycleEvent
  | RebootEvent
  | RtcChangeEvent
  | WatchdogEvent
  | IoErrorEvent
  | GraphicsEvent
  | ControlErrorEvent
  | BlockJobEvent
  | DiskChangeEvent
  | TrayChangeEvent
  | PowerEvent
  | BalloonChangeEvent
  | DeviceEvent
  | TunableEvent
  | AgentLifecycleEvent
  | MigrationIterationEvent
  | JobCompletedEvent
  | MetadataChangeEvent
  | BlockThresholdEvent
  | MemoryFailureEvent
  | MemoryDeviceSizeEvent
  | NicMacChangeEvent;

export type DomainEventKind = DomainEvent["kind"];
export type DomainEventOf<K extends DomainEventKind> = Extract<DomainEvent, { readonly kind: K }>;

/** A raw QMP event of one domain (through libvirt's qemu program), e.g. STOP, RESUME, MIGRATION. */
export interface MonitorEvent {
  readonly domain: DomainRef;
  readonly event: string;
  /** QEMU's own time stamp, in microseconds since 1970. */
  readonly atMicros: number;
  readonly data: unknown;
}
