/**
 * The few kinds of failure a program has to tell apart, and one class that carries them.
 *
 * `kind` is for programs (retry? blame the caller? show as unknown?), `code` is the stable name that the APIs map and the
 * documentation lists, `message` is for the person who asked. What only operators may see goes into `detail` and the
 * `cause` chain: both reach the log, neither reaches a tenant.
 */
export type ErrorKind =
  /** The request itself is wrong; sending it again cannot help. */
  | "invalid"
  /** Who asks is not known, or the proof is wrong. */
  | "unauthenticated"
  /** Known, but not allowed. */
  | "forbidden"
  | "not_found"
  /** The thing's present state does not allow it; another state will. */
  | "conflict"
  /** No host has room. */
  | "no_capacity"
  /** A quota or a size limit. */
  | "limit"
  /** We do not offer this. */
  | "unsupported"
  /** The peer is away: nothing was done, trying again later is right. */
  | "unavailable"
  /** No answer in time: the outcome is unknown. Re-read, never resend. */
  | "timeout"
  /** Our own fault. */
  | "internal";

export interface FailureOptions {
  /** For operators and the log only. */
  detail?: Record<string, unknown>;
  cause?: unknown;
}

/** An expected failure with a kind, a stable code and a message for the person who asked. */
export class Failure extends Error {
  readonly kind: ErrorKind;
  readonly code: string;
  readonly detail: Record<string, unknown>;

  constructor(kind: ErrorKind, code: string, message: string, options: FailureOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "Failure";
    this.kind = kind;
    this.code = code;
    this.detail = options.detail ?? {};
  }
}

/** True for a {@link Failure} of one of the given kinds. */
export function isFailure(error: unknown, ...kinds: ErrorKind[]): error is Failure {
  return error instanceof Failure && (kinds.length === 0 || kinds.includes(error.kind));
}

/** Wraps anything thrown as an Error that says what was being done; the inner text stays in the cause chain. */
export function wrap(doing: string, cause: unknown): Error {
  if (cause instanceof Failure) {
    return new Failure(cause.kind, cause.code, `${doing}: ${cause.message}`, { detail: cause.detail, cause });
  }
  return new Error(doing, { cause });
}

/** The error and what caused it, outermost first; a chain that closes on itself ends all the same. */
export function* causesOf(error: unknown): Generator<Error> {
  for (let one = error, depth = 0; one instanceof Error && depth < 8; one = one.cause, depth++) yield one;
}

/** The file system is full, or this user's share of it. */
export function isNoSpace(error: unknown): boolean {
  return [...causesOf(error)].some((one) => ["ENOSPC", "EDQUOT"].includes((one as NodeJS.ErrnoException).code ?? ""));
}

/** The whole cause chain on one line, outermost first. */
export function formatError(error: unknown): string {
  const parts: string[] = [];
  let current: unknown = error;
  for (let depth = 0; current !== undefined && current !== null && depth < 8; depth++) {
    if (!(current instanceof Error)) {
      parts.push(typeof current === "string" ? current : JSON.stringify(current));
      break;
    }
    parts.push(current instanceof Failure ? `${current.code}: ${current.message}` : current.message || current.name);
    current = current.cause;
  }
  return parts.join(" <- ");
}

/** Makes a switch total at compile time; at run time it names the value that should not exist. */
export function unreachable(value: never): never {
  throw new Error(`unreachable value: ${JSON.stringify(value)}`);
}
