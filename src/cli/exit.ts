/** How a run ends: exit codes that scripts may rely on, and errors that say what to do next. */
import { Failure, formatError, isFailure, unreachable, type ErrorKind } from "../lib/errors.ts";
import { nextStep } from "./advice.ts";

export const exitCodes = {
  ok: 0,
  /** What was asked for did not come true (an operation ended FAILED, a check found an error), or a fault of ours. */
  failed: 1,
  usage: 2,
  notFound: 3,
  /** The present state, a limit, or missing room does not allow it. */
  refused: 4,
  unreachable: 5,
  timedOut: 6,
  /** The credentials are missing or wrong. */
  unauthenticated: 7,
  /** Ctrl-C or SIGTERM. */
  interrupted: 130,
} as const;

export const exitMeanings: readonly (readonly [number, string])[] = [
  [exitCodes.ok, "done"],
  [
    exitCodes.failed,
    "what was asked for did not come true (an operation that ended FAILED, a drain that needs somebody, a cancel that was too late), a check found an error, or a fault of our own",
  ],
  [exitCodes.usage, "the command line or the request is wrong"],
  [exitCodes.notFound, "there is no such thing"],
  [exitCodes.refused, "refused: the present state, a limit or missing room does not allow it"],
  [exitCodes.unreachable, "VStation, or the host, is out of reach; nothing was done"],
  [exitCodes.timedOut, "no answer or no end in time; the outcome is unknown, look again"],
  [exitCodes.unauthenticated, "the credentials are missing or wrong"],
  [exitCodes.interrupted, "interrupted; what was accepted goes on"],
];

/** Ends a run with a code after everything has been said. */
export class Exit extends Error {
  readonly code: number;
  constructor(code: number) {
    super(`exit ${code}`);
    this.code = code;
  }
}

export function exitCodeOf(kind: ErrorKind): number {
  switch (kind) {
    case "invalid":
      return exitCodes.usage;
    case "unauthenticated":
      return exitCodes.unauthenticated;
    case "not_found":
      return exitCodes.notFound;
    case "forbidden":
    case "conflict":
    case "no_capacity":
    case "limit":
    case "unsupported":
      return exitCodes.refused;
    case "unavailable":
      return exitCodes.unreachable;
    case "timeout":
      return exitCodes.timedOut;
    case "internal":
      return exitCodes.failed;
    default:
      return unreachable(kind);
  }
}

export function explain(error: unknown): { code: number; text: string; json: Record<string, unknown> } {
  if (isFailure(error)) {
    const { kind, code, message, detail } = error;
    const requestId = detail["requestId"];
    const next = nextStep(code);
    const lines = [`error: ${message} (${code})`];
    if (next !== undefined) lines.push(`  next: ${next}`);
    if (kind === "internal" && typeof requestId === "string") lines.push(`  request id: ${requestId}`);
    return {
      code: exitCodeOf(kind),
      text: `${lines.join("\n")}\n`,
      json: {
        kind,
        code,
        message,
        ...(next === undefined ? {} : { next }),
        ...(requestId === undefined ? {} : { requestId }),
      },
    };
  }
  const message = formatError(error);
  return {
    code: exitCodes.failed,
    text: `error: ${message}\n`,
    json: { kind: "internal", code: "Internal", message },
  };
}

export function usageError(message: string): Failure {
  return new Failure("invalid", "Usage", message);
}
