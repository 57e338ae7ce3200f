/**
 * One connection to libvirtd, from handshake to its end. It is never repaired: whoever needs a new one opens a new one (link.ts).
 *
 * Everything that arrives passes {@link Connection.#receive} within the socket's read and leaves it at once: a reply settles its
 * promise, an event goes to the router (whose listeners have queues of their own), stream data goes into the stream's buffer.
 * Nothing there waits, so nothing that a user of this library does can keep replies and pings from being read. The one exception is
 * asked for: a connection opened for a single stream stops reading when that stream's reader is slow.
 *
 * The end has many causes (socket closed, malformed bytes, silence, too many hung calls, close()) and one path, `#end`, which
 * settles every waiter and stream, once.
 */
import { Failure, wrap } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { Calls, deadlineOf, type Reply } from "./calls.ts";
import type { CallOptions, DomainRef } from "./contract.ts";
import type { Counters } from "./counters.ts";
import { LibvirtError, notConnected, protocolError } from "./errors.ts";
import { Keepalive, type KeepaliveOptions } from "./keepalive.ts";
import { connection as procedures } from "./protocol/connection.ts";
import { keepalive, keepaliveFeature } from "./protocol/keepalive.ts";
import { decodeMessage, encodeMessage, type Header, remoteError, streamPacketMax } from "./protocol/message.ts";
import { type Procedure, type ProgramName, programs, programVersion } from "./protocol/notation.ts";
import { Stream } from "./stream.ts";
import { Transport } from "./transport.ts";
import { XdrError, type XdrReader } from "./xdr.ts";

export interface ConnectionOptions {
  readonly socketPath: string;
  readonly uri: string;
  readonly log: Log;
  readonly counters: Counters;
  /** Calls in flight at once; below the daemon's `max_client_requests` (see calls.ts). */
  readonly window: number;
  /** Left out on a connection that carries one stream and may stop reading. */
  readonly keepalive?: KeepaliveOptions;
  /** Takes what the daemon sends unasked; must not block. */
  readonly onMessage?: (program: ProgramName, procedure: number, payload: XdrReader) => void;
}

export const defaultDeadlineMs = 30_000;
const handshakeMs = 10_000;
const authNone = 0;

const programNames = new Map<number, ProgramName>(
  Object.entries(programs).map(([name, number]) => [number, name as ProgramName]),
);

export class Connection {
  readonly #transport: Transport;
  readonly #options: ConnectionOptions;
  readonly #calls: Calls;
  readonly #streams = new Map<number, Stream>();
  readonly #onEnd: (cause: Failure) => void;
  #keepalive: Keepalive | undefined;
  #ended: Failure | undefined;
  /** Resolves with the reason when the connection is over. Never rejects. */
  readonly lost: Promise<Failure>;

  private constructor(transport: Transport, options: ConnectionOptions) {
    this.#transport = transport;
    this.#options = options;
    this.#calls = new Calls({
      window: options.window,
      counters: options.counters,
      send: (bytes) => void transport.send(bytes),
      clogged: () =>
        this.fail(new Failure("unavailable", "LibvirtClogged", "every call in flight at libvirt is past its deadline")),
    });
    const { promise, resolve } = Promise.withResolvers<Failure>();
    this.lost = promise;
    this.#onEnd = resolve;
    transport.start({ message: (bytes) => this.#receive(bytes), closed: (cause) => this.#end(cause) });
  }

  /** Connects, authenticates and opens the driver. Rejects with `unavailable`, `unauthenticated` or the daemon's error. */
  static async open(options: ConnectionOptions, signal?: AbortSignal): Promise<Connection> {
    const transport = await Transport.connect(options.socketPath, handshakeMs);
    const self = new Connection(transport, options);
    const stop = (): void => self.close();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      await self.#handshake();
    } catch (error) {
      self.close();
      throw wrap(`opening libvirt at ${options.socketPath}`, error);
    } finally {
      signal?.removeEventListener("abort", stop);
    }
    return self;
  }

  get open(): boolean {
    return this.#ended === undefined;
  }

  /** Calls and streams that have not ended; zero when nothing leaks. */
  get outstanding(): { readonly waiting: number; readonly abandoned: number; readonly streams: number } {
    return { waiting: this.#calls.waiting, abandoned: this.#calls.abandoned, streams: this.#streams.size };
  }

  /** Calls a procedure. Errors: see contract.ts; arguments that cannot be written are `invalid`. */
  async call<A, R>(procedure: Procedure<A, R>, args: A, options?: CallOptions): Promise<R> {
    return this.#result(procedure, await this.#submit(procedure, args, options));
  }

  /** Calls a procedure that opens a byte stream under its serial. */
  async openStream<A, R>(
    procedure: Procedure<A, R>,
    args: A,
    options?: CallOptions,
  ): Promise<{ readonly result: R; readonly stream: Stream }> {
    let stream: Stream | undefined;
    try {
      const reply = await this.#submit(procedure, args, options, (serial) => {
        stream = new Stream(procedure.name, {
          send: (status, bytes) => this.#sendStream(procedure, serial, status, bytes),
          drained: () => this.#transport.drained(),
          pause: () => this.#transport.pause(),
          resume: () => this.#transport.resume(),
          over: () => this.#streams.delete(serial),
        });
        this.#streams.set(serial, stream);
      });
      const result = this.#result(procedure, reply);
      if (!stream) throw protocolError(`${procedure.name} was answered before it was sent`);
      return { result, stream };
    } catch (error) {
      stream?.abandon();
      throw error;
    }
  }

  /** Gives the connection up for a reason; every waiter gets it as the cause. */
  fail(cause: Failure): void {
    this.#transport.destroy(cause);
  }

  /** Ends the connection on our own wish. */
  close(): void {
    this.fail(new Failure("unavailable", "LibvirtClosed", "the connection to libvirt was closed here"));
  }

  async #handshake(): Promise<void> {
    const options = { deadlineMs: handshakeMs };
    const { types } = await this.call(procedures.authList, {}, options);
    if (types.length > 0 && !types.includes(authNone)) {
      throw new Failure("unauthenticated", "LibvirtAuth", "libvirt asks for a login on this socket", {
        detail: { types },
      });
    }
    await this.call(procedures.connectOpen, { uri: this.#options.uri, flags: 0 }, options);
    if (!this.#options.keepalive) return;
    // Asking allows the daemon to ping us; it then drops us when we are the dead ones.
    await this.call(procedures.connectSupportsFeature, { feature: keepaliveFeature }, options);
    this.#keepalive = new Keepalive(
      this.#options.keepalive,
      () => this.#sendKeepalive(keepalive.ping),
      () => this.fail(new Failure("unavailable", "LibvirtSilent", "libvirt does not answer pings")),
    );
  }

  async #submit<A, R>(
    procedure: Procedure<A, R>,
    args: A,
    options: CallOptions | undefined,
    onSerial?: (serial: number) => void,
  ): Promise<Reply> {
    if (this.#ended) throw notConnected(procedure.name, this.#ended);
    const terms = {
      name: procedure.name,
      deadlineMs: deadlineOf(options, defaultDeadlineMs),
      signal: options?.signal,
      quick: procedure.quick,
      domain: domainOf(args),
    };
    return await this.#calls.submit(terms, (serial) => {
      const bytes = this.#encode(procedure, "call", serial, (to) => procedure.args.write(to, args));
      onSerial?.(serial);
      return bytes;
    });
  }

  #encode(
    procedure: Procedure<unknown, unknown>,
    type: Header["type"],
    serial: number,
    payload: Parameters<typeof encodeMessage>[1],
    status: Header["status"] = "ok",
  ): Buffer {
    try {
      return encodeMessage(
        {
          program: programs[procedure.program],
          version: programVersion,
          procedure: procedure.number,
          type,
          serial,
          status,
        },
        payload,
      );
    } catch (error) {
      if (!(error instanceof XdrError)) throw error;
      throw new Failure("invalid", "LibvirtArguments", `${procedure.name} cannot carry these arguments`, {
        cause: error,
      });
    }
  }

  #result<A, R>(procedure: Procedure<A, R>, reply: Reply): R {
    if (!reply.ok) throw new LibvirtError(procedure.name, this.#read(procedure.name, remoteError, reply.payload));
    return this.#read(procedure.name, procedure.result, reply.payload);
  }

  /** Reads a payload whole. A bad one costs its call, not the connection: the next message starts where its length says. */
  #read<T>(name: string, codec: { read(from: XdrReader): T }, payload: XdrReader): T {
    try {
      const value = codec.read(payload);
      if (payload.remaining > 0) throw new XdrError(`${payload.remaining} bytes too many`);
      return value;
    } catch (error) {
      if (!(error instanceof XdrError)) throw error;
      this.#options.counters.malformed++;
      throw protocolError(`the answer to ${name}: ${error.message}`);
    }
  }

  #receive(bytes: Buffer): void {
    this.#keepalive?.heard();
    let message: ReturnType<typeof decodeMessage>;
    try {
      message = decodeMessage(bytes);
    } catch (error) {
      this.#options.counters.malformed++;
      this.fail(protocolError("header", { error: String(error) }));
      return;
    }
    const { head, payload } = message;
    const program = programNames.get(head.program);
    if (program === undefined || head.version !== programVersion) {
      this.fail(protocolError(`program ${head.program} version ${head.version}`));
      return;
    }
    switch (head.type) {
      case "reply":
        this.#calls.settle({ serial: head.serial, ok: head.status === "ok", payload });
        return;
      case "message":
        if (program === "keepalive") this.#heartbeat(head.procedure);
        else this.#options.onMessage?.(program, head.procedure, payload);
        return;
      case "stream":
        this.#stream(head, payload);
        return;
      case "call":
      case "call-with-fds":
      case "reply-with-fds":
      case "stream-hole":
        this.fail(protocolError(`a message of type ${head.type}`));
        return;
    }
  }

  #stream(head: Header, payload: XdrReader): void {
    const stream = this.#streams.get(head.serial);
    // Data that was on its way when we ended the stream.
    if (!stream) return;
    if (head.status === "continue") {
      stream.data(payload.rest());
    } else if (head.status === "ok") {
      stream.finished();
    } else {
      const text = `stream ${stream.name}`;
      try {
        stream.failed(new LibvirtError(text, this.#read(text, remoteError, payload)));
      } catch (error) {
        stream.failed(error);
      }
    }
  }

  #sendStream(
    procedure: Procedure<unknown, unknown>,
    serial: number,
    status: Header["status"],
    bytes: Uint8Array,
  ): void {
    if (bytes.length > streamPacketMax) throw new XdrError(`a stream packet of ${bytes.length} bytes`);
    // Stream data is raw: neither a length nor padding stands around it.
    const head = this.#encode(procedure, "stream", serial, () => {}, status);
    const message = Buffer.concat([head, bytes]);
    message.writeUInt32BE(message.length, 0);
    this.#transport.send(message);
  }

  #heartbeat(procedure: number): void {
    if (procedure === keepalive.ping.number) this.#sendKeepalive(keepalive.pong);
  }

  #sendKeepalive(procedure: Procedure<unknown, unknown>): void {
    this.#transport.send(this.#encode(procedure, "message", 0, () => {}));
  }

  #end(cause: Failure): void {
    if (this.#ended) return;
    this.#ended = cause;
    this.#keepalive?.stop();
    this.#calls.end(cause);
    for (const stream of this.#streams.values()) stream.lost(cause);
    this.#streams.clear();
    this.#onEnd(cause);
  }
}

/** The domain that a call is about: every procedure of one names it `domain`. */
function domainOf(args: unknown): string | undefined {
  return (args as { readonly domain?: DomainRef }).domain?.uuid;
}
