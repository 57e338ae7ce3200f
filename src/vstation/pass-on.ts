/**
 * What only the replica that places can answer, passed on to it by any other: every change through the CVM API and most through the native
 * one, because many of them take room, and none is worse for the way round. So clients may ask any replica, or a balancer before them.
 *
 * The zone's row names where the holder of the lease listens for hosts; there, under VStation's own CA, a replica is known by the
 * name in its certificate, and what it brings is answered as if it had come by the public listener. A request is passed on once, from
 * its first byte: until there is a connection nothing of it has been read, and without one it is answered here, as by a zone in which
 * nobody places. When the other one dies or hangs later, whether it was done is unknown, and the client is told just that, before its
 * own patience ends. Asked again, a request with a ClientToken finds what was done. Half an answer ends with its connection.
 */
import { request as ask, type RequestOptions } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { connect, type TLSSocket } from "node:tls";
import { problemMediaType, problemOf } from "../api/native/problem.ts";
import { isNativePath } from "../api/native/routes.ts";
import { Failure, formatError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { drain } from "./cvm/body.ts";
import { Refusal } from "./cvm/error-codes.ts";
import { isRead, refuse } from "./cvm/handler.ts";
import { requestIdOf } from "./native/handler.ts";
import { clientHeader, sourceOf } from "./source.ts";
import type { Store } from "./store/database.ts";
import { leaseAddress } from "./store/zone.ts";

export interface PassOnOptions {
  readonly store: Store;
  readonly zone: string;
  readonly log: Log;
  /** Does this replica place? */
  readonly places: () => boolean;
  /** What it shows to others, and whom it believes. */
  readonly identity: () => { cert: string; key: string; ca: string };
  readonly answerMs?: number;
}

const connectMs = 2_000;
/** Longer than the other one takes for any answer, and below the 60 s for which SDKs wait. */
const defaultAnswerMs = 55_000;

export class PassOn {
  readonly #options: PassOnOptions & { answerMs: number };

  constructor(options: PassOnOptions) {
    this.#options = { ...options, answerMs: options.answerMs ?? defaultAnswerMs };
  }

  /** True when somebody else answers it; otherwise it is untouched. */
  async take(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    if (this.#options.places() || !changes(request)) return false;
    const socket = await this.#toHolder();
    if (socket === undefined) return false;
    try {
      await this.#pass(request, response, socket);
    } catch (error) {
      this.#options.log.warn({ chain: formatError(error) }, "a request that was passed on was not answered");
      if (response.headersSent) response.destroy();
      else outcomeUnknown(request, response);
    } finally {
      socket.destroy();
    }
    return true;
  }

  /** A connection to whoever places; undefined while nobody does, or when it cannot be reached. */
  async #toHolder(): Promise<TLSSocket | undefined> {
    const { store, zone, log, identity } = this.#options;
    try {
      const address = await leaseAddress(store, zone);
      if (address === undefined) return undefined;
      const at = address.lastIndexOf(":");
      const host = address.slice(0, at).replaceAll(/^\[|\]$/g, "");
      return await secured({ ...identity(), host, port: Number(address.slice(at + 1)) });
    } catch (error) {
      log.warn({ chain: formatError(error) }, "the replica that places could not be reached");
      return undefined;
    }
  }

  async #pass(request: IncomingMessage, response: ServerResponse, socket: TLSSocket): Promise<void> {
    const { method, url: path } = request;
    const headers = { ...request.headers, connection: "close", [clientHeader]: sourceOf(request) };
    const options: RequestOptions = { method, path, headers, setHost: false, createConnection: () => socket };
    const { answerMs } = this.#options;
    // A request's own timeout holds only for connections that it makes itself.
    socket.setTimeout(answerMs, () => socket.destroy(new Error(`nothing heard for ${answerMs} ms`)));
    const asked = ask(options);
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      asked.once("response", resolve);
      asked.on("error", reject);
    });
    // No pipeline: that would end the client's connection with the other one, and nobody could tell it why.
    request.pipe(asked);
    request.once("close", () => (request.complete ? undefined : asked.destroy(new Error("the client went away"))));
    try {
      const answer = await answered;
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      await pipeline(answer, response);
    } finally {
      // An answer may come before the end of what is asked, and then the rest of that is nobody's.
      request.unpipe(asked);
      drain(request);
    }
  }
}

/** In the words of the API that was asked. */
function outcomeUnknown(request: IncomingMessage, response: ServerResponse): void {
  const message =
    "The replica of VStation that places gave no answer, so whether this was done is unknown. Look, or ask again with the same client token.";
  const requestId = requestIdOf(request.headers["x-request-id"]);
  if (!isNativePath(pathOf(request)))
    return refuse(request, response, new Refusal("InternalError", message), requestId);
  const problem = problemOf(new Failure("timeout", "DeadlineExceeded", message), requestId);
  response.writeHead(problem.status, { "Content-Type": problemMediaType, "X-Request-Id": requestId });
  response.end(JSON.stringify(problem));
}

function pathOf({ url = "/" }: IncomingMessage): string {
  return url.split("?", 1)[0] ?? "/";
}

function changes(request: IncomingMessage): boolean {
  const { method, headers } = request;
  const path = pathOf(request);
  // An image's parts go to the folder that replicas share.
  if (isNativePath(path)) return method !== "GET" && !path.startsWith("/v1/images");
  const action = headers["x-tc-action"];
  return typeof action === "string" && (!isRead(action) || action === "DescribeZoneInstanceConfigInfos");
}

function secured(options: { host: string; port: number; cert: string; key: string; ca: string }): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...options, minVersion: "TLSv1.3" }, () => {
      clearTimeout(late);
      resolve(socket);
    });
    const late = setTimeout(() => socket.destroy(new Error(`no connection within ${connectMs} ms`)), connectMs);
    socket.once("error", (error) => {
      clearTimeout(late);
      reject(error);
    });
    // Later ones are told to whoever uses it; one must never be nobody's.
    socket.on("error", () => undefined);
  });
}
