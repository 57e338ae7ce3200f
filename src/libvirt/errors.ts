/**
 * How libvirt's own errors and QMP's reach the rest of the program. We branch on numbers and on QMP's class, never on a
 * sentence: sentences are translated and reworded, numbers are part of libvirt's stable interface (virterror.h).
 *
 * The daemon's sentence may name host paths, so it is not the message (which a tenant may see) but the cause and `detail.text`.
 */
import { Failure, type ErrorKind } from "../lib/errors.ts";

/** The numbers this program branches on or shows by name, each with the kind it means for a caller. */
const named = {
  1: ["InternalError", "internal"],
  2: ["NoMemory", "internal"],
  3: ["NoSupport", "unsupported"],
  5: ["NoConnect", "unavailable"],
  8: ["InvalidArg", "invalid"],
  9: ["OperationFailed", "internal"],
  27: ["XmlError", "invalid"],
  28: ["DomExist", "conflict"],
  29: ["OperationDenied", "forbidden"],
  35: ["XmlDetail", "invalid"],
  38: ["SystemError", "internal"],
  39: ["Rpc", "internal"],
  42: ["NoDomain", "not_found"],
  45: ["AuthFailed", "unauthenticated"],
  55: ["OperationInvalid", "conflict"],
  67: ["ConfigUnsupported", "unsupported"],
  68: ["OperationTimeout", "timeout"],
  69: ["MigratePersistFailed", "internal"],
  70: ["HookScriptFailed", "internal"],
  73: ["InvalidStream", "conflict"],
  74: ["ArgumentUnsupported", "unsupported"],
  78: ["OperationAborted", "conflict"],
  80: ["NoDomainMetadata", "not_found"],
  81: ["MigrateUnsafe", "conflict"],
  82: ["Overflow", "invalid"],
  83: ["BlockCopyActive", "conflict"],
  84: ["OperationUnsupported", "unsupported"],
  86: ["AgentUnresponsive", "unavailable"],
  87: ["ResourceBusy", "conflict"],
  88: ["AccessDenied", "forbidden"],
  91: ["CpuIncompatible", "conflict"],
  92: ["XmlInvalidSchema", "invalid"],
  93: ["MigrateFinishOk", "conflict"],
  97: ["AgentUnsynced", "unavailable"],
  99: ["DeviceMissing", "not_found"],
  112: ["AgentCommandTimeout", "timeout"],
  113: ["AgentCommandFailed", "internal"],
} as const satisfies Record<number, readonly [string, ErrorKind]>;

export type LibvirtReason = (typeof named)[keyof typeof named][0] | "Other";

/** The daemon answered, and the answer is an error. `reason` is what to branch on; `number` is libvirt's own. */
export class LibvirtError extends Failure {
  readonly reason: LibvirtReason;
  readonly number: number;

  constructor(call: string, remote: { code: number; domain: number; level: number; message: string | undefined }) {
    const known: Readonly<Record<number, readonly [LibvirtReason, ErrorKind]>> = named;
    const [reason, kind] = known[remote.code] ?? (["Other", "internal"] as const);
    const text = remote.message ?? "";
    super(kind, `Libvirt${reason}`, `libvirt refused ${call} (${reason === "Other" ? remote.code : reason})`, {
      detail: { call, number: remote.code, domain: remote.domain, level: remote.level, text },
      cause: new Error(text),
    });
    this.name = "LibvirtError";
    this.reason = reason;
    this.number = remote.code;
  }
}

/** True for a {@link LibvirtError} of one of the given reasons. */
export function isLibvirtError(error: unknown, ...reasons: LibvirtReason[]): error is LibvirtError {
  return error instanceof LibvirtError && (reasons.length === 0 || reasons.includes(error.reason));
}

/** QEMU answered a command with an error. `qmpClass` is QMP's own ("GenericError", "CommandNotFound", "DeviceNotFound" ...). */
export class QmpError extends Failure {
  readonly qmpClass: string;

  constructor(command: string, qmpClass: string, text: string) {
    super(qmpKind(qmpClass), "QmpError", `QEMU refused ${command} (${qmpClass})`, {
      detail: { command, qmpClass, text },
      cause: new Error(text),
    });
    this.name = "QmpError";
    this.qmpClass = qmpClass;
  }
}

function qmpKind(qmpClass: string): ErrorKind {
  if (qmpClass === "CommandNotFound") return "unsupported";
  if (qmpClass === "DeviceNotFound") return "not_found";
  if (qmpClass === "DeviceNotActive") return "conflict";
  return "internal";
}

/** In-flight when the connection went: the daemon may or may not have done it. Re-read, never resend. */
export function connectionLost(call: string, cause: unknown): Failure {
  return new Failure("unavailable", "LibvirtConnectionLost", `the connection to libvirt was lost during ${call}`, {
    cause,
  });
}

/** Nothing was sent. */
export function notConnected(call: string, cause?: unknown): Failure {
  return new Failure("unavailable", "LibvirtNotConnected", `libvirt is not reachable for ${call}`, { cause });
}

/** The daemon sent something that is not the protocol; the connection is given up, because framing is lost with it. */
export function protocolError(what: string, detail: Record<string, unknown> = {}): Failure {
  return new Failure("internal", "LibvirtProtocol", `libvirt sent a malformed message: ${what}`, { detail });
}
