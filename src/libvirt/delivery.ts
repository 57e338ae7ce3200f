/**
 * One listener and its queue. The router puts an event in and goes on; the listener takes them one after the other at its own pace,
 * so that a slow one delays nobody else and never the socket.
 *
 * The queue is bounded. A listener that fell behind by thousands of events would act on old news anyway: the queue is dropped and
 * its owner told to read the level again.
 */
import { formatError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Listener } from "./contract.ts";
import type { Counters } from "./counters.ts";

const limit = 10_000;

export interface DeliveryContext {
  readonly log: Log;
  readonly counters: Counters;
  overflow(): void;
}

export class Delivery<E> {
  readonly #name: string;
  readonly #listener: Listener<E>;
  readonly #context: DeliveryContext;
  #queue: E[] = [];
  #running = false;
  #closed = false;

  constructor(name: string, listener: Listener<E>, context: DeliveryContext) {
    this.#name = name;
    this.#listener = listener;
    this.#context = context;
  }

  push(event: E): void {
    if (this.#closed) return;
    if (this.#queue.length >= limit) {
      this.#queue = [];
      this.#context.counters.overflows++;
      this.#context.log.warn({ listener: this.#name, limit }, "libvirt listener fell behind, its queue was dropped");
      this.#context.overflow();
      return;
    }
    this.#queue.push(event);
    if (!this.#running) void this.#run();
  }

  /** Nothing is delivered any more; a call that runs now ends by itself. */
  close(): void {
    this.#closed = true;
    this.#queue = [];
  }

  async #run(): Promise<void> {
    this.#running = true;
    for (let event = this.#queue.shift(); event !== undefined; event = this.#queue.shift()) {
      try {
        const result = this.#listener(event);
        // Awaiting only what is a promise keeps a run of events from a quick listener in one turn of the loop.
        if (result !== undefined) await result;
      } catch (error) {
        this.#context.counters.listenerFailures++;
        this.#context.log.error({ listener: this.#name, error: formatError(error) }, "libvirt listener failed");
      }
    }
    this.#running = false;
  }
}
