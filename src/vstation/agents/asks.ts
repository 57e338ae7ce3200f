/** Questions to one host: each has an id and a deadline, and the end of the connection settles every one that waits. */
import type { Ask, ToCompute } from "../../api/agent.ts";
import { failure } from "../../core/failure-codes.ts";
import { within } from "../../lib/retry.ts";

interface Waiting {
  resolve: (answer: unknown) => void;
  reject: (error: unknown) => void;
}

const limitWaiting = 256;

export class Asks {
  readonly #send: (message: ToCompute) => void;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #closed = false;

  constructor(send: (message: ToCompute) => void) {
    this.#send = send;
  }

  /** The host's answer. Throws HostUnreachable, HostRefused or, after `ms`, DeadlineExceeded. */
  async ask(ask: Ask, ms: number): Promise<unknown> {
    if (this.#closed) throw failure("HostUnreachable", "the host is not connected");
    if (this.#waiting.size >= limitWaiting)
      throw failure("HostUnreachable", "the host has too many questions to answer");
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiting.set(id, { resolve, reject });
    try {
      this.#send({ type: "ask", id, ask });
      return await within(ms, `asking the host for ${ask.kind}`, promise);
    } finally {
      this.#waiting.delete(id);
    }
  }

  answer(id: number, answer: unknown): void {
    this.#waiting.get(id)?.resolve(answer);
  }

  refuse(id: number, code: string, message: string): void {
    this.#waiting.get(id)?.reject(failure("HostRefused", message, { detail: { refusal: code } }));
  }

  close(): void {
    this.#closed = true;
    for (const { reject } of this.#waiting.values()) {
      reject(failure("HostUnreachable", "the connection to the host was lost"));
    }
    this.#waiting.clear();
  }
}
