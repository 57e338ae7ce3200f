/**
 * The metadata service of one VPC on this host: who asks is told by the namespace and the source address, which no guest can
 * choose (network/firewall/taps.ts). A guest gets its own document and nothing else.
 *
 * Strangers' input is bounded: connections, header sizes, times, and how often one address may ask. What asks on behalf of somebody
 * else (a forwarding proxy) gets nothing.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Server as Listener, Socket } from "node:net";
import { lookUp, metadata, type Subject } from "./document.ts";

/** Who asks from there; undefined: nobody who gets an answer. */
export type SubjectAt = (address: string) => Subject | undefined;

const connections = 256;
const connectionsEach = 16;
const perSecond = 50;
const burst = 200;

export class MetadataService {
  readonly #subjectAt: SubjectAt;
  readonly #listener: Listener;
  readonly #http: Server;
  readonly #open = new Map<string, Set<Socket>>();
  readonly #spent = new Map<string, { tokens: number; at: number }>();

  constructor(listener: Listener, subjectAt: SubjectAt) {
    this.#subjectAt = subjectAt;
    this.#listener = listener;
    this.#listener.maxConnections = connections;
    const limits = { maxHeaderSize: 4096, headersTimeout: 5_000, requestTimeout: 5_000, keepAliveTimeout: 5_000 };
    this.#http = createServer(limits, (request, response) => this.#answer(request, response));
    this.#http.on("clientError", (_, socket) => socket.destroy());
    this.#listener.on("connection", (socket) => this.#accept(socket));
  }

  close(): void {
    this.#listener.close();
    this.#http.closeAllConnections();
    for (const sockets of this.#open.values()) for (const socket of sockets) socket.destroy();
  }

  #accept(socket: Socket): void {
    const address = socket.remoteAddress ?? "";
    const sockets = this.#open.get(address) ?? new Set();
    if (sockets.size >= connectionsEach || this.#subjectAt(address) === undefined) return void socket.destroy();
    this.#open.set(address, sockets.add(socket));
    socket.setTimeout(10_000, () => socket.destroy());
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      sockets.delete(socket);
      if (sockets.size === 0) this.#open.delete(address);
    });
    this.#http.emit("connection", socket);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    response.setHeader("content-type", "text/plain; charset=utf-8");
    response.setHeader("cache-control", "no-store");
    const end = (status: number, body: string | Buffer): void => {
      response.writeHead(status, { "content-length": Buffer.byteLength(body) });
      response.end(request.method === "HEAD" ? undefined : body);
    };
    const address = request.socket.remoteAddress ?? "";
    if (!this.#mayAsk(address, performance.now())) return end(429, "too many requests\n");
    if (request.method !== "GET" && request.method !== "HEAD") return end(405, "only GET\n");
    if (request.headers["x-forwarded-for"] !== undefined) return end(403, "not on behalf of others\n");
    const subject = this.#subjectAt(address);
    const found = subject && lookUp(metadata(subject), pathOf(request.url ?? "/"));
    if (found === undefined) return end(404, "not found\n");
    if (Buffer.isBuffer(found)) response.setHeader("content-type", "application/octet-stream");
    return end(200, found);
  }

  #mayAsk(address: string, now: number): boolean {
    const spent = this.#spent.get(address) ?? { tokens: burst, at: now };
    const tokens = Math.min(burst, spent.tokens + ((now - spent.at) / 1000) * perSecond);
    this.#spent.set(address, { tokens: Math.max(0, tokens - 1), at: now });
    // Only guests are in it; of those that have gone a handful of numbers is left until then.
    if (this.#spent.size > 4096) this.#spent.clear();
    return tokens >= 1;
  }
}

function pathOf(url: string): string {
  const [path = ""] = url.split("?");
  try {
    return decodeURIComponent(path);
  } catch {
    return "/";
  }
}
