/**
 * The public listener: one server, two APIs. What belongs to the native API is told by its path; everything else is the CVM API's,
 * whose clients POST to `/` (also in absolute form, through what they take for a proxy) whatever their endpoint's path is.
 */
import { createServer as createPlain, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createSecure } from "node:https";
import { isIP } from "node:net";
import type { AddressInfo } from "node:net";
import { readFile } from "node:fs/promises";
import type { Duplex } from "node:stream";
import { wrap } from "../lib/errors.ts";
import { clientHeader } from "./source.ts";
import type { VStationConfig } from "./config.ts";

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

export interface Handlers {
  native: Handler;
  cvm: Handler;
  isNative(path: string): boolean;
  /** True when another replica answers it. */
  passOn?(request: IncomingMessage, response: ServerResponse): Promise<boolean>;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

export interface PublicListener {
  /** As clients write it: scheme, address, port. */
  url: string;
  host: string;
  close(): Promise<void>;
}

const headersMs = 30_000;
const requestMs = 120_000;

/**
 * Refuses an address that others can reach without TLS: requests carry replayable signatures and the operator's token. And one
 * under which nobody can be told to find us.
 */
export function checkListen({ address, name, tls }: VStationConfig["listen"]): void {
  if (tls !== undefined && name === undefined && isEveryAddress(address)) {
    throw new Error(
      `listen.address ${address} is every address of this machine, so listen.name is needed: what clients call it, as in the certificate`,
    );
  }
  if (tls !== undefined || isLoopback(address)) return;
  throw new Error(
    `listen.address ${address} can be reached from other machines, so listen.tls {certFile, keyFile} is needed; ` +
      "without TLS only a loopback address is served",
  );
}

function isLoopback(address: string): boolean {
  return address === "localhost" || address === "::1" || (isIP(address) === 4 && address.startsWith("127."));
}

function isEveryAddress(address: string): boolean {
  return address === "" || /^[0:.]*$/.test(address);
}

export async function listenPublic(
  listen: VStationConfig["listen"],
  serverOptions: { maxHeaderSize: number },
  handlers: Handlers,
): Promise<PublicListener> {
  const server = await create(listen, serverOptions, (request, response) => {
    // Only a replica may say on whose behalf it asks.
    delete request.headers[clientHeader];
    if (handlers.passOn === undefined) return answerHere(handlers, request, response);
    handlers.passOn(request, response).then(
      (passed) => (passed ? undefined : answerHere(handlers, request, response)),
      () => response.destroy(),
    );
    return undefined;
  });
  server.headersTimeout = headersMs;
  server.requestTimeout = requestMs;
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) =>
    handlers.upgrade(request, socket, head),
  );
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(wrap(`listening on ${listen.address}:${listen.port}`, error)));
    server.listen(listen.port, listen.address, () => resolve());
  });
  const { port } = server.address() as AddressInfo;
  const called = listen.name ?? listen.address;
  const host = `${isIP(called) === 6 ? `[${called}]` : called}:${port}`;
  return {
    host,
    url: `${listen.tls === undefined ? "http" : "https"}://${host}`,
    close: () => close(server),
  };
}

/** By the API whose path it has. */
export function answerHere(handlers: Handlers, request: IncomingMessage, response: ServerResponse): void {
  (handlers.isNative(pathOf(request)) ? handlers.native : handlers.cvm)(request, response);
}

async function create(
  { tls }: VStationConfig["listen"],
  options: { maxHeaderSize: number },
  listener: Handler,
): Promise<Server> {
  if (tls === undefined) return createPlain(options, listener);
  const [cert, key] = await Promise.all([readFile(tls.certFile), readFile(tls.keyFile)]).catch((error: unknown) => {
    throw wrap("reading listen.tls", error);
  });
  return createSecure({ ...options, cert, key, minVersion: "TLSv1.2" }, listener);
}

/** The path of a request's target, which is a path or, through a proxy, a whole URL. */
function pathOf({ url = "/" }: IncomingMessage): string {
  const path = /^https?:\/\//i.test(url) ? (URL.parse(url)?.pathname ?? "/") : url;
  return path.split("?", 1)[0] ?? "/";
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  // Requests under way get a moment; streams have been told to end.
  const late = setTimeout(() => server.closeAllConnections(), 2_000);
  await closed;
  clearTimeout(late);
}
