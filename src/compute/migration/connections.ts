/**
 * A guest's tracked connections are carried to the target (compute/network/connections.ts says what they are for). The source tells of them
 * early and again and again while the memory is copied, so that all but the newest are there before the guest is; the difference
 * once it runs there. Nothing is read while the guest is paused or about to be, because that would make the pause longer.
 *
 * None of it is needed for the move to succeed: what fails is logged, and the guest's own next packets make its connections known at
 * the target, as far as its security groups admit what comes from the other side.
 */
import { setTimeout as delay } from "node:timers/promises";
import { formatError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { within } from "../../lib/retry.ts";
import {
  connectionKey,
  mostConnections,
  readConnections,
  writeConnections,
  type Connection,
  type TrackedNic,
} from "../network/connections.ts";
import type { PeerLink } from "./dial.ts";
import { connectionsInOneAsk, refused, type PeerAsk } from "./wire.ts";

export interface CarrierOptions {
  readonly link: Pick<PeerLink, "ask">;
  readonly nics: () => readonly (TrackedNic | null)[];
  /** The guest is paused soon, or already. */
  readonly isQuiet: () => boolean;
  readonly log: Log;
}

const everyMs = 3_000;
/** A host with many connections of many guests is not kept busy by reading them. */
const restsPerRead = 20;
const askMs = 20_000;
/** The source's last work waits for it no longer. */
const lastMs = 5_000;

export class ConnectionCarrier {
  readonly #options: CarrierOptions;
  readonly #stop = new AbortController();
  /** What the target has, by NIC and key. */
  readonly #told = new Map<number, Set<string>>();
  #loop: Promise<void> = Promise.resolve();

  constructor(options: CarrierOptions) {
    this.#options = options;
  }

  /** Begins to tell; never waits. */
  begin(): void {
    this.#loop = this.#run();
  }

  /** Nothing more is read from now on. */
  stop(): void {
    this.#stop.abort();
  }

  /** The guest runs there: tells what has changed since. Never rejects. */
  async last(): Promise<void> {
    this.stop();
    try {
      const work = this.#loop.then(() => this.#tell());
      work.catch(() => undefined);
      await within(lastMs, "telling the target of the last connections", work);
    } catch (error) {
      this.#options.log.warn({ chain: formatError(error) }, "the newest connections of a guest were not told");
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const begun = performance.now();
      try {
        if (!this.#options.isQuiet()) await this.#tell();
      } catch (error) {
        this.#options.log.warn({ chain: formatError(error) }, "the connections of a guest were not told");
      }
      const took = performance.now() - begun;
      await delay(Math.max(everyMs, restsPerRead * took), undefined, { signal }).catch(() => undefined);
    }
  }

  async #tell(): Promise<void> {
    for (const [index, nic] of this.#options.nics().entries()) {
      if (nic === null) continue;
      const found = (await readConnections(nic)).filter(isSettled);
      const before = this.#told.get(index) ?? new Set();
      // Only what is there still: the rest the target's kernel forgets as this one did.
      const told = new Set(found.map(connectionKey).filter((key) => before.has(key)));
      this.#told.set(index, told);
      const begun = found.filter((one) => !told.has(connectionKey(one)));
      for (let at = 0; at < begun.length; at += connectionsInOneAsk) {
        const connections = begun.slice(at, at + connectionsInOneAsk);
        await this.#options.link.ask({ is: "connections", nic: index, first: at === 0, connections }, askMs);
        for (const one of connections) told.add(connectionKey(one));
      }
    }
  }
}

/** What is written at the target is not changed there: a connection that is just being opened would stay so, and its next packet be strange. */
function isSettled(one: Connection): boolean {
  return one.protocol !== "tcp" || !one.state.startsWith("SYN_");
}

/** The target's side. */
export class TrackedConnections {
  readonly #nics: () => readonly (TrackedNic | null)[];
  /** What the source has told of in one read, by NIC. */
  readonly #told = new Map<number, Set<string>>();

  constructor(nics: () => readonly (TrackedNic | null)[]) {
    this.#nics = nics;
  }

  /** They are the guest's own by the target's word of its addresses, whatever the source says. */
  async take(ask: PeerAsk & { is: "connections" }): Promise<void> {
    const told = (ask.first ? undefined : this.#told.get(ask.nic)) ?? new Set();
    this.#told.set(ask.nic, told);
    for (const one of ask.connections) told.add(connectionKey(one));
    if (told.size > mostConnections) {
      throw refused({ reason: "target_refused", message: "it tells of too many connections" });
    }
    const nic = this.#nics()[ask.nic];
    if (nic) await writeConnections(nic, ask.connections);
  }
}
