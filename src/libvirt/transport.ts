/** One unix socket that carries whole messages. It knows framing and nothing of what the messages say. */
import { createConnection, type Socket } from "node:net";
import { Failure } from "../lib/errors.ts";
import { protocolError } from "./errors.ts";
import { MessageSplitter } from "./protocol/message.ts";

export interface TransportEvents {
  message(bytes: Buffer): void;
  /** Called once, whoever ended it. */
  closed(cause: Failure): void;
}

export class Transport {
  readonly #socket: Socket;
  readonly #splitter = new MessageSplitter();
  #events: TransportEvents | undefined;
  #cause: Failure | undefined;
  #closed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("error", (error) => this.#because(error));
    socket.on("close", () => this.#finished());
  }

  /** Connects; rejects with `unavailable` when nobody listens there or the deadline passes. */
  static async connect(path: string, deadlineMs: number): Promise<Transport> {
    const socket = createConnection({ path });
    const transport = new Transport(socket);
    const timer = setTimeout(() => socket.destroy(new Error(`no connection within ${deadlineMs} ms`)), deadlineMs);
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once("connect", resolve);
        socket.once("close", () => reject(transport.#cause ?? new Error("closed while connecting")));
      });
    } finally {
      clearTimeout(timer);
    }
    return transport;
  }

  /** Starts delivery. Messages are delivered as they arrive, within the socket's own read. */
  start(events: TransportEvents): void {
    this.#events = events;
    if (this.#closed) {
      events.closed(this.#reason());
      return;
    }
    this.#socket.on("data", (piece: Buffer) => {
      const malformed = this.#splitter.push(piece, (bytes) => {
        if (!this.#closed) events.message(bytes);
      });
      if (malformed !== undefined) this.destroy(protocolError(malformed));
    });
  }

  /** Hands bytes to the socket; true when it took them without filling up. Bytes after the end are dropped. */
  send(bytes: Buffer): boolean {
    return this.#closed || this.#socket.write(bytes);
  }

  /** Resolves when the socket has room again, or is gone. */
  async drained(): Promise<void> {
    if (this.#closed || !this.#socket.writableNeedDrain) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.#socket.off("drain", done);
        this.#socket.off("close", done);
        resolve();
      };
      this.#socket.on("drain", done);
      this.#socket.on("close", done);
    });
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    if (!this.#closed) this.#socket.resume();
  }

  /** Ends it now. What was sent before still goes out if the socket takes it at once. */
  destroy(cause: Failure): void {
    if (this.#closed) return;
    this.#cause ??= cause;
    this.#socket.destroy();
    this.#finished();
  }

  #because(error: Error): void {
    this.#cause ??= new Failure("unavailable", "LibvirtSocket", "the socket to libvirt failed", { cause: error });
  }

  #reason(): Failure {
    return this.#cause ?? new Failure("unavailable", "LibvirtSocket", "libvirt closed the connection");
  }

  #finished(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#events?.closed(this.#reason());
  }
}
