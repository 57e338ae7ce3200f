/**
 * The target's end of the connection between two Computes: a port of the underlay address that serves one migration, to the one host
 * that VStation has named as its source, known by its certificate. Nothing is read of anybody else.
 */
import type { AddressInfo } from "node:net";
import { createSecureContext, createServer, type Server, type TLSSocket } from "node:tls";
import type { HostId, MigrationId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { messageOf } from "../vm/failures.ts";
import type { Identity } from "../link/identity.ts";
import { Lines } from "./lines.ts";
import { refusalIn, requestSchema, type PeerAsk, type Refusal } from "./wire.ts";

export interface ListenOptions {
  readonly address: string;
  readonly migration: MigrationId;
  readonly source: HostId;
  readonly silenceMs: number;
  /** Read at each connection: certificates are renewed. */
  readonly identity: () => Identity | undefined;
  /** `caller` is the connection's own. Throws a refusal (wire.ts) or whatever went wrong. */
  readonly serve: (ask: PeerAsk, caller: symbol) => Promise<unknown>;
  readonly left: (caller: symbol) => void;
  readonly log: Log;
}

/** One for the attempt, and those of a source that asks for the word and has not noticed the end of the former yet. */
const mostConnections = 4;
/** Of a link that is only tried. */
const handshakeMs = 5_000;

export class PeerListener {
  readonly port: number;
  readonly #server: Server;
  readonly #open: ReadonlySet<Lines>;

  private constructor(server: Server, open: ReadonlySet<Lines>) {
    this.port = (server.address() as AddressInfo).port;
    this.#server = server;
    this.#open = open;
  }

  static async begin(options: ListenOptions): Promise<PeerListener> {
    const open = new Set<Lines>();
    const server = await listenFor(
      { ...options, most: mostConnections, patienceMs: options.silenceMs, about: { migration: options.migration } },
      (socket) => serve(options, socket, open),
    );
    return new PeerListener(server, open);
  }

  close(): void {
    this.#server.close();
    for (const lines of this.#open) lines.close("the migration is over here");
  }
}

/** A port that takes connections of one host and of nobody else. */
export async function listenFor(
  options: Pick<ListenOptions, "address" | "source" | "identity" | "log"> & {
    most: number;
    patienceMs?: number;
    about: object;
  },
  accept: (socket: TLSSocket) => void,
): Promise<Server> {
  const { address, identity, log, source, most, patienceMs = handshakeMs, about } = options;
  const server = createServer({
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: "TLSv1.3",
    handshakeTimeout: patienceMs,
    SNICallback: (_, done) => {
      const own = identity();
      if (own === undefined) return done(new Error("this host has no certificate yet"));
      return done(null, createSecureContext({ ca: own.ca, cert: own.certificate, key: own.key }));
    },
  });
  server.maxConnections = most;
  server.on("tlsClientError", (error) => log.warn({ err: error, ...about }, "refused a connection of a migration"));
  server.on("secureConnection", (socket) => {
    if (socket.authorized && socket.getPeerCertificate().subject?.CN === source) return accept(socket);
    log.warn({ ...about, source }, "refused a connection of a migration from another host than its source");
    return void socket.destroy();
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, address, resolve);
  });
  server.removeAllListeners("error").on("error", (error) => log.error({ err: error, ...about }, "cannot listen"));
  return server;
}

function serve(options: ListenOptions, socket: TLSSocket, open: Set<Lines>): void {
  const caller = Symbol("caller");
  const lines = new Lines(socket, options.silenceMs, (value) => {
    const { id, migration, ask } = requestSchema.parse(value);
    if (migration !== options.migration) throw new Error("it speaks of another migration");
    options.serve(ask, caller).then(
      (ok) => lines.send({ id, ok }),
      (error: unknown) => {
        options.log.warn({ err: error, migration, ask: ask.is }, "refused what the source has asked");
        lines.send({ id, refused: refusalIn(error) ?? unforeseen(error) });
      },
    );
  });
  open.add(lines);
  void whenOver();

  async function whenOver(): Promise<void> {
    await lines.over;
    open.delete(lines);
    options.left(caller);
  }
}

function unforeseen(error: unknown): Refusal {
  return { reason: "target_refused", message: messageOf(error) };
}
