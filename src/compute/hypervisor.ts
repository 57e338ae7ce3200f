/**
 * What Compute uses of libvirt, and how libvirt's answers become the few words that the rules understand.
 *
 * The facade (src/libvirt) has many verbs; naming the used ones here keeps the fakes of tests small and the review of a new use
 * visible. Reading is level-triggered: an event only says that a domain should be looked at again.
 */
import type { Guest, Mark, OffWhy } from "../core/ensure.ts";
import { unreachable } from "../lib/errors.ts";
import type { DomainRef, Libvirt } from "../libvirt/contract.ts";
import { isLibvirtError } from "../libvirt/errors.ts";
import type { DomainStatus } from "../libvirt/states.ts";
import { markUri, parseMark } from "./vm/mark.ts";

export type Hypervisor = Pick<
  Libvirt,
  | "ready"
  | "close"
  | "link"
  | "onLink"
  | "onResync"
  | "on"
  | "onLifecycle"
  | "onMonitor"
  | "version"
  | "domainList"
  | "domainLookupByUuid"
  | "domainState"
  | "domainXml"
  | "domainMetadataGet"
  | "domainMetadataSet"
  | "domainDefine"
  | "domainUndefine"
  | "domainCreate"
  | "domainShutdown"
  | "domainDestroy"
  | "domainReset"
  | "domainResume"
  | "domainCapabilities"
  | "cpuCompare"
  | "cpuBaseline"
  | "memoryStats"
  | "vcpuPin"
  | "emulatorPin"
  | "iothreadPin"
  | "deviceAttach"
  | "deviceDetachAlias"
  | "blockResize"
  | "blockTune"
  | "qmp"
  | "timeGet"
  | "timeSet"
  | "openMigration"
  | "migrateSetMaxDowntime"
  | "migrateStartPostcopy"
  | "jobStats"
  | "jobAbort"
>;

/** What the domain is now. `mark` is what is known of its metadata already; undefined = read it. */
export async function readGuest(libvirt: Hypervisor, domain: DomainRef, mark: Mark | null | undefined): Promise<Guest> {
  try {
    const status = await libvirt.domainState(domain);
    const known = mark === undefined ? await readMark(libvirt, domain) : mark;
    const guest = guestOf(status, known);
    if (guest.is !== "paused" || guest.why !== "io_error") return guest;
    return { ...guest, why: (await isOutOfSpace(libvirt, domain)) ? "out_of_space" : "io_error" };
  } catch (error) {
    if (isLibvirtError(error, "NoDomain")) return { is: "absent" };
    throw error;
  }
}

async function readMark(libvirt: Hypervisor, domain: DomainRef): Promise<Mark | null> {
  try {
    const xml =
      (await libvirt.domainMetadataGet(domain, markUri, "live")) ??
      (await libvirt.domainMetadataGet(domain, markUri, "config"));
    return xml === undefined ? null : parseMark(xml);
  } catch (error) {
    // A domain that is off has no live definition.
    if (!isLibvirtError(error, "OperationInvalid", "NoDomainMetadata")) throw error;
    const xml = await libvirt.domainMetadataGet(domain, markUri, "config");
    return xml === undefined ? null : parseMark(xml);
  }
}

function guestOf(status: DomainStatus, mark: Mark | null): Guest {
  switch (status.state) {
    case "running":
    case "blocked":
    case "pmsuspended":
    case "shutting-down":
      return { is: "running", mark };
    case "paused":
      switch (status.reason) {
        case "ioerror":
          return { is: "paused", mark, why: "io_error" };
        case "starting-up":
          return { is: "paused", mark, why: "starting" };
        default:
          return { is: "paused", mark, why: "paused_outside" };
      }
    case "shutoff":
      return { is: "off", mark, why: offWhy(status.reason) };
    case "crashed":
      return { is: "off", mark, why: "crashed" };
    // libvirt has no word for it: nor have we, and on unknown there is only waiting.
    case "nostate":
      return { is: "unknown" };
    default:
      return unreachable(status);
  }
}

function offWhy(reason: Extract<DomainStatus, { state: "shutoff" }>["reason"]): OffWhy {
  switch (reason) {
    case "shutdown":
    case "destroyed":
    case "crashed":
    case "failed":
      return reason;
    default:
      return "unknown";
  }
}

/** libvirt keeps no reason beside "I/O error"; QEMU keeps one per disk. */
async function isOutOfSpace(libvirt: Hypervisor, domain: DomainRef): Promise<boolean> {
  const blocks = await libvirt.qmp(domain, "query-block");
  return Array.isArray(blocks) && blocks.some((b: unknown) => isRecord(b) && b["io-status"] === "nospace");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
