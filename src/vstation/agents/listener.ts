/**
 * Where hosts dial in: TLS by our own CA; what a machine needs to become one (programs.ts) and POST /join without a client
 * certificate, /agent only with a host's own one. A host is who
 * its certificate says, and only while the certificate is the one it was given last; nothing it says in a message changes that.
 */
import { createServer, type Server } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { constants } from "node:crypto";
import type { Duplex } from "node:stream";
import { TLSSocket, type SecureContextOptions } from "node:tls";
import { WebSocketServer } from "ws";
import { failure } from "../../core/failure-codes.ts";
import { formatError } from "../../lib/errors.ts";
import { parseId, type HostId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { ImageFolder } from "../app/image-folder.ts";
import type { ImagesFromHosts } from "../images/from-host.ts";
import type { VStationConfig } from "../config.ts";
import { logRetry, type Store } from "../store/database.ts";
import { hostJoining, hostsHeard, hostUsesImage } from "../store/hosts.ts";
import { joinTokenValid } from "../store/join-tokens.ts";
import type { Wake } from "../store/wake.ts";
import { answerJoin, answerRenew, tokenHash, type KnownHost } from "./join.ts";
import { Pki, replicaName, sameSerial, type ServerIdentity } from "./pki.ts";
import { ImageFiles } from "./image-files.ts";
import { Programs } from "./programs.ts";
import { HostSession, type SessionContext } from "./session.ts";
import type { SeenWriter } from "./seen-writer.ts";

export interface AgentListenerOptions {
  store: Store;
  pki: Pki;
  config: VStationConfig;
  log: Log;
  seen: SeenWriter;
  images: ImageFolder;
  incoming: ImagesFromHosts;
}

/** Largest message of a host: a report of everything it has. */
const maxPayload = 16 * 2 ** 20;
const heartbeatMs = 5_000;
const heardEveryMs = 8_000;
const anewEveryMs = 86_400_000;

export class AgentListener {
  readonly #options: AgentListenerOptions;
  readonly #server: Server;
  readonly #sockets: WebSocketServer;
  readonly #sessions = new Map<HostId, HostSession>();
  readonly #context: SessionContext;
  readonly #heard: NodeJS.Timeout;
  readonly #anew: NodeJS.Timeout;
  #identity: ServerIdentity;
  /** What another replica passes on, once there is who answers it. */
  onPassed: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;

  private constructor(options: AgentListenerOptions, server: Server, identity: ServerIdentity) {
    this.#identity = identity;
    this.#options = options;
    const { store, config, log, seen, pki } = options;
    const { id: subnetId, fixedPeers } = config.subnet;
    this.#context = {
      store,
      region: config.region,
      zone: config.zone,
      cpuBaseline: config.cpuBaseline,
      migrationTransport: config.migration.transport,
      migrationConnections: config.migration.connections,
      dirtyRing: config.migration.dirtyRing,
      log,
      seen,
      fixedPeers: fixedPeers.map((peer) => ({ subnetId, name: null, groupIds: [], ...peer })),
      heartbeatMs,
      onEnded: (session) => {
        if (this.#sessions.get(session.hostId) === session) this.#sessions.delete(session.hostId);
      },
    };
    this.#sockets = new WebSocketServer({ noServer: true, maxPayload, perMessageDeflate: false });
    this.#server = server;
    const imageFiles = new ImageFiles({
      folder: options.images,
      incoming: options.incoming,
      log,
      mayHave: (hostId, imageId) => store.read((db) => hostUsesImage(db, hostId, imageId)),
    });
    const programs = new Programs({
      log,
      mayHave: (token) => store.read((db) => joinTokenValid(db, tokenHash(token))),
    });
    const { certificateDays } = config.agents;
    const joining = { store, pki, zone: config.zone, certificateDays, log };
    server.on("request", (request, response) => {
      if (isReplica(request.socket)) {
        if (this.onPassed === undefined) response.writeHead(503, { connection: "close" }).end();
        else this.onPassed(request, response);
      } else if (request.method === "POST" && request.url === "/join") {
        void answerJoin(joining, request, response);
      } else if (request.method === "POST" && request.url === "/renew") {
        void answerRenew(joining, () => this.#hostOf(request.socket), request, response);
      } else if (Programs.is(request.url)) {
        void programs.answer(request, response);
      } else if (ImageFiles.is(request.url)) {
        this.#hostOf(request.socket)
          .then((host) => imageFiles.answer(host?.removed === false ? host.id : undefined, request, response))
          .catch((error: unknown) => {
            logRetry(log, error, "an image file could not be served");
            response.destroy();
          });
      } else response.writeHead(404, { connection: "close" }).end();
    });
    server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      this.#upgrade(request, socket, head).catch((error: unknown) => {
        logRetry(log, error, "a host could not connect");
        socket.destroy();
      });
    });
    server.on("tlsClientError", (error) => log.debug({ chain: formatError(error) }, "a TLS handshake failed"));
    this.#heard = setInterval(() => this.#writeHeard(), heardEveryMs);
    this.#anew = setInterval(() => {
      this.#renew().catch((error: unknown) =>
        log.error({ err: error }, "the listener's own certificate could not be made anew"),
      );
    }, anewEveryMs);
  }

  static async start(options: AgentListenerOptions): Promise<AgentListener> {
    const { config } = options;
    const identity = await identityOf(options);
    const server = createServer({
      ...secureContext(options, identity),
      requestCert: true,
      // A machine that wants to join has no certificate yet; /agent checks for itself.
      rejectUnauthorized: false,
      handshakeTimeout: 10_000,
      requestTimeout: 30_000,
    });
    const listener = new AgentListener(options, server, identity);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(config.agents.port, config.agents.address, () => {
        server.off("error", reject);
        resolve();
      });
    });
    return listener;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** What this replica shows to hosts and to other replicas. */
  get identity(): ServerIdentity {
    return this.#identity;
  }

  get connected(): number {
    return this.#sessions.size;
  }

  /** Passes on what commits announced. */
  wake(wake: Wake): void {
    for (const id of wake.hosts) this.#sessions.get(id)?.nudge({ wanted: true });
    if (wake.peers) for (const session of this.#sessions.values()) session.nudge({ peers: true });
  }

  /** Announcements may have been lost: every session reads again. */
  wakeAll(): void {
    for (const session of this.#sessions.values()) session.nudge({ wanted: true, peers: true });
  }

  /** The host's session at this replica; throws HostUnreachable. */
  session(hostId: HostId): HostSession {
    const session = this.#sessions.get(hostId);
    if (session?.greeted !== true) {
      throw failure("HostUnreachable", "the host is not connected", { detail: { hostId } });
    }
    return session;
  }

  async close(): Promise<void> {
    clearInterval(this.#heard);
    clearInterval(this.#anew);
    const sessions = [...this.#sessions.values()];
    for (const session of sessions) session.leave();
    this.#sockets.close();
    this.#server.close();
    this.#server.closeAllConnections();
    await Promise.all(sessions.map((session) => session.finished()));
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    if (request.url !== "/agent") return refuse(socket, 404, "Not Found");
    const host = await this.#hostOf(socket);
    if (host === undefined) return refuse(socket, 403, "Forbidden");
    // The only thing that a removed host is still told: it may clear itself away.
    if (host.removed) return refuse(socket, 410, "Gone");
    const hostId = host.id;
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const older = this.#sessions.get(hostId);
      const session = new HostSession(hostId, webSocket, this.#context);
      this.#sessions.set(hostId, session);
      older?.close(4001, "a newer session took over");
    });
  }

  /** Who the certificate says it is, if it is one of ours and of that host's last joining. */
  async #hostOf(socket: Duplex): Promise<KnownHost | undefined> {
    const { log, store } = this.#options;
    if (!(socket instanceof TLSSocket) || !socket.authorized) {
      log.warn("refused a connection without a certificate of ours");
      return undefined;
    }
    const { name, joining } = Pki.namedIn(socket.getPeerCertificate());
    const hostId = parseId("host", name);
    if (hostId === undefined) return undefined;
    const known = await store.read((db) => hostJoining(db, hostId));
    if (known !== undefined && sameSerial(known.joining, joining)) return { id: hostId, ...known };
    log.warn({ hostId }, "refused a host that has joined again since it got its certificate");
    return undefined;
  }

  /** It ends after a year, and this process may outlive it. */
  async #renew(): Promise<void> {
    this.#identity = await identityOf(this.#options);
    this.#server.setSecureContext(secureContext(this.#options, this.#identity));
  }

  #writeHeard(): void {
    const heard = [...this.#sessions.values()].filter((session) => session.greeted).map((session) => session.id);
    hostsHeard(this.#options.store, heard).catch((error: unknown) => {
      logRetry(this.#options.log, error, "could not write down which hosts were heard of");
    });
  }
}

function identityOf({ pki, config }: AgentListenerOptions): Promise<ServerIdentity> {
  return pki.serverIdentity(config.agents.names);
}

function secureContext({ pki }: AgentListenerOptions, identity: ServerIdentity): SecureContextOptions {
  return {
    ...identity,
    ca: pki.caPem,
    minVersion: "TLSv1.3",
    // A resumed session would be believed for a certificate of a joining that counts no more.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

/** Only who has the CA's key can show that name. */
function isReplica(socket: Duplex): boolean {
  return socket instanceof TLSSocket && socket.authorized && socket.getPeerCertificate().subject?.CN === replicaName;
}

function refuse(socket: Duplex, status: number, text: string): void {
  socket.end(`HTTP/1.1 ${status} ${text}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
