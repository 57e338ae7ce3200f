/** Errors on the wire: problem details (RFC 9457) with our kind and stable code beside the standard members. */
import * as z from "zod";
import { Failure, type ErrorKind } from "../../lib/errors.ts";

/** The one table from kinds to HTTP. A client that speaks our API reads `kind`, not the status. */
export const statusOf: Readonly<Record<ErrorKind, number>> = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  limit: 422,
  internal: 500,
  unsupported: 501,
  unavailable: 503,
  timeout: 504,
  no_capacity: 507,
};

export const errorKinds = Object.keys(statusOf) as [ErrorKind, ...ErrorKind[]];

const titles: Readonly<Record<ErrorKind, string>> = {
  invalid: "The request is wrong",
  unauthenticated: "The bearer token is missing or wrong",
  forbidden: "Not allowed",
  not_found: "Not found",
  conflict: "The present state does not allow it",
  limit: "A limit is reached",
  internal: "An error on our side",
  unsupported: "Not offered",
  unavailable: "Out of reach for now; nothing was done",
  timeout: "No answer in time; the outcome is unknown",
  no_capacity: "No host has room",
};

export const problemMediaType = "application/problem+json";

export const problemSchema = z
  .object({
    type: z.string().describe("A name for this code; not meant to be fetched."),
    title: z.string(),
    status: z.int().min(400).max(599),
    detail: z.string().describe("For the person who asked: what is wrong and what to do."),
    kind: z.enum(errorKinds).describe("For programs: retry, blame the caller, show as unknown."),
    code: z.string().describe("Stable; listed in the documentation."),
    requestId: z.string().describe("Also in the log, the operation and the X-Request-Id header."),
    errors: z
      .array(z.object({ at: z.string(), message: z.string() }))
      .optional()
      .describe("What a schema found wrong, by place in the request."),
  })
  .meta({ id: "Problem" });

export type Problem = z.infer<typeof problemSchema>;
type Place = NonNullable<Problem["errors"]>[number];

/** What a failure looks like to the one who asked; its `detail` and causes stay with us. */
export function problemOf(failure: Failure, requestId: string): Problem {
  // The only code whose detail is made for the one who asked (see invalidRequest).
  const places = failure.code === "InvalidRequest" ? (failure.detail["errors"] as Place[] | undefined) : undefined;
  return {
    type: `urn:vstation:problem:${failure.code}`,
    title: titles[failure.kind],
    status: statusOf[failure.kind],
    detail: failure.message,
    kind: failure.kind,
    code: failure.code,
    requestId,
    ...(places === undefined ? {} : { errors: places }),
  };
}

/** The failure that a problem tells of, on the client's side. */
export function failureOf(problem: Problem): Failure {
  const { kind, code, detail, requestId, errors } = problem;
  const places = errors?.map(({ at, message }) => `${at}: ${message}`).join("; ");
  return new Failure(kind, code, places === undefined ? detail : `${detail} (${places})`, { detail: { requestId } });
}

const maxPlaces = 20;

/** What a schema refused, as a failure that names each place. */
export function invalidRequest(error: z.ZodError, where: string): Failure {
  const errors: Place[] = error.issues.slice(0, maxPlaces).map((issue) => ({
    at: [where, ...issue.path.map((part) => String(part).slice(0, 64))].join("."),
    message: issue.message.slice(0, 256),
  }));
  return new Failure("invalid", "InvalidRequest", "the request does not fit the API's schema", { detail: { errors } });
}
