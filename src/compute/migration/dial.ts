/** The source's end of the connection between two Computes: asks, one answer for each, or a failure when it is over or late. */
import { connect, type TLSSocket } from "node:tls";
import { Failure } from "../../lib/errors.ts";
import type { HostId, MigrationId } from "../../lib/ids.ts";
import { within } from "../../lib/retry.ts";
import type { Identity } from "../link/identity.ts";
import { Lines, linkLost, lostBy } from "./lines.ts";
import { answers, refused, responseSchema, type PeerAnswer, type PeerAsk } from "./wire.ts";

export interface Peer {
  /** The certificate that answers must be this host's. */
  readonly hostId: HostId;
  readonly address: string;
  readonly port: number;
}

/** Of a link that is only tried. */
const connectMs = 5_000;

export class PeerLink {
  readonly #migration: MigrationId;
  readonly #lines: Lines;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #last = 0;

  private constructor(migration: MigrationId, open: (onLine: (value: unknown) => void) => Lines) {
    this.#migration = migration;
    this.#lines = open((value) => this.#answered(value));
  }

  /** Failure `MigrationLinkLost` when it does not come to stand, `MigrationNotTrusted` when that is for a certificate. */
  static async dial(
    peer: Peer,
    { migration, silenceMs }: { readonly migration: MigrationId; readonly silenceMs: number },
    identity: Identity,
  ): Promise<PeerLink> {
    const socket = await dialPeer(peer, identity, silenceMs);
    return new PeerLink(migration, (onLine) => new Lines(socket, silenceMs, onLine));
  }

  /** Resolves with why it is over. */
  get over(): Promise<Failure> {
    return this.#lines.over;
  }

  async ask<Is extends PeerAsk["is"]>(ask: PeerAsk & { is: Is }, deadlineMs: number): Promise<PeerAnswer<Is>> {
    const id = ++this.#last;
    const waiter = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiter);
    this.#lines.send({ id, migration: this.#migration, ask });
    try {
      const answer = await within(
        deadlineMs,
        `the other host's answer to ${ask.is}`,
        Promise.race([waiter.promise, this.#lines.over.then((why) => Promise.reject(why))]),
      );
      return answers[ask.is].parse(answer) as PeerAnswer<Is>;
    } finally {
      this.#waiting.delete(id);
    }
  }

  close(): void {
    this.#lines.close("closed here");
  }

  #answered(value: unknown): void {
    const response = responseSchema.parse(value);
    const waiter = this.#waiting.get(response.id);
    if ("refused" in response) waiter?.reject(refused(response.refused));
    else waiter?.resolve(response.ok);
  }
}

/** A connection to that host and to no other, by its certificate and ours. */
export async function dialPeer(peer: Peer, identity: Identity, patienceMs = connectMs): Promise<TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
  const socket = connect({
    host: peer.address,
    port: peer.port,
    // Its certificate carries its id as a name.
    servername: peer.hostId,
    ca: identity.ca,
    cert: identity.certificate,
    key: identity.key,
    minVersion: "TLSv1.3",
  });
  socket.once("error", (error) => reject(lostBy(error)));
  socket.once("close", () => reject(linkLost("the connection was closed")));
  socket.once("secureConnect", () => resolve(socket));
  try {
    return await within(patienceMs, "dialling the other host", promise);
  } catch (error) {
    socket.destroy();
    throw error instanceof Failure && error.kind === "timeout" ? linkLost(error.message, error) : error;
  }
}
