/**
 * Who waits for which serial on one connection.
 *
 * A call is queued, sent, and then settled exactly once: by its reply, its deadline, its abort signal, or the end of the
 * connection. When deadline or signal come first, the daemon still works on it: its serial stays taken ("abandoned") until the
 * reply comes, and that reply is dropped and counted. So a serial never has two owners and a reply never reaches the wrong one.
 *
 * Why a window: libvirtd works on `max_client_requests` calls of one client (5 unless configured) and then stops reading its
 * socket, pings included. We stay one below, so that a ping always gets through and a busy daemon is not taken for a dead one.
 * Abandoned calls fill the window too, since the daemon's slot is taken as well.
 *
 * One guest whose QEMU hangs must not blind the host. Calls that ask QEMU wait for it, one behind the other; so of each domain
 * only two such calls are in flight, and the window's last slot is kept for quick calls, which the daemon answers by itself
 * (destroying the hung guest is one of them). If abandoned calls fill all the rest and another call runs out of time in the
 * queue, the connection is "clogged" and given up: a new one has free slots.
 */
import { Failure } from "../lib/errors.ts";
import type { CallOptions } from "./contract.ts";
import type { Counters } from "./counters.ts";
import { connectionLost, notConnected } from "./errors.ts";
import type { XdrReader } from "./xdr.ts";

export interface CallTerms {
  readonly name: string;
  readonly deadlineMs: number;
  readonly signal: AbortSignal | undefined;
  /** The daemon answers it without asking QEMU. */
  readonly quick: boolean;
  /** The uuid of the domain it is about, if any. */
  readonly domain: string | undefined;
}

interface Call {
  readonly terms: CallTerms;
  readonly encode: (serial: number) => Buffer;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: unknown) => void;
  /** Undefined while queued. */
  serial: number | undefined;
  release: () => void;
}

export interface Reply {
  readonly serial: number;
  readonly ok: boolean;
  readonly payload: XdrReader;
}

const perDomain = 2;

export interface CallsOptions {
  readonly window: number;
  readonly counters: Counters;
  send(bytes: Buffer): void;
  clogged(): void;
}

export class Calls {
  readonly #options: CallsOptions;
  readonly #sent = new Map<number, Call>();
  readonly #abandoned = new Map<number, Call>();
  /** Calls in flight, abandoned ones included, that ask QEMU: by domain. */
  readonly #busy = new Map<string, number>();
  readonly #queue = new Set<Call>();
  #serial = 0;
  #ended: Failure | undefined;

  constructor(options: CallsOptions) {
    this.#options = options;
  }

  /** Calls somebody waits for, queued or sent. */
  get waiting(): number {
    return this.#sent.size + this.#queue.size;
  }

  get abandoned(): number {
    return this.#abandoned.size;
  }

  /**
   * Sends a call as soon as the window allows. Rejects with `timeout` when it was sent and the deadline passed (outcome
   * unknown), with `unavailable` "LibvirtBusy" when it could not even be sent, with the signal's reason when aborted.
   */
  submit(terms: CallTerms, encode: Call["encode"]): Promise<Reply> {
    const { signal, deadlineMs } = terms;
    if (this.#ended) return Promise.reject(notConnected(terms.name, this.#ended));
    if (signal?.aborted === true) return Promise.reject(abortReason(signal));
    return new Promise<Reply>((resolve, reject) => {
      const call: Call = { terms, encode, resolve, reject, serial: undefined, release: () => {} };
      const timer = setTimeout(() => this.#late(call), deadlineMs);
      const onAbort = (): void => {
        if (signal) this.#give(call, abortReason(signal));
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      call.release = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
      };
      this.#options.counters.calls++;
      this.#queue.add(call);
      this.#pump();
    });
  }

  /** Hands a reply to whoever waits for it. */
  settle(reply: Reply): void {
    const call = this.#sent.get(reply.serial);
    const late = this.#abandoned.get(reply.serial);
    if (call) {
      this.#sent.delete(reply.serial);
      call.release();
      call.resolve(reply);
    } else if (late) {
      this.#abandoned.delete(reply.serial);
      this.#options.counters.lateReplies++;
    } else {
      this.#options.counters.strayReplies++;
    }
    const answered = call ?? late;
    if (answered) this.#count(answered, -1);
    this.#pump();
  }

  /** The connection is over: every waiter is settled now, and later calls are refused. */
  end(cause: Failure): void {
    if (this.#ended) return;
    this.#ended = cause;
    const queued = [...this.#queue];
    const sent = [...this.#sent.values()];
    this.#queue.clear();
    this.#sent.clear();
    this.#abandoned.clear();
    for (const call of queued) {
      call.release();
      call.reject(notConnected(call.terms.name, cause));
    }
    for (const call of sent) {
      call.release();
      call.reject(connectionLost(call.terms.name, cause));
    }
  }

  #pump(): void {
    for (const call of this.#queue) {
      if (this.#ended || this.#inFlight >= this.#options.window) return;
      if (!this.#mayGo(call.terms)) continue;
      this.#queue.delete(call);
      const serial = this.#nextSerial();
      call.serial = serial;
      this.#sent.set(serial, call);
      this.#count(call, 1);
      try {
        this.#options.send(call.encode(serial));
      } catch (error) {
        // Nothing of it went out: the arguments cannot be put on the wire.
        this.#sent.delete(serial);
        this.#count(call, -1);
        call.release();
        call.reject(error);
      }
    }
  }

  get #inFlight(): number {
    return this.#sent.size + this.#abandoned.size;
  }

  /** Slots for calls that are not quick. */
  get #slots(): number {
    return Math.max(1, this.#options.window - 1);
  }

  #mayGo({ quick, domain }: CallTerms): boolean {
    if (quick) return true;
    return this.#inFlight < this.#slots && (domain === undefined || (this.#busy.get(domain) ?? 0) < perDomain);
  }

  #count({ terms: { quick, domain } }: Call, change: 1 | -1): void {
    if (quick || domain === undefined) return;
    const count = (this.#busy.get(domain) ?? 0) + change;
    if (count === 0) this.#busy.delete(domain);
    else this.#busy.set(domain, count);
  }

  #late(call: Call): void {
    const { name, deadlineMs } = call.terms;
    if (call.serial === undefined) {
      const clogged = this.#abandoned.size >= this.#slots;
      this.#give(call, new Failure("unavailable", "LibvirtBusy", `libvirt took no call for ${name} in time`));
      if (clogged) this.#options.clogged();
      return;
    }
    this.#options.counters.timeouts++;
    this.#give(
      call,
      new Failure("timeout", "LibvirtDeadline", `libvirt did not answer ${name} within ${deadlineMs} ms`),
    );
  }

  /** Settles a call before its reply; a serial that was sent stays taken. */
  #give(call: Call, error: unknown): void {
    call.release();
    this.#queue.delete(call);
    if (call.serial !== undefined && this.#sent.delete(call.serial)) this.#abandoned.set(call.serial, call);
    call.reject(error);
  }

  #nextSerial(): number {
    do {
      this.#serial = this.#serial === 0xffff_ffff ? 1 : this.#serial + 1;
    } while (this.#sent.has(this.#serial) || this.#abandoned.has(this.#serial));
    return this.#serial;
  }
}

function abortReason(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error("aborted", { cause: signal.reason });
}

/** The deadline of a call: the caller's, else the verb's. */
export function deadlineOf(options: CallOptions | undefined, otherwise: number): number {
  return options?.deadlineMs ?? otherwise;
}
