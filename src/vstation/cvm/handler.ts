/**
 * The CVM API 3.0, and of the services beside it what clients of CVM need, over plain HTTP: one request in, one answer out, whatever
 * happens. Clients may use one host name per service or one for all; only the action's name and version count.
 *
 * Order matters. What needs no body is refused before the body is read (form of the signature, age, key), so that nobody without
 * a key makes us keep 10 MB; the signature is checked over the raw bytes before anything reads them; only then the action is
 * looked up. Unknown actions and parameters are answered to known callers only. What may change something is begun only once it
 * stands in the log of calls (audit.ts).
 *
 * What unchanged clients need of every answer: status 200 also for errors; `Content-Type: application/json` and not a letter
 * more (the Python SDK swallows errors otherwise); `{"Response": {..., "RequestId"}}` or `{"Response": {"Error": {Code, Message},
 * "RequestId"}}`; the trace id echoed. Some clients dereference what they get without looking: instance-view.ts.
 *
 * A client that dies after its request was accepted, or this process before the answer is written, changes nothing: the request
 * goes on, and `ClientToken` finds it again.
 */
import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { crashPoint } from "../../lib/crash-point.ts";
import type { Log } from "../../lib/log.ts";
import { within } from "../../lib/retry.ts";
import { idsIn } from "../../lib/ids.ts";
import type { AuditEntry, AuditWriter } from "../audit.ts";
import type { AccessKey, Cloud } from "../cloud.ts";
import type { Action, Place } from "./action.ts";
import { actions } from "./actions.ts";
import { Gone, drain, readBody } from "./body.ts";
import { Refusal, type CvmCode } from "./error-codes.ts";
import { refusalOf } from "./failure-mapping.ts";
import { serviceOf, services } from "./known-actions/known-actions.ts";
import { parametersOfJson, parametersOfQuery } from "./request-body.ts";
import { readAuthorization, signatureValid, type Authorization } from "./tc3.ts";
import { sourceOf } from "../source.ts";

export interface CvmOptions extends Place {
  log: Log;
  now: () => Date;
  /** Told of every answered call; `action` is one of the services' names or "unknown". */
  onCall?: (action: string, outcome: CvmCode | "ok", seconds: number) => void;
  audit?: AuditWriter;
}

/** Node's own limit of 16 KB for all headers would refuse long GET queries with a status that clients cannot read. */
export const cvmServerOptions = { maxHeaderSize: 64 * 1024 } as const;

const maximumQuery = 32 * 1024;
/** Below the SDKs' own 60 s, so that the caller gets our answer and not a cut connection. */
const deadlineMs = 50_000;

const offered: ReadonlyMap<string, Action> = new Map(actions.map((action) => [action.name, action]));

/** The request listener of a `node:http` server for the four services; it never throws. */
export function createCvmHandler(
  cloud: Cloud,
  options: CvmOptions,
): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    void serve(cloud, options, request, response);
  };
}

async function serve(
  cloud: Cloud,
  options: CvmOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const started = performance.now();
  const requestId = randomUUID();
  const action = header(request, "x-tc-action") ?? "";
  const log = options.log.child({ requestId, action: action.slice(0, 64) });
  const entry: AuditEntry = {
    at: new Date(),
    edge: "cvm",
    action: serviceOf(action) === undefined ? "unknown" : action,
    changes: !isRead(action),
    accountId: null,
    actor: null,
    resourceIds: [],
    source: sourceOf(request),
    agent: header(request, "x-tc-requestclient") ?? header(request, "user-agent") ?? null,
    requestId,
  };
  let outcome: CvmCode | "ok" = "ok";
  try {
    const answer = await perform(cloud, options, request, action, entry);
    entry.resourceIds.push(...idsIn(entry.changes ? answer : undefined));
    crashPoint("cvm.action.performed");
    write(request, response, { ...answer, RequestId: requestId });
    log.debug("answered");
  } catch (error) {
    if (error instanceof Gone) {
      log.debug(error.message);
      response.destroy();
      return;
    }
    const refusal = refusalOf(error, serviceOf(action));
    outcome = refusal.code;
    if (outcome === "InternalError") log.error({ err: error }, "failed");
    else log.info({ code: outcome, reason: refusal.message }, "refused");
    refuse(request, response, refusal, requestId);
  }
  options.audit?.end(entry, outcome);
  options.onCall?.(serviceOf(action) !== undefined ? action : "unknown", outcome, (performance.now() - started) / 1000);
}

async function perform(
  cloud: Cloud,
  options: CvmOptions,
  request: IncomingMessage,
  name: string,
  entry: AuditEntry,
): Promise<object> {
  const { method = "", url: target = "/" } = request;
  if (method !== "POST" && method !== "GET") {
    throw new Refusal("UnsupportedProtocol", "Use POST with a JSON body, or GET.");
  }
  if (target.length > maximumQuery) throw new Refusal("RequestSizeLimitExceeded", "The query is larger than 32 KB.");
  const authorization = readAuthorization(headersOf(request), options.now().getTime() / 1000);
  const key = await within(deadlineMs, "access key", cloud.accessKey(authorization.secretId));
  if (key === undefined) throw new Refusal("AuthFailure.SecretIdNotFound", "There is no such SecretId.");

  const body = await readBody(request);
  checkSignature(request, body, authorization, key);
  entry.actor = key.secretId;
  entry.accountId = key.accountId;
  const action = select(request, name, options);
  const parameters = method === "GET" ? parametersOfQuery(target.split("?").slice(1).join("?")) : jsonOf(request, body);
  entry.resourceIds = idsIn(parameters);
  const { requestId } = entry;
  const context = { cloud, caller: { accountId: key.accountId, requestId }, place: options };
  await options.audit?.begin(entry);
  return within(deadlineMs, name, action.call(context, parameters));
}

/** Actions whose names say that they only tell something; a console's address is a way in, and so not one of them. */
export function isRead(action: string): boolean {
  return /^(?:Describe|Inquir[ey])/.test(action) && action !== "DescribeInstanceVncUrl";
}

function checkSignature(request: IncomingMessage, body: Buffer, authorization: Authorization, key: AccessKey): void {
  const signed = { method: request.method ?? "", target: request.url ?? "/", headers: headersOf(request), body };
  if (signatureValid(signed, authorization, key.secretKey)) return;
  throw new Refusal(
    "AuthFailure.SignatureFailure",
    "The signature does not match this request and key; see the documentation of TC3-HMAC-SHA256.",
  );
}

/** The action that is asked for, if its version and region are ours. */
function select(request: IncomingMessage, name: string, options: CvmOptions): Action {
  const asked = header(request, "x-tc-version");
  if (name === "") throw new Refusal("MissingParameter", "The header X-TC-Action is required.");
  if (asked === undefined) throw new Refusal("MissingParameter", "The header X-TC-Version is required.");
  const service = serviceOf(name);
  if (service === undefined) throw new Refusal("InvalidAction", "No service here has an action of this name.");
  const { title, version } = services[service];
  if (asked !== version) throw new Refusal("NoSuchVersion", `The version of ${title} is ${version}.`);
  const action = offered.get(name);
  if (action === undefined) throw new Refusal("UnsupportedOperation", `${name} is not offered here.`);
  if (!action.regional) return action;
  const region = header(request, "x-tc-region");
  if (region === undefined) throw new Refusal("MissingParameter", "The header X-TC-Region is required.");
  if (region !== options.region) throw new Refusal("UnsupportedRegion", `The region here is ${options.region}.`);
  return action;
}

function jsonOf(request: IncomingMessage, body: Buffer): unknown {
  if (!/^application\/json(?:$|[ ;])/i.test(header(request, "content-type") ?? "")) {
    throw new Refusal("UnsupportedProtocol", "The body must be application/json.");
  }
  return parametersOfJson(body);
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

function headersOf(request: IncomingMessage): Record<string, string | undefined> {
  return Object.fromEntries(Object.keys(request.headers).map((name) => [name, header(request, name)]));
}

/** The answer that is an error. */
export function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  { code, message }: Refusal,
  requestId: string,
): void {
  write(request, response, { Error: { Code: code, Message: message }, RequestId: requestId });
}

function write(request: IncomingMessage, response: ServerResponse, content: object): void {
  const body = Buffer.from(JSON.stringify({ Response: content }));
  const trace = header(request, "x-tc-traceid");
  response.writeHead(200, {
    "Content-Type": "application/json",
    "Content-Length": body.length,
    ...(trace !== undefined && /^[\x21-\x7e]{1,128}$/.test(trace) ? { "X-TC-TraceId": trace } : {}),
  });
  response.end(body);
  drain(request);
}
