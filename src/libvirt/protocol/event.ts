/**
 * Domain events: for each kind its number at registration, the message it arrives in, and how that becomes a {@link DomainEvent}.
 *
 * Early kinds wrap their fields in a struct of their own behind the callback's id, later ones do not; on the wire that is the
 * same, so the table does not show it. Kinds 4 (I/O error without reason) and 8 (block job by path) are left out: 6 and 16
 * say the same and more.
 */
import { array, type Codec, hyper, int, type Fields, struct, type TypeOf, uhyper, uint } from "../codec.ts";
import { statValues } from "../values.ts";
import type { DomainEvent, DomainEventKind } from "../events.ts";
import { lifecycle } from "../states.ts";
import { domain, domainOrNull, quick, programs, table, text, textOrNull, typedParams } from "./notation.ts";

export const eventProcedures = table("remote", {
  connectDomainEventCallbackRegisterAny: quick(316, { eventId: int, domain: domainOrNull }, { callbackId: int }),
  connectDomainEventCallbackDeregisterAny: quick(317, { callbackId: int }),
});

export interface EventShape {
  readonly kind: DomainEventKind;
  /** `virDomainEventID`, told when registering. */
  readonly eventId: number;
  /** The procedure number its messages carry. */
  readonly procedure: number;
  readonly codec: Codec<{ readonly callbackId: number; readonly event: DomainEvent }>;
}

const nameAt = <const N extends readonly string[]>(names: N, at: number): N[number] | "unknown" =>
  names[at] ?? "unknown";

function shape<const F extends Fields>(
  kind: DomainEventKind,
  eventId: number,
  procedure: number,
  fields: F,
  event: (message: TypeOf<ReturnType<typeof struct<F>>>) => DomainEvent,
): EventShape {
  const wire = struct({ callbackId: int, ...fields }) as unknown as Codec<
    { readonly callbackId: number } & TypeOf<ReturnType<typeof struct<F>>>
  >;
  return {
    kind,
    eventId,
    procedure,
    codec: {
      ...wire,
      read: (from) => {
        const message = wire.read(from);
        return { callbackId: message.callbackId, event: event(message) };
      },
      write: () => {
        throw new Error(`${programs.remote}/${procedure} is only ever received`);
      },
    },
  };
}

const graphicsAddress = struct({ family: int, node: text, service: text });
const identities = array(struct({ type: text, name: text }), 20);
const watchdogActions = ["none", "pause", "reset", "poweroff", "shutdown", "debug", "inject-nmi"] as const;
export const blockJobs = ["unknown", "pull", "copy", "commit", "active-commit", "backup"] as const;

export const eventShapes: readonly EventShape[] = [
  shape("lifecycle", 0, 318, { domain, event: int, detail: int }, (m) => ({
    kind: "lifecycle",
    domain: m.domain,
    ...lifecycle(m.event, m.detail),
  })),
  shape("reboot", 1, 319, { domain }, (m) => ({ kind: "reboot", domain: m.domain })),
  shape("rtc-change", 2, 320, { domain, offset: hyper }, (m) => ({
    kind: "rtc-change",
    domain: m.domain,
    offsetSeconds: Number(m.offset),
  })),
  shape("watchdog", 3, 321, { domain, action: int }, (m) => ({
    kind: "watchdog",
    domain: m.domain,
    action: nameAt(watchdogActions, m.action),
  })),
  shape(
    "graphics",
    5,
    323,
    { domain, phase: int, local: graphicsAddress, remote: graphicsAddress, scheme: text, subject: identities },
    (m) => ({
      kind: "graphics",
      domain: m.domain,
      phase: nameAt(["connect", "initialize", "disconnect"], m.phase),
    }),
  ),
  shape("io-error", 6, 324, { domain, path: text, device: text, action: int, reason: text }, (m) => ({
    kind: "io-error",
    domain: m.domain,
    path: m.path,
    device: m.device,
    action: nameAt(["none", "pause", "report"], m.action),
    reason: m.reason,
  })),
  shape("control-error", 7, 325, { domain }, (m) => ({ kind: "control-error", domain: m.domain })),
  shape(
    "disk-change",
    9,
    327,
    { domain, oldPath: textOrNull, newPath: textOrNull, device: text, reason: int },
    (m) => ({
      kind: "disk-change",
      domain: m.domain,
      device: m.device,
      oldPath: m.oldPath,
      newPath: m.newPath,
    }),
  ),
  shape("tray-change", 10, 328, { domain, device: text, reason: int }, (m) => ({
    kind: "tray-change",
    domain: m.domain,
    device: m.device,
    tray: nameAt(["open", "close"], m.reason),
  })),
  shape("pm-wakeup", 11, 329, { reason: int, domain }, (m) => ({ kind: "pm-wakeup", domain: m.domain })),
  shape("pm-suspend", 12, 330, { reason: int, domain }, (m) => ({ kind: "pm-suspend", domain: m.domain })),
  shape("balloon-change", 13, 331, { domain, kib: uhyper }, (m) => ({
    kind: "balloon-change",
    domain: m.domain,
    kib: Number(m.kib),
  })),
  shape("pm-suspend-disk", 14, 332, { reason: int, domain }, (m) => ({ kind: "pm-suspend-disk", domain: m.domain })),
  shape("device-removed", 15, 333, { domain, device: text }, (m) => ({
    kind: "device-removed",
    domain: m.domain,
    device: m.device,
  })),
  shape("block-job", 16, 339, { domain, disk: text, type: int, status: int }, (m) => ({
    kind: "block-job",
    domain: m.domain,
    disk: m.disk,
    job: nameAt(blockJobs, m.type),
    status: nameAt(["completed", "failed", "canceled", "ready"], m.status),
  })),
  shape("tunable", 17, 346, { domain, params: typedParams(2_048) }, (m) => ({
    kind: "tunable",
    domain: m.domain,
    values: statValues(m.params),
  })),
  shape("agent-lifecycle", 18, 348, { domain, state: int, reason: int }, (m) => ({
    kind: "agent-lifecycle",
    domain: m.domain,
    agent: nameAt(["unknown", "connected", "disconnected"], m.state),
    reason: nameAt(["unknown", "domain-started", "channel-event"], m.reason),
  })),
  shape("device-added", 19, 354, { domain, device: text }, (m) => ({
    kind: "device-added",
    domain: m.domain,
    device: m.device,
  })),
  shape("migration-iteration", 20, 359, { domain, iteration: int }, (m) => ({
    kind: "migration-iteration",
    domain: m.domain,
    iteration: m.iteration,
  })),
  shape("job-completed", 21, 363, { domain, params: typedParams(64) }, (m) => ({
    kind: "job-completed",
    domain: m.domain,
    values: statValues(m.params),
  })),
  shape("device-removal-failed", 22, 367, { domain, device: text }, (m) => ({
    kind: "device-removal-failed",
    domain: m.domain,
    device: m.device,
  })),
  shape("metadata-change", 23, 379, { domain, type: int, uri: textOrNull }, (m) => ({
    kind: "metadata-change",
    domain: m.domain,
    what: nameAt(["description", "title", "element"], m.type),
    uri: m.uri,
  })),
  shape(
    "block-threshold",
    24,
    385,
    { domain, disk: text, path: textOrNull, threshold: uhyper, excess: uhyper },
    (m) => ({
      kind: "block-threshold",
      domain: m.domain,
      disk: m.disk,
      path: m.path,
      threshold: m.threshold,
      excess: m.excess,
    }),
  ),
  shape("memory-failure", 25, 423, { domain, recipient: int, action: int, flags: uint }, (m) => ({
    kind: "memory-failure",
    domain: m.domain,
    recipient: nameAt(["hypervisor", "guest"], m.recipient),
    action: nameAt(["ignore", "inject", "fatal", "reset"], m.action),
    actionRequired: (m.flags & 1) !== 0,
    recursive: (m.flags & 2) !== 0,
  })),
  shape("memory-device-size", 26, 438, { domain, alias: text, kib: uhyper }, (m) => ({
    kind: "memory-device-size",
    domain: m.domain,
    device: m.alias,
    kib: m.kib,
  })),
  shape("nic-mac-change", 27, 453, { domain, alias: text, oldMac: text, newMac: text }, (m) => ({
    kind: "nic-mac-change",
    domain: m.domain,
    device: m.alias,
    oldMac: m.oldMac,
    newMac: m.newMac,
  })),
];
