/**
 * One WebSocket to one VStation replica over mutual TLS, checked on both sides: the server's certificate must be of the pinned CA
 * and carry the name we dialled. Every message that comes is parsed by the contract's schema; one that does not parse ends the
 * connection, because what VStation meant can only be asked again.
 *
 * A dead peer is found by silence: both sides ping, and a connection on which nothing came for three heartbeats is given up.
 */
import { WebSocket } from "ws";
import { toComputeSchema, type FromCompute, type ToCompute } from "../../api/agent.ts";
import { Failure, formatError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { serverName, splitAddress, type Identity } from "./identity.ts";

export interface DialOptions {
  readonly server: string;
  readonly identity: Identity;
  readonly log: Log;
  readonly onMessage: (message: ToCompute, connection: Connection) => void;
  readonly signal: AbortSignal;
}

export interface Connection {
  send(message: FromCompute): void;
  /** Bytes that the peer has not taken yet. */
  readonly backlog: number;
  /** From now on expect something every `ms`. */
  heartbeat(ms: number): void;
  close(reason: string): void;
  /** Resolves, never rejects, when the connection is over, with the reason. */
  readonly closed: Promise<string>;
}

const connectDeadlineMs = 8_000;
/** What a host that was taken out is answered, and nothing else. */
const removedStatus = 410;
/** What a certificate is answered that is of no joining which counts. */
const unknownStatus = 403;
const firstHeartbeatMs = 5_000;
/** Longest message: a whole host's wanted documents with user data. */
const maxPayload = 64 * 2 ** 20;

/** Resolves when the connection is open; rejects with `unavailable` otherwise. */
export function dial(options: DialOptions): Promise<Connection> {
  const { identity, server, log } = options;
  const { host } = splitAddress(server);
  const socket = new WebSocket(`wss://${server}/agent`, {
    ca: identity.ca,
    cert: identity.certificate,
    key: identity.key,
    ...serverName(host),
    handshakeTimeout: connectDeadlineMs,
    maxPayload,
    perMessageDeflate: false,
  });
  let reason = "";
  let everyMs = firstHeartbeatMs;
  let lastHeard = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const heard = (): void => {
    lastHeard = performance.now();
  };
  const end = (why: string): void => {
    reason ||= why;
    socket.terminate();
  };
  const beat = (): void => {
    clearInterval(timer);
    timer = setInterval(() => {
      if (performance.now() - lastHeard > 3 * everyMs) return end(`nothing heard for ${3 * everyMs} ms`);
      if (socket.readyState === WebSocket.OPEN) socket.ping();
      return undefined;
    }, everyMs);
  };
  const aborted = (): void => end("Compute is ending");
  options.signal.addEventListener("abort", aborted);

  socket.on("ping", heard);
  socket.on("pong", heard);
  socket.on("message", (data, binary) => {
    heard();
    try {
      if (binary) throw new Error("a binary message");
      const text = Array.isArray(data) ? Buffer.concat(data).toString() : Buffer.from(data as Buffer).toString();
      options.onMessage(toComputeSchema.parse(JSON.parse(text)), connection);
    } catch (error) {
      log.error({ err: error, server }, "VStation sent something that the contract does not know");
      end(`a message out of contract: ${formatError(error).slice(0, 200)}`);
    }
  });

  const closed = new Promise<string>((resolve) => {
    socket.on("close", (code, text) => {
      clearInterval(timer);
      options.signal.removeEventListener("abort", aborted);
      resolve(reason || text.toString() || `closed with ${code}`);
    });
  });
  const connection: Connection = {
    send: (message) => socket.send(JSON.stringify(message)),
    get backlog() {
      return socket.bufferedAmount;
    },
    heartbeat: (ms) => {
      everyMs = ms;
      beat();
    },
    close: end,
    closed,
  };
  return new Promise((resolve, reject) => {
    socket.on("error", (error) => {
      reason ||= formatError(error);
      reject(new Failure("unavailable", "ServerAway", `${server} is not reachable`, { cause: error }));
    });
    socket.on("unexpected-response", (request, response) => {
      request.destroy();
      const { statusCode } = response;
      reason ||= `refused with ${statusCode}`;
      const refused = `${server} refused the connection with ${statusCode}`;
      if (statusCode === removedStatus)
        reject(new Failure("forbidden", "HostRemoved", "VStation has taken this host out"));
      else if (statusCode === unknownStatus) reject(new Failure("forbidden", "CertificateUnknown", refused));
      else reject(new Failure("unavailable", "ServerRefused", refused));
    });
    socket.on("open", () => {
      beat();
      resolve(connection);
    });
  });
}
