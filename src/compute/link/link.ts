/**
 * The one connection of this host, kept up for as long as Compute runs: to any of the servers, again and again with jitter.
 *
 * The connection carries no truth. After each connect: hello (with the generations held), then what VStation has that is newer, then
 * everything that is seen. `wanted` and `peers` are applied one after the other, in the order they came; what is seen goes up
 * whenever it changes, at most one report at a time, again until acknowledged. A lost message costs time, never state.
 */
import { randomUUID } from "node:crypto";
import {
  agentProtocol,
  type Ask,
  type FromCompute,
  type Inventory,
  type Place,
  type Readiness,
  type ToCompute,
} from "../../api/agent.ts";
import type { CpuBaseline } from "../../core/machine.ts";
import type { MigrationTransport } from "../../core/migration/halves.ts";
import { formatError, isFailure } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import { dial, type Connection } from "./dial.ts";
import type { Identity } from "./identity.ts";
import type { Outbox } from "./outbox.ts";

export interface LinkOptions {
  readonly servers: readonly string[];
  /** What the next connection is made with. */
  readonly identity: () => Identity;
  readonly bootId: string;
  readonly underlayAddress: string;
  readonly overcommit: { cpu: number; memory: number };
  readonly log: Log;
  readonly outbox: Outbox;
  readonly generations: () => { wanted: number; peers: number };
  readonly describe: () => Promise<{ inventory: Inventory; readiness: Readiness }>;
  /** Calls {@link Link.report} and minds its failure. */
  readonly tell: () => void;
  readonly applyWanted: (message: Extract<ToCompute, { type: "wanted" }>) => Promise<void>;
  readonly applyPeers: (message: Extract<ToCompute, { type: "peers" }>) => Promise<void>;
  readonly ask: (ask: Ask, reply: Reply) => Promise<unknown>;
  readonly consoleInput: (session: string, data: Buffer) => void;
  readonly consoleClose: (session: string) => void;
  /** VStation takes this host's reports, and said where it is, what processor the zone's guests are to see and how they move. */
  readonly welcomed: (welcome: {
    cpuBaseline: CpuBaseline;
    migrationTransport: MigrationTransport;
    migrationConnections?: number | undefined;
    dirtyRing?: boolean | undefined;
    place: Place;
  }) => void;
  /** The connection went: what belonged to it ends. */
  readonly onLost: () => void;
  /** VStation does not take this host's certificate, perhaps because the host was taken out; called again at each try to connect. */
  readonly onRefused: (isRemoved: boolean) => void;
}

/** Where the answers to a question that goes on (a console) are sent: the connection that asked. */
export interface Reply {
  readonly backlog: number;
  send(message: Extract<FromCompute, { type: "console.output" | "console.closed" }>): void;
}

/** A report that is not acknowledged for so long is made again. */
const ackDeadlineMs = 5_000;
/** Everything is said again this often, against whatever was lost without a trace. */
const wholeEveryMs = 180_000;
const firstRetryMs = 250;
const longestRetryMs = 10_000;

export class Link {
  readonly #options: LinkOptions;
  readonly #session = randomUUID();
  readonly #end = new AbortController();
  #connection: Connection | null = null;
  /** Hello is said: reports may follow. */
  #greeted = false;
  /** The host's own state has changed since it was described for the hello that is under way. */
  #reportDue = false;
  #applying: Promise<void> = Promise.resolve();
  #ackTimer: NodeJS.Timeout | null = null;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  get isConnected(): boolean {
    return this.#greeted;
  }

  /** Ends when {@link close} is called. */
  async run(): Promise<void> {
    const { servers, log, outbox } = this.#options;
    const whole = setInterval(() => outbox.requestFull(), wholeEveryMs);
    let next = Math.floor(Math.random() * servers.length);
    let failures = 0;
    while (!this.#end.signal.aborted) {
      const server = servers[next++ % servers.length] ?? "";
      const since = performance.now();
      try {
        const reason = await this.#serve(server);
        if (this.#end.signal.aborted) break;
        log.warn({ server, reason }, "the connection to VStation was lost");
      } catch (error) {
        // Away is the common case and says no more than its message; anything else deserves the whole chain.
        const isRemoved = isFailure(error) && error.code === "HostRemoved";
        if (!isRemoved && isFailure(error, "unavailable", "forbidden"))
          log.warn({ server, reason: formatError(error) }, "VStation is not reachable");
        else if (!isRemoved) log.error({ err: error, server }, "the connection to VStation failed");
        if (isFailure(error, "forbidden")) this.#options.onRefused(isRemoved);
      }
      failures = performance.now() - since > longestRetryMs ? 0 : failures + 1;
      await sleep(backoff(failures, firstRetryMs, longestRetryMs), this.#end.signal).catch(() => undefined);
    }
    clearInterval(whole);
    await this.#applying;
  }

  close(): void {
    this.#end.abort();
  }

  /** Sends what is due; called by the outbox. */
  flush(): void {
    const connection = this.#connection;
    if (connection === null || !this.#greeted) return;
    const report = this.#options.outbox.take();
    if (report === null) return;
    connection.send(report);
    if (this.#ackTimer) clearTimeout(this.#ackTimer);
    this.#ackTimer = setTimeout(() => this.#options.outbox.expire(), ackDeadlineMs);
  }

  /** Sends the host's own state, now or right after the greeting; a hello that is yet to be described carries it anyway. */
  async report(): Promise<void> {
    const connection = this.#connection;
    this.#reportDue = !this.#greeted;
    if (connection === null || !this.#greeted) return;
    const { inventory, readiness } = await this.#options.describe();
    if (connection === this.#connection) connection.send({ type: "report", inventory, readiness });
  }

  async #serve(server: string): Promise<string> {
    const { identity, log, outbox } = this.#options;
    this.#reportDue = false;
    const described = await this.#options.describe();
    const connection = await dial({
      server,
      identity: identity(),
      log,
      signal: this.#end.signal,
      onMessage: (message, from) => this.#receive(from, message),
    });
    this.#connection = connection;
    try {
      const { wanted, peers } = this.#options.generations();
      connection.send({
        type: "hello",
        protocol: agentProtocol,
        bootId: this.#options.bootId,
        session: this.#session,
        underlayAddress: this.#options.underlayAddress,
        wantedGeneration: wanted,
        peersGeneration: peers,
        overcommit: this.#options.overcommit,
        ...described,
      });
      return await connection.closed;
    } finally {
      this.#connection = null;
      this.#greeted = false;
      if (this.#ackTimer) clearTimeout(this.#ackTimer);
      outbox.reset();
      this.#options.onLost();
    }
  }

  #receive(connection: Connection, message: ToCompute): void {
    const { outbox, log } = this.#options;
    switch (message.type) {
      case "welcome":
        if (message.protocol !== agentProtocol) return connection.close(`VStation speaks protocol ${message.protocol}`);
        connection.heartbeat(message.heartbeatMs);
        log.info({ hostId: message.hostId }, "connected to VStation");
        this.#greeted = true;
        this.#options.welcomed(message);
        outbox.reset();
        if (this.#reportDue) this.#options.tell();
        return undefined;
      case "wanted":
        return this.#apply(connection, () => this.#options.applyWanted(message));
      case "peers":
        return this.#apply(connection, () => this.#options.applyPeers(message));
      case "ack":
        if (this.#ackTimer) clearTimeout(this.#ackTimer);
        return outbox.acknowledge(message.seq);
      case "ask":
        void this.#answer(connection, message.id, message.ask);
        return undefined;
      case "console.input":
        return this.#options.consoleInput(message.session, Buffer.from(message.data, "base64"));
      case "console.close":
        return this.#options.consoleClose(message.session);
    }
  }

  /** One after the other; if one cannot be kept, the connection ends, so that it is sent again. */
  #apply(connection: Connection, work: () => Promise<void>): void {
    this.#applying = this.#applying.then(work).catch((error: unknown) => {
      this.#options.log.error({ err: error }, "could not take over what VStation wants");
      connection.close("what is wanted could not be kept on this host");
    });
  }

  async #answer(connection: Connection, id: number, ask: Ask): Promise<void> {
    const reply: Reply = {
      get backlog() {
        return connection.backlog;
      },
      send: (message) => connection.send(message),
    };
    try {
      connection.send({ type: "answer", id, answer: (await this.#options.ask(ask, reply)) ?? {} });
    } catch (error) {
      const known = isFailure(error);
      if (!known) this.#options.log.error({ err: error, ask: ask.kind }, "could not answer a question");
      const message = known ? error.message : "the host could not answer; its log says why";
      connection.send({ type: "refusal", id, code: known ? error.code : "Internal", message: message.slice(0, 1024) });
    }
  }
}
