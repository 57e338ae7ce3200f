/**
 * One connection of one host: hello, then what is wanted whenever it changes, reports up, questions down, consoles through.
 *
 * Level-triggered on both sides: a nudge makes the session read what changed since the generation it has sent, so nudges may be
 * lost, repeated or late. The session speaks for its host only while its name stands in the host's row; when a newer one has
 * taken over (here or at another replica), this one ends itself at its next read.
 */
import { randomUUID } from "node:crypto";
import type { WebSocket } from "ws";
import {
  agentProtocol,
  fromComputeSchema,
  type FromCompute,
  type ToCompute,
  type WantedInstance,
  type WantedMigration,
  type Peer,
} from "../../api/agent.ts";
import type { WantedJob } from "../../api/agent-storage.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { formatError } from "../../lib/errors.ts";
import type { HostId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import { logRetry, type Store } from "../store/database.ts";
import { hostHello, hostLost, hostReport } from "../store/hosts.ts";
import type { CpuBaseline } from "../../core/machine.ts";
import type { MigrationTransport } from "../../core/migration/halves.ts";
import type { WantedNetworkRead } from "../store/network-wanted.ts";
import { peersSince, wantedSince } from "../store/wanted.ts";
import { Asks } from "./asks.ts";
import { Consoles } from "./consoles.ts";
import type { SeenWriter } from "./seen-writer.ts";

export interface SessionContext {
  store: Store;
  region: string;
  zone: string;
  cpuBaseline: CpuBaseline;
  migrationTransport: MigrationTransport;
  migrationConnections: number;
  dirtyRing: boolean;
  log: Log;
  seen: SeenWriter;
  fixedPeers: readonly Peer[];
  heartbeatMs: number;
  onEnded: (session: HostSession) => void;
}

type Hello = Extract<FromCompute, { type: "hello" }>;

const helloMs = 10_000;
const missedHeartbeats = 3;
/** Instances in one message: user data makes them large. */
const chunkInstances = 200;
/** Everything is sent again this often, against what was lost without anybody noticing. */
const wholeEveryMs = 5 * 60_000;
/** A host that does not read is better off with a fresh connection. */
const longestBacklog = 64 * 2 ** 20;

export class HostSession {
  readonly hostId: HostId;
  readonly id = randomUUID();
  readonly asks: Asks;
  readonly consoles: Consoles;
  readonly #context: SessionContext;
  readonly #socket: WebSocket;
  readonly #log: Log;
  readonly #ended = new AbortController();
  readonly #timers: NodeJS.Timeout[] = [];
  #greeted = false;
  /** The host's row names this session. */
  #written = false;
  #missed = 0;
  #wantedSent = 0;
  #peersSent = 0;
  #due: { wanted: boolean; peers: boolean; whole: boolean } = { wanted: false, peers: false, whole: false };
  #streaming: Promise<void> | undefined;
  #lastWrite: Promise<void> | undefined;

  constructor(hostId: HostId, socket: WebSocket, context: SessionContext) {
    this.hostId = hostId;
    this.#socket = socket;
    this.#context = context;
    this.#log = context.log.child({ hostId, session: this.id });
    this.asks = new Asks((message) => this.#send(message));
    this.consoles = new Consoles((message) => this.#send(message));
    const late = setTimeout(() => this.close(1002, "no hello in time"), helloMs);
    this.#timers.push(late);
    socket.on("message", (data, binary) => this.#receive(data as Buffer, binary));
    socket.on("pong", () => (this.#missed = 0));
    socket.on("ping", () => (this.#missed = 0));
    socket.on("error", (error) => this.#log.warn({ chain: formatError(error) }, "the connection to a host failed"));
    socket.on("close", (code, reason) => this.#end(`closed with ${code} ${reason.toString()}`.trim()));
  }

  /** Said hello and is being served. */
  get greeted(): boolean {
    return this.#greeted;
  }

  /** Something this host should know may have changed. */
  nudge(what: { wanted?: boolean; peers?: boolean; whole?: boolean }): void {
    this.#due.wanted ||= what.wanted ?? false;
    this.#due.peers ||= what.peers ?? false;
    this.#due.whole ||= what.whole ?? false;
    if (!this.#greeted) return;
    this.#streaming ??= this.#stream();
  }

  /**
   * Ends it because this process ends. The host's row goes on saying that it is connected: it will be again in a moment, and if
   * not, its silence tells; a restart of VStation must not look like the loss of every host.
   */
  leave(): void {
    this.#written = false;
    this.close(1001, "VStation is ending");
  }

  close(code: number, reason: string): void {
    if (this.#ended.signal.aborted) return;
    this.#socket.close(code, reason.slice(0, 100));
    // A peer that does not answer the close must not keep the session.
    setTimeout(() => this.#socket.terminate(), 2_000).unref();
    this.#end(reason);
  }

  /** Resolves when the session has ended and nothing of it is at work any more. */
  async finished(): Promise<void> {
    await this.#streaming;
    await this.#lastWrite;
  }

  #end(reason: string): void {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort();
    for (const timer of this.#timers) clearTimeout(timer);
    this.asks.close();
    this.consoles.closeAll("the connection to the host was lost");
    this.#log.info({ reason }, "a host's connection ended");
    this.#context.onEnded(this);
    if (this.#written) this.#writeLost();
  }

  #writeLost(): void {
    this.#lastWrite = this.#context.store
      .transaction((tx) => hostLost(tx, this.hostId, this.id))
      .then(() => undefined)
      .catch((error: unknown) => {
        // Its silence says the same a little later.
        logRetry(this.#log, error, "could not write down that a host is out of reach");
      });
  }

  #receive(data: Buffer, binary: boolean): void {
    this.#missed = 0;
    let message: FromCompute;
    try {
      if (binary) throw new Error("a binary message");
      message = fromComputeSchema.parse(JSON.parse(data.toString("utf8")));
    } catch (error) {
      this.#log.error({ err: error }, "a host sent something that the contract does not know");
      return this.close(1008, "a message out of contract");
    }
    if (message.type === "hello") return this.#hello(message);
    if (!this.#greeted) return this.close(1002, "the first message must be hello");
    return this.#dispatch(message);
  }

  #dispatch(message: Exclude<FromCompute, Hello>): void {
    switch (message.type) {
      case "seen": {
        const { seq, full, wantedGeneration, instances, jobs, migrations } = message;
        const ack = (acked: number): void => this.#send({ type: "ack", seq: acked });
        return this.#context.seen.add({
          hostId: this.hostId,
          session: this.id,
          seq,
          full,
          wantedGeneration,
          instances,
          jobs,
          migrations,
          ack,
          refuse: () => this.close(1011, "the report cannot be written"),
        });
      }
      case "report":
        return void this.#context.store
          .transaction((tx) => hostReport(tx, this.hostId, message.inventory, message.readiness))
          .catch((error: unknown) => logRetry(this.#log, error, "a host's report was not written"));
      case "answer":
        return this.asks.answer(message.id, message.answer);
      case "refusal":
        return this.asks.refuse(message.id, message.code, message.message);
      case "console.output":
        return this.consoles.output(message.session, Buffer.from(message.data, "base64"));
      case "console.closed":
        return this.consoles.closed(message.session, message.reason);
    }
  }

  #hello(hello: Hello): void {
    if (this.#greeted) return this.close(1002, "hello was said before");
    if (hello.protocol !== agentProtocol) {
      this.#log.error({ theirs: hello.protocol, ours: agentProtocol }, "a host speaks another protocol");
      return this.close(1002, `VStation speaks protocol ${agentProtocol}`);
    }
    clearTimeout(this.#timers[0]);
    return void this.#greet(hello).catch((error: unknown) => {
      logRetry(this.#log, error, "a host's hello could not be taken");
      this.close(1013, "try again later");
    });
  }

  async #greet(hello: Hello): Promise<void> {
    const { bootId, underlayAddress, inventory, readiness, overcommit } = hello;
    const { store, region, zone, heartbeatMs, cpuBaseline, migrationTransport, migrationConnections, dirtyRing } =
      this.#context;
    const row = await store.transaction((tx) =>
      hostHello(tx, zone, this.hostId, { session: this.id, bootId, underlayAddress, inventory, readiness, overcommit }),
    );
    if (row === undefined) return this.close(1008, "this host is not known");
    this.#written = true;
    if (this.#ended.signal.aborted) return this.#writeLost();
    crashPoint("agents.hello.committed");
    this.#greeted = true;
    const place = { region, zone };
    // A host of an earlier release knows of no ring, and of one connection.
    const since = {
      ...(dirtyRing ? { dirtyRing } : {}),
      ...(migrationConnections > 1 ? { migrationConnections } : {}),
    };
    const told = { heartbeatMs, cpuBaseline, migrationTransport, ...since, place };
    this.#send({ type: "welcome", protocol: agentProtocol, hostId: this.hostId, ...told });
    // A host that has seen a later generation than we ever made knows another database's truth: it gets everything anew.
    this.#wantedSent = hello.wantedGeneration <= row.wanted_generation ? hello.wantedGeneration : 0;
    this.#peersSent = 0;
    this.#log.info({ name: row.name, since: this.#wantedSent }, "a host connected");
    this.#timers.push(
      setInterval(() => this.#beat(), heartbeatMs),
      setInterval(() => this.nudge({ whole: true }), wholeEveryMs),
    );
    this.#due = { wanted: true, peers: true, whole: this.#due.whole };
    this.#streaming ??= this.#stream();
  }

  #beat(): void {
    if (this.#missed >= missedHeartbeats) {
      this.#log.warn("a host is silent");
      this.#socket.terminate();
      return this.#end("nothing heard for too long");
    }
    this.#missed++;
    return this.#socket.ping();
  }

  /** Sends what is due until nothing is; one at a time, so that generations go up on the wire too. */
  async #stream(): Promise<void> {
    let failures = 0;
    let first = true;
    while (!this.#ended.signal.aborted && (first || this.#due.wanted || this.#due.peers || this.#due.whole)) {
      const due = this.#due;
      this.#due = { wanted: false, peers: false, whole: false };
      try {
        if (due.wanted || due.whole) await this.#sendWanted(due.whole, first);
        if (due.peers || due.whole) await this.#sendPeers(due.whole);
        first = false;
        failures = 0;
      } catch (error) {
        this.nudge(due);
        logRetry(this.#log, error, "could not read what is wanted of a host");
        await sleep(backoff(failures++, 50, 2_000), this.#ended.signal).catch(() => undefined);
      }
    }
    this.#streaming = undefined;
  }

  async #sendWanted(whole: boolean, first: boolean): Promise<void> {
    const since = whole ? 0 : this.#wantedSent;
    const { cpuBaseline } = this.#context;
    const read = await this.#context.store.read((db) => wantedSince(db, this.hostId, since, cpuBaseline));
    if (this.#ended.signal.aborted) return;
    if (read?.removed === true) return this.close(4003, "this host was removed");
    if (read === undefined || read.session !== this.id) return this.close(4001, "a newer session took over");
    if (!first && !whole && read.generation === this.#wantedSent) return;
    const { generation, network, instances, jobs, migrations } = read;
    if (since === 0) this.#sendWantedPart(generation, true, network, instances, { jobs, migrations });
    else {
      // Only the last part says that everything up to the new generation has been told.
      for (let at = 0; at === 0 || at < instances.length; at += chunkInstances) {
        const isLast = at + chunkInstances >= instances.length;
        const part = instances.slice(at, at + chunkInstances);
        const rest = isLast ? { jobs, migrations } : { jobs: [], migrations: [] };
        this.#sendWantedPart(isLast ? generation : since, false, network, part, rest);
      }
    }
    this.#wantedSent = generation;
    crashPoint("agents.wanted.sent");
  }

  #sendWantedPart(
    generation: number,
    full: boolean,
    network: WantedNetworkRead,
    instances: WantedInstance[],
    rest: { jobs: WantedJob[]; migrations: WantedMigration[] },
  ): void {
    this.#send({ type: "wanted", generation, full, ...network, instances, ...rest });
  }

  async #sendPeers(whole: boolean): Promise<void> {
    const since = whole ? 0 : this.#peersSent;
    const { generation, peers } = await this.#context.store.read((db) => peersSince(db, this.#context.zone, since));
    if (this.#ended.signal.aborted || (since !== 0 && generation === this.#peersSent)) return;
    const full = since === 0;
    this.#send({ type: "peers", generation, full, peers: full ? [...this.#context.fixedPeers, ...peers] : peers });
    this.#peersSent = generation;
  }

  #send(message: ToCompute): void {
    if (this.#ended.signal.aborted) return;
    if (this.#socket.bufferedAmount > longestBacklog) {
      this.#log.error("a host does not read what it is sent");
      this.#socket.terminate();
      return this.#end("it does not read");
    }
    this.#socket.send(JSON.stringify(message));
  }
}
