/**
 * A byte stream that runs inside a connection under the serial of the call that opened it.
 *
 * Reading: what arrives is kept in order; above `highWater` the connection is asked to stop reading and below half of it to go on.
 * That is backpressure down to the guest's console, and the reason why a stream has a connection of its own (open.ts).
 * An empty packet from the daemon is its end of file. Ending: close() says "finish" and waits for the daemon's confirmation;
 * abort() settles every reader and writer at once. Either way `over` comes with the daemon's word, because a connection that is
 * closed under a stream on which something is on its way leaves libvirtd 11.3 waiting for a lock that it holds
 * (docs/decisions/0007-consoles-beside-libvirt.md). Every reader and writer is settled when the stream ends, whoever ended it.
 */
import { Failure } from "../lib/errors.ts";
import type { ByteStream } from "./contract.ts";
import { connectionLost } from "./errors.ts";

const highWater = 256 * 1024;
const packetSize = 64 * 1024;
const closeMs = 5_000;

export interface StreamPort {
  send(status: "ok" | "continue" | "error", bytes: Uint8Array): void;
  drained(): Promise<void>;
  pause(): void;
  resume(): void;
  /** The daemon sends no more for this stream. */
  over(): void;
}

const nothing = new Uint8Array(0);

export class Stream implements ByteStream {
  readonly name: string;
  readonly #port: StreamPort;
  readonly #chunks: Uint8Array[] = [];
  #buffered = 0;
  #paused = false;
  /** "open", then "ending" while our finish waits for the daemon, then "over". */
  #state: "open" | "ending" | "over" = "open";
  /** Our side has aborted: nobody here waits for anything any more. */
  #left = false;
  #error: unknown;
  #timer: NodeJS.Timeout | undefined;
  #wake: (() => void)[] = [];
  readonly #over = Promise.withResolvers<void>();

  constructor(name: string, port: StreamPort) {
    this.name = name;
    this.#port = port;
  }

  /** Iterates over what arrives. Leaving the loop does not close the stream; a second loop goes on where the first stopped. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return { next: () => this.#next() };
  }

  async write(bytes: Uint8Array | string): Promise<void> {
    const all = typeof bytes === "string" ? Buffer.from(bytes, "utf8") : bytes;
    for (let at = 0; at < all.length; at += packetSize) {
      if (this.#state !== "open") throw this.#ended();
      this.#port.send("continue", all.subarray(at, at + packetSize));
      await this.#port.drained();
    }
    if (this.#state === "over" && this.#error !== undefined) throw this.#error;
  }

  async close(): Promise<void> {
    this.#discard();
    this.#end("ok");
    await this.#over.promise;
  }

  abort(): void {
    if (this.#state === "over") return;
    this.#discard();
    this.#left = true;
    this.#end("error");
    this.#notify();
  }

  /** Resolves when the stream has ended, for whatever reason. */
  get over(): Promise<void> {
    return this.#over.promise;
  }

  /** From the connection: bytes, of which none means the daemon's end of file. */
  data(bytes: Uint8Array): void {
    if (this.#state !== "open") return;
    if (bytes.length === 0) {
      this.#end("ok");
      return;
    }
    this.#chunks.push(bytes);
    this.#buffered += bytes.length;
    if (this.#buffered >= highWater && !this.#paused) {
      this.#paused = true;
      this.#port.pause();
    }
    this.#notify();
  }

  /** From the connection: the daemon confirms the end. */
  finished(): void {
    this.#settle(undefined);
  }

  /** From the connection: the call that should have opened the stream failed; its caller gets the error. */
  abandon(): void {
    this.#settle(undefined);
  }

  failed(error: unknown): void {
    // After our own finish or abort the daemon's complaint tells nothing new.
    this.#settle(this.#state === "open" ? error : undefined);
  }

  lost(cause: Failure): void {
    this.#settle(this.#state === "open" ? connectionLost(`stream ${this.name}`, cause) : undefined);
  }

  async #next(): Promise<IteratorResult<Uint8Array>> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk) {
        this.#buffered -= chunk.length;
        this.#unpause(highWater / 2);
        return { done: false, value: chunk };
      }
      if (this.#left || this.#state === "over") {
        if (this.#error !== undefined) throw this.#error;
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => {
        this.#wake.push(resolve);
      });
    }
  }

  /** Says that we are done, well or not, and does not wait for ever for the daemon's word. */
  #end(how: "ok" | "error"): void {
    if (this.#state !== "open") return;
    this.#state = "ending";
    this.#port.send(how, nothing);
    this.#timer = setTimeout(() => this.#settle(undefined), closeMs);
  }

  #discard(): void {
    this.#chunks.length = 0;
    this.#buffered = 0;
    this.#unpause(0);
  }

  #unpause(below: number): void {
    if (!this.#paused || this.#buffered > below) return;
    this.#paused = false;
    this.#port.resume();
  }

  #settle(error: unknown): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#error = error;
    clearTimeout(this.#timer);
    this.#port.over();
    this.#over.resolve();
    this.#notify();
  }

  #notify(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }

  #ended(): Error {
    if (this.#error instanceof Error) return this.#error;
    return new Failure("conflict", "LibvirtStreamEnded", `the stream ${this.name} has ended`);
  }
}
