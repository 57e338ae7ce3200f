/** Receives the beats of a guest and says what gaps an observer outside of it saw. */
import { Worker } from "node:worker_threads";
import { Failure } from "../src/lib/errors.ts";
import { within } from "../src/lib/retry.ts";
import type { BeatReport, Range } from "./beats.ts";

export type ToWorker =
  | { kind: "next"; id: number }
  | { kind: "forget"; id: number }
  | { kind: "report"; id: number; range: Range }
  | { kind: "clear" };

export type FromWorker =
  | { kind: "bound"; port: number }
  | { kind: "next"; id: number; at: number; bootId: string }
  | { kind: "report"; id: number; report: BeatReport };

interface Waiter {
  resolve: (message: FromWorker) => void;
  reject: (error: Error) => void;
}

/** Now, on the clock of all arrival times: milliseconds of the machine's monotonic clock. */
export function beatClock(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export class BeatListener {
  readonly port: number;
  readonly #worker: Worker;
  readonly #waiters: Map<number, Waiter>;
  readonly #ended: { why?: Error };
  #lastId = 0;

  private constructor(port: number, worker: Worker, waiters: Map<number, Waiter>, ended: { why?: Error }) {
    this.#ended = ended;
    this.port = port;
    this.#worker = worker;
    this.#waiters = waiters;
  }

  /** Listens on a UDP port (0: any) of this address. */
  static async open(options: { host?: string; port?: number } = {}): Promise<BeatListener> {
    const workerData = { host: options.host ?? "0.0.0.0", port: options.port ?? 0 };
    const worker = new Worker(new URL("beat-worker.ts", import.meta.url), { workerData });
    const waiters = new Map<number, Waiter>();
    const bound = new Promise<FromWorker>((resolve, reject) => waiters.set(0, { resolve, reject }));
    const ended: { why?: Error } = {};
    const settle = (error: Error) => {
      ended.why ??= error;
      for (const waiter of waiters.values()) waiter.reject(error);
      waiters.clear();
    };
    worker.on("message", (message: FromWorker) => {
      const id = message.kind === "bound" ? 0 : message.id;
      waiters.get(id)?.resolve(message);
      waiters.delete(id);
    });
    worker.on("error", (cause) =>
      settle(new Failure("unavailable", "BeatListener", "the beat listener broke", { cause })),
    );
    worker.on("exit", () => settle(new Failure("unavailable", "BeatListener", "the beat listener is closed")));
    const message = await within(30_000, "opening the beat listener", bound);
    if (message.kind !== "bound") throw new Error(`the beat listener began with ${message.kind}`);
    return new BeatListener(message.port, worker, waiters, ended);
  }

  /** The next beat to arrive from now on; `timeout` when none does within `deadline` ms. */
  async next(deadline: number): Promise<{ at: number; bootId: string }> {
    const id = ++this.#lastId;
    try {
      const message = await within(deadline, "a beat of the guest", this.#ask({ kind: "next", id }));
      if (message.kind !== "next") throw new Error(`the beat listener answered ${message.kind}`);
      return { at: message.at, bootId: message.bootId };
    } catch (error) {
      this.#waiters.delete(id);
      this.#post({ kind: "forget", id });
      throw error;
    }
  }

  /** What arrived between two moments of {@link beatClock}, or since the last clear. */
  async report(range: Range = {}): Promise<BeatReport> {
    const id = ++this.#lastId;
    const message = await within(30_000, "the beat report", this.#ask({ kind: "report", id, range }));
    if (message.kind !== "report") throw new Error(`the beat listener answered ${message.kind}`);
    return message.report;
  }

  clear(): void {
    this.#post({ kind: "clear" });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  async #ask(message: Extract<ToWorker, { id: number }>): Promise<FromWorker> {
    if (this.#ended.why !== undefined) throw this.#ended.why;
    return await new Promise((resolve, reject) => {
      this.#waiters.set(message.id, { resolve, reject });
      this.#post(message);
    });
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }
}
