/**
 * What the link between two hosts carries, tried before a guest goes over it: mutual TLS by the hosts' certificates, a few bytes there
 * and back for the way's length, then as much as goes through in a while, counted where it arrives. That a probe came to stand at
 * all says that the two hosts' certificates are good for each other.
 *
 * The target's port is open for one connection of that source, and closes by itself.
 */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { linkFactsSchema, type LinkFacts } from "../../api/agent-preflight.ts";
import type { HostId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { within } from "../../lib/retry.ts";
import type { Identity } from "../link/identity.ts";
import { dialPeer, type Peer } from "./dial.ts";
import { linkLost } from "./lines.ts";
import { listenFor } from "./listen.ts";

/** From when it opens until it is dialled and done with. */
const openMs = 30_000;
const probeMs = 10_000;
const pings = 5;
const blockBytes = 256 * 1024;
const end = 0xff;
/** What the target says in the end. */
const counted = linkFactsSchema.pick({ bytesPerSecond: true });

export interface ProbeListenOptions {
  readonly address: string;
  readonly source: HostId;
  readonly identity: () => Identity | undefined;
  readonly log: Log;
}

/** Opens the port, and says which. */
export async function listenForProbe(options: ProbeListenOptions): Promise<number> {
  const server = await listenFor({ ...options, most: 1, about: { probe: true } }, (socket) => {
    serve(socket);
    socket.once("close", () => server.close());
  });
  const timer = setTimeout(() => server.close(), openMs);
  timer.unref();
  server.once("close", () => clearTimeout(timer));
  return (server.address() as AddressInfo).port;
}

/** Bytes come back as they are, so many times; what follows is counted until the byte that ends it, and the count comes back. */
function serve(socket: TLSSocket): void {
  socket.setNoDelay(true);
  socket.setTimeout(probeMs, () => socket.destroy());
  // The end of the connection says it all.
  socket.on("error", () => undefined);
  let left = pings;
  let bytes = 0;
  let first = 0;
  socket.on("data", (part: Buffer) => {
    if (left > 0) {
      left--;
      return void socket.write(part);
    }
    if (bytes === 0) first = performance.now();
    bytes += part.length;
    if (part.at(-1) !== end) return undefined;
    const ms = Math.max(1, performance.now() - first);
    return void socket.end(JSON.stringify({ bytesPerSecond: (bytes / ms) * 1000 }));
  });
}

/** Failure `MigrationLinkLost` when the link does not carry it. */
export async function probeLink(
  peer: Peer,
  identity: Identity,
  sendMs: number,
  signal?: AbortSignal,
): Promise<LinkFacts> {
  const socket = await dialPeer(peer, identity);
  const drop = () => void socket.destroy();
  signal?.addEventListener("abort", drop);
  try {
    signal?.throwIfAborted();
    return await within(probeMs, "trying the link to the other host", probe(socket, sendMs));
  } finally {
    signal?.removeEventListener("abort", drop);
    socket.destroy();
  }
}

async function probe(socket: TLSSocket, sendMs: number): Promise<LinkFacts> {
  socket.setNoDelay(true);
  const lost = once(socket, "close").then(() => Promise.reject(linkLost("the connection was closed")));
  // It is closed at the end in any case.
  lost.catch(() => undefined);
  let roundTripMs = Infinity;
  for (let i = 0; i < pings; i++) {
    const sentAt = performance.now();
    socket.write(Buffer.alloc(1));
    await Promise.race([once(socket, "data"), lost]);
    roundTripMs = Math.min(roundTripMs, performance.now() - sentAt);
  }
  const block = Buffer.alloc(blockBytes);
  const until = performance.now() + sendMs;
  while (performance.now() < until) {
    if (!socket.write(block)) await Promise.race([once(socket, "drain"), lost]);
  }
  const answered = once(socket, "data");
  socket.write(Buffer.of(end));
  const [answer] = (await Promise.race([answered, lost])) as [Buffer];
  const { bytesPerSecond } = counted.parse(JSON.parse(answer.toString("utf8")));
  return { bytesPerSecond, roundTripMs };
}
