/**
 * The native API as a request listener: the route table of src/api/native with a call behind each route.
 *
 * One way in for every route: request id, token, schemas, the call under a deadline, the answer or a problem. The order
 * matters: without a valid token nothing of a request is parsed, so a stranger costs one comparison. What may change something is
 * begun only once it stands in the log of calls (audit.ts).
 */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { getRequestListener, type HttpBindings } from "@hono/node-server";
import { Hono, type Context } from "hono";
import type { Registry } from "prom-client";
import * as z from "zod";
import { openApiDocument } from "../../api/native/openapi.ts";
import { problemMediaType, problemOf } from "../../api/native/problem.ts";
import { eventQuery, maxImagePart, maxWaitSeconds } from "../../api/native/requests.ts";
import type { Route } from "../../api/native/route.ts";
import { rawRoutes, routeNames, routes } from "../../api/native/routes.ts";
import { Failure, formatError } from "../../lib/errors.ts";
import { idsIn, type AccountId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { within } from "../../lib/retry.ts";
import type { AuditEntry, AuditWriter } from "../audit.ts";
import type { Cloud } from "../cloud.ts";
import { requireToken } from "./auth.ts";
import { accountHeader, auditEntry, callersFor, operatorActor, type Calls, type Service } from "./call.ts";
import { catalogueCalls } from "./calls/catalogue.ts";
import { infrastructureCalls } from "./calls/infrastructure.ts";
import { migrationCalls } from "./calls/migrations.ts";
import { instanceCalls } from "./calls/instances.ts";
import { networkCalls } from "./calls/network.ts";
import { securityCalls } from "./calls/security.ts";
import { storageCalls } from "./calls/storage.ts";
import { tenancyCalls } from "./calls/tenancy.ts";
import { Changes } from "./changes.ts";
import { eventStream } from "./events.ts";
import { createNativeMetrics, type NativeMetrics } from "./metrics.ts";
import { boundedBody, queryValues, readPart, readRequest } from "./request.ts";

export interface NativeOptions {
  log: Log;
  /** Served at /metrics; every part of VStation adds its own. */
  metrics: Registry;
  /** Instances, keys and groups that the operator's token creates belong to this account. */
  account: AccountId;
  audit?: AuditWriter;
  /** Ends streams, waits and consoles when the server closes. */
  closing?: AbortSignal;
  /** Silence after which an event stream says that it lives. */
  heartbeatMs?: number;
}

const calls: Calls = {
  ...instanceCalls,
  ...storageCalls,
  ...networkCalls,
  ...securityCalls,
  ...infrastructureCalls,
  ...migrationCalls,
  ...catalogueCalls,
  ...tenancyCalls,
};
const callDeadlineMs = 30_000;
const healthDeadlineMs = 2000;

export const version = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"))).version;

/** Answers every path for which `isNativePath` holds. */
export function createNativeHandler(
  cloud: Cloud,
  options: NativeOptions,
): (request: IncomingMessage, response: ServerResponse) => void {
  const { log, account, audit } = options;
  const closing = options.closing ?? new AbortController().signal;
  const service: Service = { cloud, log, version, changes: new Changes(cloud.events, log, closing) };
  const metrics = createNativeMetrics(options.metrics, cloud, service.changes);
  const app = new Hono<{ Variables: { requestId: string }; Bindings: HttpBindings }>();

  app.use(async (context, next) => {
    const requestId = requestIdOf(context.req.header("x-request-id"));
    context.set("requestId", requestId);
    await next();
    context.header("X-Request-Id", requestId);
  });
  app.onError((error, context) => problem(context, error, context.get("requestId"), log));
  app.notFound((context) => problem(context, noSuchRoute(context), context.get("requestId"), log));

  for (const name of routeNames) {
    const route: Route = routes[name];
    app.on(route.method, honoPath(route.path), (context) => {
      const entry = auditEntry(name, route.method !== "GET", context.env.incoming, context.get("requestId"));
      return measured(metrics, audit, entry, async () => {
        requireToken(cloud, context.req.header("authorization"));
        entry.actor = operatorActor;
        const parts = await readRequest(route, context);
        entry.resourceIds = idsIn(parts);
        const named = context.req.header(accountHeader);
        const callers = await callersFor(cloud, account, named, context.get("requestId"));
        entry.accountId = named === undefined && callers.operator.accountId === "any" ? null : callers.owner.accountId;
        const call = {
          ...parts,
          ...callers,
          // Made when asked for: few calls wait, and each such signal costs its memory until the server closes.
          get signal() {
            return AbortSignal.any([context.req.raw.signal, closing]);
          },
        };
        await audit?.begin(entry);
        // The table pairs each call with its own route; the loop cannot know which one this is.
        const work = calls[name](service, call as never);
        const deadline = callDeadlineMs + (name === "operationGet" ? maxWaitSeconds * 1000 : 0);
        const answer = await within(deadline, name, Promise.resolve(work));
        if (entry.changes) entry.resourceIds.push(...idsIn(answer));
        return context.json(answer, route.status);
      });
    });
  }

  app.get(rawRoutes.events.path, (context) => {
    requireToken(cloud, context.req.header("authorization"));
    const query = readPart(eventQuery, queryValues(eventQuery, new URL(context.req.url).searchParams), "query");
    const filter = { subjects: setOf(query.subject), subjectIds: setOf(query.subjectId) };
    const since = lastEventId(context.req.header("last-event-id"));
    const signal = AbortSignal.any([context.req.raw.signal, closing]);
    const stream = eventStream(cloud.events, since, filter, options.heartbeatMs ?? 15_000, signal);
    return context.body(metrics.counted("events", stream), 200, {
      "Content-Type": "text/event-stream; charset=utf-8",
      "Cache-Control": "no-store",
      "X-Accel-Buffering": "no",
    });
  });

  app.put(honoPath(rawRoutes.imageContent.path), async (context) => {
    requireToken(cloud, context.req.header("authorization"));
    const { imageContent } = rawRoutes;
    const { id } = readPart(imageContent.params, context.req.param(), "path");
    const search = new URL(context.req.url).searchParams;
    const { offset } = readPart(imageContent.query, queryValues(imageContent.query, search), "query");
    const named = context.req.header(accountHeader);
    const { operator } = await callersFor(cloud, account, named, context.get("requestId"));
    const content = boundedBody(context.req.raw, maxImagePart);
    return context.json(await cloud.images.receive(operator, id, offset, content), 200);
  });

  let looking: Promise<unknown> | undefined;
  app.get(rawRoutes.healthz.path, async (context) => {
    try {
      // Needs no token, so a crowd of strangers shares one look.
      looking ??= cloud.hosts.list({ offset: 0, limit: 1 }).finally(() => (looking = undefined));
      await within(healthDeadlineMs, "reading the database", looking);
      return context.text("ok\n");
    } catch (error) {
      log.warn({ err: error }, "not healthy");
      return context.text("unavailable\n", 503);
    }
  });

  app.get(rawRoutes.metrics.path, async (context) => {
    requireToken(cloud, context.req.header("authorization"));
    const text = await within(callDeadlineMs, "collecting metrics", options.metrics.metrics());
    return context.body(text, 200, { "Content-Type": options.metrics.contentType });
  });

  const document = JSON.stringify(openApiDocument(version));
  app.get(rawRoutes.openapi.path, (context) => context.body(document, 200, { "Content-Type": "application/json" }));

  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false });
  return (request, response) => {
    listener(request, response).catch((error: unknown) => {
      log.error({ err: error }, "answering a request");
      response.destroy();
    });
  };
}

/** The client's own id where it has the form of one, else a new one. */
export function requestIdOf(given: string | string[] | undefined): string {
  return typeof given === "string" && /^[\w-]{8,64}$/.test(given) ? given : randomUUID();
}

function honoPath(path: string): string {
  return path.replace(/\{(\w+)\}/g, ":$1");
}

function setOf(values: readonly string[] | undefined): ReadonlySet<string> | undefined {
  return values === undefined ? undefined : new Set(values);
}

const largestId = 2n ** 63n - 1n;

function lastEventId(header: string | undefined): bigint | undefined {
  if (header === undefined || header === "") return undefined;
  const id = /^\d{1,19}$/.test(header) ? BigInt(header) : undefined;
  if (id !== undefined && id <= largestId) return id;
  throw new Failure("invalid", "InvalidRequest", "Last-Event-ID is no id of ours");
}

function noSuchRoute(context: Context): Failure {
  const paths = Object.values(routes).map(({ method, path }) => ({ method: method as string, path }));
  const raw = Object.values(rawRoutes).map((one) => ({ method: "method" in one ? one.method : "GET", path: one.path }));
  const known = [...paths, ...raw];
  const here = known.filter(({ path }) => new RegExp(`^${path.replace(/\{\w+\}/g, "[^/]+")}$`).test(context.req.path));
  const methods = here.map(({ method }) => method).join(", ");
  const hint = methods === "" ? "see /openapi.json" : `this path takes ${methods}`;
  return new Failure("not_found", "NoSuchRoute", `there is no such route; ${hint}`);
}

async function measured(
  metrics: NativeMetrics,
  audit: AuditWriter | undefined,
  entry: AuditEntry,
  work: () => Promise<Response>,
): Promise<Response> {
  const end = metrics.begin(entry.action);
  try {
    const response = await work();
    end(response.status);
    audit?.end(entry, "ok");
    return response;
  } catch (error) {
    end(error instanceof Failure ? problemOf(error, "").status : 500);
    audit?.end(entry, error instanceof Failure ? error.code : "Internal");
    throw error;
  }
}

function problem(context: Context, error: unknown, requestId: string, log: Log): Response {
  const told =
    error instanceof Failure
      ? error
      : new Failure("internal", "Internal", "an error on our side; the log has it under the request id", {
          cause: error,
        });
  const level = told.kind === "internal" ? "error" : "debug";
  log[level](
    { err: error, requestId, detail: told.detail },
    `${context.req.method} ${context.req.path}: ${formatError(told)}`,
  );
  const body = problemOf(told, requestId);
  context.header("Content-Type", problemMediaType);
  context.header("X-Request-Id", requestId);
  if (told.kind === "unauthenticated") context.header("WWW-Authenticate", "Bearer");
  return context.body(JSON.stringify(body), body.status as 400);
}
