/**
 * The serial console over a WebSocket (`GET /v1/instances/{id}/console`).
 *
 * First the live stream is opened, then the log is read: so there is no hole between past and present, only an overlap, which
 * `splice.ts` takes out. Who else touches it: the host may close the session (the guest ended), the
 * client may go, the server may close. Whoever is first, the others are closed, each once.
 *
 * A client that does not read makes us stop reading from the host (one chunk at a time waits for the socket); a client that
 * vanished is found by an unanswered ping.
 */
import { STATUS_CODES, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer, type RawData, type WebSocket } from "ws";
import { problemMediaType, problemOf } from "../../api/native/problem.ts";
import { consoleQuery, instanceParams } from "../../api/native/requests.ts";
import { rawRoutes } from "../../api/native/routes.ts";
import { overlap } from "../../api/native/splice.ts";
import { Failure, formatError, wrap } from "../../lib/errors.ts";
import type { InstanceId } from "../../lib/ids.ts";
import { within } from "../../lib/retry.ts";
import type { AuditEntry } from "../audit.ts";
import type { AnyCaller, Cloud, ConsoleSession } from "../cloud.ts";
import { requireTokenItself, tokenOf } from "./auth.ts";
import { accountHeader, auditEntry, callersFor, operatorActor } from "./call.ts";
import { requestIdOf, type NativeOptions } from "./handler.ts";
import { streamCounter } from "./metrics.ts";
import { queryValues, readPart } from "./request.ts";

const protocol = "vstation.console";
const openDeadlineMs = 15_000;
const pingMs = 20_000;
const maxFrame = 64 * 1024;
/** A host takes at most 12 KiB of input in one message. */
const inputChunk = 8 * 1024;
const maxWaiting = 1024 * 1024;

const pathPattern = new RegExp(`^${rawRoutes.console.path.replace("{id}", "([^/]+)")}$`);

/** Takes `upgrade` events of the same server for paths of the native API; answers every other path with a problem. */
export function createNativeUpgrade(
  cloud: Cloud,
  options: NativeOptions,
): (request: IncomingMessage, socket: Duplex, head: Buffer) => void {
  const { log } = options;
  const closing = options.closing ?? new AbortController().signal;
  const opened = streamCounter(options.metrics);
  const server = new WebSocketServer({
    noServer: true,
    maxPayload: maxFrame,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(protocol) ? protocol : false),
  });

  const accept = async (
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    requestId: string,
    entry: AuditEntry,
  ): Promise<void> => {
    const { id, history } = readUpgrade(cloud, request);
    entry.actor = operatorActor;
    entry.resourceIds = [id];
    const named = request.headers[accountHeader];
    const account = typeof named === "string" ? named : undefined;
    const { operator, owner } = await callersFor(cloud, options.account, account, requestId);
    entry.accountId = account === undefined ? null : owner.accountId;
    await options.audit?.begin(entry);
    const opening = cloud.instances.consoleOpen(operator, id);
    let session: ConsoleSession;
    try {
      session = await within(openDeadlineMs, `opening the console of ${id}`, opening);
    } catch (error) {
      // It may still open after we gave up on it: nobody would read it.
      opening.then((late) => late.close()).catch(() => undefined);
      throw error;
    }
    // Also for a handshake that the library refuses by itself: it answers, closes, and tells nobody.
    socket.once("close", () => session.close());
    if (socket.destroyed || closing.aborted) {
      session.close();
      socket.destroy();
      return;
    }
    server.handleUpgrade(request, socket, head, (websocket) => {
      const end = opened("console");
      websocket.once("close", end);
      serve({ cloud, operator, id, history, session, websocket, closing }).catch((error: unknown) => {
        log.warn({ err: error, requestId, instanceId: id }, `console of ${id}: ${formatError(error)}`);
        websocket.close(1011);
      });
    });
  };

  return (request, socket, head) => {
    const requestId = requestIdOf(request.headers["x-request-id"]);
    socket.on("error", () => socket.destroy());
    // A way into a guest: what is done there is nobody's call any more.
    const entry = auditEntry("console", true, request, requestId);
    const accepted = accept(request, socket, head, requestId, entry);
    accepted
      .then(() => options.audit?.end(entry, "ok"))
      .catch((error: unknown) => {
        const told = error instanceof Failure ? error : new Failure("internal", "Internal", "an error on our side");
        log[told.kind === "internal" ? "error" : "debug"]({ err: error, requestId }, `console: ${formatError(error)}`);
        options.audit?.end(entry, told.code);
        refuse(socket, told, requestId);
      });
  };
}

function readUpgrade(cloud: Cloud, request: IncomingMessage): { id: InstanceId; history: number } {
  const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((word) => word.trim());
  const bearer = offered.find((word) => word.startsWith("bearer."))?.slice("bearer.".length);
  requireTokenItself(cloud, tokenOf(request.headers.authorization) ?? bearer);
  const url = new URL(request.url ?? "/", "http://localhost");
  const given = pathPattern.exec(url.pathname)?.[1];
  if (given === undefined) {
    throw new Failure("not_found", "NoSuchRoute", `there is no such WebSocket; ${rawRoutes.console.path} is one`);
  }
  const { id } = readPart(instanceParams, { id: given }, "path");
  const query = readPart(consoleQuery, queryValues(consoleQuery, url.searchParams), "query");
  return { id, history: query.history };
}

interface Serving {
  cloud: Cloud;
  operator: AnyCaller;
  id: InstanceId;
  history: number;
  session: ConsoleSession;
  websocket: WebSocket;
  closing: AbortSignal;
}

async function serve(serving: Serving): Promise<void> {
  const { session, websocket, closing } = serving;
  let answered = true;
  const timer = setInterval(() => {
    if (!answered) websocket.terminate();
    answered = false;
    websocket.ping();
  }, pingMs);
  const onClosing = (): void => websocket.close(1001, "the server closes");
  closing.addEventListener("abort", onClosing, { once: true });
  websocket.on("pong", () => (answered = true));
  websocket.on("message", (data, isBinary) => {
    if (isBinary) for (const chunk of chunksOf(data)) session.write(chunk);
    else websocket.close(1003, "only binary frames come from a client");
  });
  websocket.on("error", () => websocket.terminate());
  websocket.once("close", () => {
    clearInterval(timer);
    closing.removeEventListener("abort", onClosing);
    session.close();
  });

  let reason = "the console ended";
  try {
    await pump(serving);
  } catch (error) {
    reason = error instanceof Failure ? error.message : "the console broke";
    throw wrap("reading from the console", error);
  } finally {
    session.close();
    websocket.send(JSON.stringify({ type: "closed", reason }), () => websocket.close(1000, "ended"));
  }
}

/** Past output, then live output until the session ends. What comes live while the past is read waits. */
async function pump({ cloud, operator, id, history, session, websocket }: Serving): Promise<void> {
  const waiting: Buffer[] = [];
  let waitingBytes = 0;
  let live = false;
  const begin = async (): Promise<void> => {
    const log = readPast(cloud, operator, id, history);
    const { data, truncated } = await within(openDeadlineMs, `reading the log of ${id}`, log);
    await sent(websocket, JSON.stringify({ type: "history", bytes: data.length, truncated }), false);
    if (data.length > 0) await sent(websocket, data, true);
    await sent(websocket, JSON.stringify({ type: "live" }), false);
    // Nothing is awaited between taking what waits and going live, so no chunk can come between.
    const early = Buffer.concat(waiting);
    const fresh = early.subarray(overlap(data, early));
    live = true;
    if (fresh.length > 0) await sent(websocket, fresh, true);
  };
  const past = begin();
  // A log that cannot be read ends the console at the await below, or at once if the stream is silent.
  past.catch(() => session.close());
  for await (const chunk of session.output) {
    if (websocket.readyState !== websocket.OPEN) break;
    if (live) {
      await sent(websocket, chunk, true);
    } else if (waitingBytes + chunk.length <= maxWaiting) {
      waiting.push(chunk);
      waitingBytes += chunk.length;
    } else {
      await past;
      await sent(websocket, chunk, true);
    }
  }
  await past;
}

async function readPast(
  cloud: Cloud,
  operator: AnyCaller,
  id: InstanceId,
  bytes: number,
): Promise<{ data: Buffer; truncated: boolean }> {
  if (bytes === 0) return { data: Buffer.alloc(0), truncated: false };
  return await cloud.instances.consoleLog(operator, id, bytes);
}

/** Resolves when the frame is with the kernel; a socket that is closing takes nothing and says nothing. */
function sent(websocket: WebSocket, data: Buffer | string, binary: boolean): Promise<void> {
  return new Promise((resolve) => websocket.send(data, { binary }, () => resolve()));
}

function* chunksOf(data: RawData): Generator<Buffer> {
  const whole = Buffer.isBuffer(data) ? data : Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
  for (let at = 0; at < whole.length; at += inputChunk) yield whole.subarray(at, at + inputChunk);
}

function refuse(socket: Duplex, failure: Failure, requestId: string): void {
  if (socket.destroyed) return;
  const problem = problemOf(failure, requestId);
  const body = JSON.stringify(problem);
  const head = [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? "Error"}`,
    `Content-Type: ${problemMediaType}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Request-Id: ${requestId}`,
    "Connection: close",
    "",
    body,
  ];
  socket.end(head.join("\r\n"));
}
