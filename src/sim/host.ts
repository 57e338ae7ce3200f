/**
 * A simulated host: it speaks the real contract (src/api/agent.ts) over real mutual TLS, and simulates only what lies behind it
 * (see machine.ts). For trying VStation with many hosts on one machine, and for tests that choose every moment: with `auto: false`
 * nothing moves until {@link SimHost.step}. It says that it simulates: its inventory names the hypervisor "simulated".
 */
import { randomUUID } from "node:crypto";
import { WebSocket } from "ws";
import {
  agentProtocol,
  toComputeSchema,
  type Ask,
  type FromCompute,
  type InstanceSpec,
  type Inventory,
  type Peer,
  type Readiness,
  type SeenInstance,
  type ToCompute,
} from "../api/agent.ts";
import type { JobSpec, SeenJob } from "../api/agent-storage.ts";
import { formatError, unreachable } from "../lib/errors.ts";
import type { HostId, InstanceId, JobId } from "../lib/ids.ts";
import { backoff, sleep } from "../lib/retry.ts";
import { SimHalves } from "./halves.ts";
import { simDisk, simSendImage } from "./image.ts";
import type { SimIdentity } from "./join.ts";
import { noFaults, SimMachine, type Faults } from "./machine.ts";
import { SimPreflight } from "./preflight.ts";

export interface SimHostOptions {
  /** Tried in turn; may grow while the host runs. */
  servers: string[];
  identity: SimIdentity;
  name: string;
  underlayAddress: string;
  shape: { cores: number; memoryMiB: number; diskGiB: number };
  overcommit?: { cpu: number; memory: number };
  /** Moves by itself, as fast as it can. */
  auto?: boolean;
  /** Delay before each step in auto mode, ms. */
  stepMs?: number;
  faults?: Partial<Faults>;
  /** Finds the host that a guest moves to. */
  neighbour?: (id: HostId) => SimHost | undefined;
}

/** How a wanted message was received, for measuring. */
export interface Received {
  at: number;
  message: ToCompute;
}

const missedHeartbeats = 3;

export class SimHost {
  readonly machines = new Map<InstanceId, SimMachine>();
  /** What each machine was last told to be. */
  readonly specs = new Map<InstanceId, InstanceSpec>();
  /** Every job that it was given and that is not over: each is done as soon as it comes. */
  readonly jobs = new Map<JobId, SeenJob>();
  readonly peers = new Map<string, Peer>();
  /** Its halves of moves. */
  readonly halves = new SimHalves(this);
  /** What it says before a move. */
  readonly preflight = new SimPreflight(this);
  /** The networks it was last told of. */
  network: Pick<Extract<ToCompute, { type: "wanted" }>, "vpcs" | "subnets" | "securityGroups"> = {
    vpcs: [],
    subnets: [],
    securityGroups: [],
  };
  /** Called for every message that comes, before it is acted on. */
  onMessage: (received: Received) => void = () => undefined;
  /** Changes what is about to be reported: a host that lies. */
  beforeSend: (message: FromCompute) => FromCompute = (message) => message;
  readonly options: SimHostOptions;
  readonly bootId = randomUUID();
  readonly #session = randomUUID();
  readonly #faults: Faults;
  #socket: WebSocket | undefined;
  #greeted = false;
  #heartbeatMs = 5_000;
  #wantedGeneration = 0;
  #peersGeneration = 0;
  #seq = 0;
  #inFlight: number | undefined;
  #fullDue = true;
  #jobsDue = false;
  readonly #reported = new Map<InstanceId, string>();
  #stop: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #connected = Promise.withResolvers<void>();

  constructor(options: SimHostOptions) {
    this.options = options;
    this.#faults = { ...noFaults, ...options.faults };
  }

  get id() {
    return this.options.identity.hostId;
  }

  get wantedGeneration(): number {
    return this.#wantedGeneration;
  }

  /** Keeps a connection up from now on; resolves when the first one is greeted. */
  async connect(): Promise<void> {
    this.#stop = new AbortController();
    this.#running = this.#keepConnected(this.#stop.signal);
    await this.#connected.promise;
  }

  /** All that it said is acknowledged. */
  get idle(): boolean {
    return this.#greeted && this.#inFlight === undefined;
  }

  /** Closes the connection and keeps it closed; guests go on. */
  async disconnect(): Promise<void> {
    this.#stop?.abort();
    this.#socket?.terminate();
    await this.#running;
    this.#connected = Promise.withResolvers();
  }

  async close(): Promise<void> {
    await this.disconnect();
    clearTimeout(this.#timer);
  }

  /** Faults of one machine, from now on. */
  setFaults(id: InstanceId, faults: Partial<Faults>): void {
    const machine = this.machines.get(id);
    if (machine !== undefined) Object.assign(machine.faults, faults);
    this.move();
  }

  /** Faults that machines will have which come later. */
  setDefaultFaults(faults: Partial<Faults>): void {
    Object.assign(this.#faults, faults);
  }

  /** Takes one step of one machine (or of every machine) and reports what changed. True if anything moved. */
  step(id?: InstanceId): boolean {
    const machines = id === undefined ? [...this.machines.values()] : [this.machines.get(id)];
    const moved = machines.map((machine) => machine?.step(Date.now()).moved ?? false).some(Boolean);
    this.report();
    return moved;
  }

  /** Something was changed from outside (a guest ended): in auto mode, go on from there. */
  move(): void {
    if (this.options.auto !== false) this.#schedule(0);
  }

  /** Says what changed, or everything, if nothing is on its way. */
  report(): void {
    if (!this.#greeted || this.#inFlight !== undefined) return;
    const full = this.#fullDue;
    const instances = [...this.machines].flatMap(([id, machine]) => this.#seen(id, machine, full) ?? []);
    const jobs = full || this.#jobsDue ? [...this.jobs.values()] : [];
    const migrations = this.halves.seen(full);
    if (!full && instances.length === 0 && jobs.length === 0 && migrations.length === 0) return;
    this.#jobsDue = false;
    this.#fullDue = false;
    this.#inFlight = ++this.#seq;
    for (const seen of instances) this.#reported.set(seen.id, JSON.stringify(seen));
    this.send({
      type: "seen",
      seq: this.#seq,
      full,
      wantedGeneration: this.#wantedGeneration,
      instances,
      jobs,
      migrations,
    });
  }

  reportFull(): void {
    this.#fullDue = true;
    this.report();
  }

  send(message: FromCompute): void {
    this.#socket?.send(JSON.stringify(this.beforeSend(message)));
  }

  #seen(id: InstanceId, machine: SimMachine, full: boolean): SeenInstance | undefined {
    const { phase, epoch, generation } = machine;
    if (phase === null) return undefined;
    const isStranger = phase.is === "stranger";
    const spec = isStranger || phase.is === "gone" ? undefined : this.specs.get(id);
    const held = spec === undefined ? [] : [spec.systemDisk, ...spec.dataDisks];
    const disks = held.map((disk) => ({ id: disk.id, sizeGiB: disk.sizeGiB, made: machine.runs, problem: null }));
    const seen: SeenInstance = { id, epoch, generation: isStranger ? 0 : generation, phase, disks };
    return full || this.#reported.get(id) !== JSON.stringify(seen) ? seen : undefined;
  }

  async #keepConnected(signal: AbortSignal): Promise<void> {
    const { servers } = this.options;
    for (let failures = 0, next = 0; !signal.aborted; failures++) {
      const server = servers[next++ % servers.length] ?? "";
      await this.#serve(server, signal, () => (failures = 0));
      await sleep(backoff(failures, 20, 500), signal).catch(() => undefined);
    }
  }

  /** One connection's life. */
  #serve(server: string, signal: AbortSignal, up: () => void): Promise<void> {
    const { ca, certificate: cert, key } = this.options.identity;
    return new Promise((resolve) => {
      const socket = new WebSocket(`wss://${server}/agent`, {
        ca,
        cert,
        key,
        handshakeTimeout: 5_000,
        agent: undefined,
      });
      this.#socket = socket;
      socket.on("open", () => {
        up();
        if (signal.aborted) return socket.terminate();
        return this.send(this.#hello());
      });
      let lastHeard = performance.now();
      const heard = (): void => {
        lastHeard = performance.now();
      };
      // A peer that hangs keeps its connections open; only its silence tells.
      const silence = setInterval(() => {
        if (performance.now() - lastHeard > missedHeartbeats * this.#heartbeatMs) socket.terminate();
      }, 1_000);
      socket.on("ping", heard);
      socket.on("message", (data) => {
        heard();
        this.#receive(data as Buffer);
      });
      // The close that follows says it all.
      socket.on("error", () => undefined);
      socket.on("close", () => {
        clearInterval(silence);
        this.#greeted = false;
        this.#inFlight = undefined;
        resolve();
      });
    });
  }

  #hello(): FromCompute {
    const { underlayAddress, overcommit } = this.options;
    return {
      type: "hello",
      protocol: agentProtocol,
      bootId: this.bootId,
      session: this.#session,
      underlayAddress,
      wantedGeneration: this.#wantedGeneration,
      peersGeneration: this.#peersGeneration,
      inventory: this.inventory(),
      readiness: this.readiness(),
      overcommit: overcommit ?? { cpu: 1, memory: 1 },
    };
  }

  inventory(): Inventory {
    const { name, shape } = this.options;
    return {
      hostname: name,
      ...shape,
      cpu: {
        model: "simulated",
        vendor: "none",
        sockets: 1,
        coresPerSocket: shape.cores,
        threadsPerCore: 1,
        mhz: 1000,
      },
      numa: [{ node: 0, cpus: `0-${shape.cores - 1}`, memoryMiB: shape.memoryMiB, hugepages: [] }],
      offers: { dedicated: shape.cores - 1, pages2MiB: 0, pages1GiB: 0 },
      versions: { compute: "simulated", libvirt: "none", qemu: "simulated", kernel: "none", node: process.version },
    };
  }

  readiness(): Readiness {
    return { accelerator: "tcg", checks: [{ name: "simulated", level: "ok", message: "no guest ever runs here" }] };
  }

  #receive(data: Buffer): void {
    const at = performance.now();
    const message = toComputeSchema.parse(JSON.parse(data.toString("utf8")));
    this.onMessage({ at, message });
    switch (message.type) {
      case "welcome":
        this.#greeted = true;
        this.#heartbeatMs = message.heartbeatMs;
        this.#fullDue = true;
        this.#reported.clear();
        this.#connected.resolve();
        return this.report();
      case "wanted":
        return this.#takeWanted(message);
      case "peers":
        if (message.full) this.peers.clear();
        for (const peer of message.peers) {
          if (peer.vtep === null) this.peers.delete(peer.ip);
          else this.peers.set(peer.ip, peer);
        }
        this.#peersGeneration = message.generation;
        return undefined;
      case "ack":
        if (message.seq === this.#inFlight) this.#inFlight = undefined;
        return this.report();
      case "ask":
        return this.send({ type: "answer", id: message.id, answer: this.#answer(message.ask) });
      case "console.input":
        // An echo: what a guest with a terminal would do first.
        return this.send({ type: "console.output", session: message.session, data: message.data });
      case "console.close":
        return undefined;
      default:
        return unreachable(message);
    }
  }

  #takeWanted(message: Extract<ToCompute, { type: "wanted" }>): void {
    const { vpcs, subnets, securityGroups } = message;
    this.network = { vpcs, subnets, securityGroups };
    for (const wanted of message.instances) {
      this.specs.set(wanted.id, wanted.spec);
      this.machine(wanted.id).order(wanted, wanted.generation);
    }
    if (message.full) this.jobs.clear();
    for (const { id, gone, spec } of message.jobs) {
      if (gone) this.jobs.delete(id);
      else if (spec.kind === "image.create") this.#createImage(id, spec);
      else this.jobs.set(id, { id, state: { is: "done", result: { bytes: 0 } } });
    }
    this.#jobsDue ||= this.jobs.size > 0;
    this.halves.take(message.migrations, message.full);
    if (message.full) {
      const named = new Set(message.instances.map(({ id }) => id));
      for (const [id, machine] of this.machines) {
        if (named.has(id) || machine.moving) continue;
        machine.wanted = null;
        if (machine.phase?.is !== "gone") continue;
        this.machines.delete(id);
        this.specs.delete(id);
      }
    }
    this.#wantedGeneration = message.generation;
    this.report();
    this.move();
  }

  /** The only job that is more than a word: VStation waits for the file. */
  #createImage(id: JobId, { imageId, disk }: Extract<JobSpec, { kind: "image.create" }>): void {
    if (this.jobs.has(id)) return;
    this.jobs.set(id, { id, state: { is: "running", percent: 0 } });
    const [server = ""] = this.options.servers;
    const content = simDisk(disk.sizeGiB);
    const end = (state: SeenJob["state"]): void => {
      if (!this.jobs.has(id)) return;
      this.jobs.set(id, { id, state });
      this.#jobsDue = true;
      this.report();
    };
    simSendImage(server, this.options.identity, imageId, content).then(
      () => end({ is: "done", result: { bytes: content.length } }),
      (error: unknown) => end({ is: "failed", reason: "io_error", message: formatError(error).slice(0, 1000) }),
    );
  }

  /** The machine of this instance; a new one if there is none. */
  machine(id: InstanceId): SimMachine {
    let machine = this.machines.get(id);
    if (machine === undefined) this.machines.set(id, (machine = new SimMachine(this.bootId, this.#faults)));
    return machine;
  }

  #answer(ask: Ask): unknown {
    switch (ask.kind) {
      case "console.log":
        return { data: Buffer.from("simulated\n").toString("base64"), truncated: false };
      case "console.open":
        return {};
      case "readiness":
        return this.readiness();
      case "migration.source-check":
        return this.preflight.source(ask.instanceId);
      case "migration.target-check":
        return this.preflight.target(ask.spec);
      case "migration.link-probe":
        return this.preflight.link;
      case "migration.dirty-samples":
        return this.preflight.dirty;
      default:
        return unreachable(ask);
    }
  }

  #schedule(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), Math.max(ms, this.options.stepMs ?? 0));
  }

  /** Lets every machine take a step; goes on until all wait. */
  #run(): void {
    const now = Date.now();
    let next: number | null = null;
    let moved = false;
    for (const machine of this.machines.values()) {
      const result = machine.step(now);
      if (result.moved) moved = true;
      else if (result.untilMs !== null) next = Math.min(next ?? Infinity, result.untilMs);
    }
    this.report();
    if (moved) this.#schedule(0);
    else if (next !== null) this.#schedule(next - now);
  }
}
