/**
 * What only the replica that places can answer, passed on to it by any other: every change through the CVM API and most through the native
 * one, because many of them take room, and none is worse for the way round. So clients may ask any replica, or a balancer before them.
 *
 * The zone's row names where the holder of the lease listens for hosts; there, under VStation's own CA, a replica is known by the
 * name in its certificate, and what it brings is answered as if it had come by the public listener. A request is passed on once, from
 * its first byte: until there is a connection nothing of it has been read, and without one it is answered here, as by a zone in which
 * nobody places. When the connection breaks later, so does the client's: whether it was done is unknown, as whenever a server dies.
 */
import { request as ask, type RequestOptions } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { connect, type TLSSocket } from "node:tls";
import { isNativePath } from "../api/native/routes.ts";
import { formatError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { isRead } from "./cvm/handler.ts";
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
}

const connectMs = 2_000;
const answerMs = 120_000;

export class PassOn {
  readonly #options: PassOnOptions;

  constructor(options: PassOnOptions) {
    this.#options = options;
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
      response.destroy();
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
    const asked = ask({ ...options, timeout: answerMs });
    asked.on("timeout", () => asked.destroy(new Error(`no answer within ${answerMs} ms`)));
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      asked.once("response", resolve);
      asked.once("error", reject);
    });
    // An answer may come before the end of what is asked, and then the rest of that is nobody's.
    const sent = pipeline(request, asked);
    sent.catch(() => undefined);
    const answer = await answered;
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    await pipeline(answer, response);
  }
}

function changes({ method, url = "/", headers }: IncomingMessage): boolean {
  const path = url.split("?", 1)[0] ?? "/";
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
