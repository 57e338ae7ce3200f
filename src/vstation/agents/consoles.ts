/**
 * Serial consoles that are open through one host's connection. Output is held for the reader up to a bound; a reader that does not
 * keep up is told so and closed, because a console that silently misses lines is worse than one that ends.
 */
import { randomUUID } from "node:crypto";
import type { ToCompute } from "../../api/agent.ts";
import type { ConsoleSession } from "../cloud.ts";

const longestBacklog = 4 * 2 ** 20;
/** Bytes typed are sent in parts that the contract allows (16 KiB of base64). */
const inputPart = 12_000;

class Console implements ConsoleSession {
  readonly name: string;
  readonly output: AsyncIterable<Buffer>;
  readonly #send: (message: ToCompute) => void;
  readonly #forget: () => void;
  #held: Buffer[] = [];
  #size = 0;
  #over = false;
  #arrived = Promise.withResolvers<void>();

  constructor(name: string, send: (message: ToCompute) => void, forget: () => void) {
    this.name = name;
    this.#send = send;
    this.#forget = forget;
    this.output = this.#read();
  }

  write(data: Buffer): void {
    for (let at = 0; at < data.length && !this.#over; at += inputPart) {
      const part = data.subarray(at, at + inputPart).toString("base64");
      this.#send({ type: "console.input", session: this.name, data: part });
    }
  }

  close(): void {
    if (this.#over) return;
    this.#send({ type: "console.close", session: this.name });
    this.ended();
  }

  take(data: Buffer): void {
    if (this.#over) return;
    this.#held.push(data);
    this.#size += data.length;
    if (this.#size > longestBacklog) this.close();
    this.#arrived.resolve();
  }

  /** The host's side is over; what it sent before is still read. */
  ended(): void {
    this.#over = true;
    this.#forget();
    this.#arrived.resolve();
  }

  async *#read(): AsyncGenerator<Buffer> {
    try {
      for (;;) {
        const held = this.#held;
        this.#held = [];
        this.#size = 0;
        yield* held;
        if (this.#held.length > 0) continue;
        if (this.#over) return;
        await this.#arrived.promise;
        this.#arrived = Promise.withResolvers();
      }
    } finally {
      this.close();
    }
  }
}

export class Consoles {
  readonly #send: (message: ToCompute) => void;
  readonly #open = new Map<string, Console>();

  constructor(send: (message: ToCompute) => void) {
    this.#send = send;
  }

  /** A console that takes output from now on; whoever makes it asks the host to open it under its name. */
  create(): Console {
    const name = randomUUID();
    const console = new Console(name, this.#send, () => this.#open.delete(name));
    this.#open.set(name, console);
    return console;
  }

  output(name: string, data: Buffer): void {
    this.#open.get(name)?.take(data);
  }

  closed(name: string, _reason: string): void {
    this.#open.get(name)?.ended();
  }

  closeAll(_reason: string): void {
    for (const console of this.#open.values()) console.ended();
  }
}

export type { Console };
