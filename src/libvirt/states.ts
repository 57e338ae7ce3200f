/**
 * libvirt's numbers for states, reasons and lifecycle details, as names.
 *
 * Each list stands in the order of libvirt's own enumeration (include/libvirt/libvirt-domain.h), so the position is the number.
 * A newer daemon may send a number we have no name for: it reads as "unknown", never as an error, because a state that cannot
 * be named must still be shown.
 */

/** What a domain is doing, as `virDomainState` counts them. */
export const domainStates = [
  "nostate",
  "running",
  "blocked",
  "paused",
  "shutting-down",
  "shutoff",
  "crashed",
  "pmsuspended",
] as const;
export type DomainState = (typeof domainStates)[number];

const stateReasons = {
  nostate: ["unknown"],
  running: [
    "unknown",
    "booted",
    "migrated",
    "restored",
    "from-snapshot",
    "unpaused",
    "migration-canceled",
    "save-canceled",
    "wakeup",
    "crashed",
    "postcopy",
    "postcopy-failed",
  ],
  blocked: ["unknown"],
  paused: [
    "unknown",
    "user",
    "migration",
    "save",
    "dump",
    "ioerror",
    "watchdog",
    "from-snapshot",
    "shutting-down",
    "snapshot",
    "crashed",
    "starting-up",
    "postcopy",
    "postcopy-failed",
    "api-error",
  ],
  "shutting-down": ["unknown", "user"],
  shutoff: ["unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from-snapshot", "daemon"],
  crashed: ["unknown", "panicked"],
  pmsuspended: ["unknown"],
} as const satisfies Record<DomainState, readonly string[]>;

/** A state together with a reason that belongs to it: `{state: "paused", reason: "ioerror"}`. */
export type DomainStatus = {
  [S in DomainState]: { readonly state: S; readonly reason: (typeof stateReasons)[S][number] };
}[DomainState];

/** Names a (state, reason) pair of numbers from the wire. */
export function domainStatus(state: number, reason: number): DomainStatus {
  const name = domainStates[state] ?? "nostate";
  return { state: name, reason: stateReasons[name][reason] ?? "unknown" } as DomainStatus;
}

const lifecycleDetails = {
  defined: ["added", "updated", "renamed", "from-snapshot"],
  undefined: ["removed", "renamed"],
  started: ["booted", "migrated", "restored", "from-snapshot", "wakeup"],
  suspended: [
    "paused",
    "migrated",
    "ioerror",
    "watchdog",
    "restored",
    "from-snapshot",
    "api-error",
    "postcopy",
    "postcopy-failed",
  ],
  resumed: ["unpaused", "migrated", "from-snapshot", "postcopy", "postcopy-failed"],
  stopped: ["shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from-snapshot"],
  shutdown: ["finished", "guest", "host"],
  pmsuspended: ["memory", "disk"],
  crashed: ["panicked", "crashloaded"],
} as const;

export type LifecycleName = keyof typeof lifecycleDetails;
const lifecycleNames = Object.keys(lifecycleDetails) as LifecycleName[];

/** A lifecycle change with a detail that belongs to it: `{change: "stopped", detail: "crashed"}`. */
export type Lifecycle =
  | {
      [E in LifecycleName]: {
        readonly change: E;
        readonly detail: (typeof lifecycleDetails)[E][number] | "unknown";
      };
    }[LifecycleName]
  | { readonly change: "unknown"; readonly detail: "unknown" };

/** Names an (event, detail) pair of numbers from the wire. */
export function lifecycle(event: number, detail: number): Lifecycle {
  const change = lifecycleNames[event];
  if (change === undefined) return { change: "unknown", detail: "unknown" };
  return { change, detail: lifecycleDetails[change][detail] ?? "unknown" } as Lifecycle;
}
