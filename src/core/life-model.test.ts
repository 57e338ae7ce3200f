/**
 * VStation's rules and a host's rules played against each other: requests, placements, messages that are late or lost with their
 * connection, hosts that freeze or fail, guests that end. What must hold at every moment: never two guests, never one start twice.
 * What must hold in the end, once everything is in reach and works: nothing is under way, and things are as they are shown.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostId, OperationId } from "../lib/ids.ts";
import { SimMachine, noFaults } from "../sim/machine.ts";
import { operationLimit } from "./deadlines.ts";
import { afterDecision, isOrder } from "./decision.ts";
import { instanceState } from "./instance-state.ts";
import {
  operationKinds,
  type OperationKind,
  type OperationState,
  type RestartPolicy,
  type StopMode,
} from "./instance.ts";
import { ordered, orderedAtRest } from "./order.ts";
import { reconcile, relocationFailed } from "./reconcile.ts";
import { decideChange, decideRequest, type PowerRequest } from "./request-queue.ts";
import type { Seen } from "./seen.ts";
import type { Instance } from "./wanted.ts";

const hostNames = ["host-a", "host-b", "host-c", "host-d"] as HostId[];

interface WantedDocument {
  epoch: number;
  generation: number;
  power: Instance["power"];
  incarnation: number;
  resets: number;
  address: number;
}

class Host {
  machine = new SimMachine("boot", noFaults);
  linked = true;
  down: WantedDocument[] = [];
  up: Seen[] = [];
  generation = 0;
  /** What it was last told, and what the guest that runs was started with. */
  address = 0;
  guestAddress = 0;

  step(now: number): boolean {
    const ran = this.machine.runs;
    const { moved } = this.machine.step(now);
    if (!ran && this.machine.runs) this.guestAddress = this.address;
    return moved;
  }

  take({ epoch, generation, power, incarnation, resets, address }: WantedDocument): void {
    if (generation < this.generation) return;
    this.generation = generation;
    this.address = address;
    const order =
      power.is === "running"
        ? ({ state: "running", incarnation, resets } as const)
        : power.is === "stopped"
          ? ({ state: "stopped", how: power.how } as const)
          : ({ state: "gone" } as const);
    this.machine.order({ epoch, power: order }, generation);
  }

  report(): void {
    const { phase, epoch, generation } = this.machine;
    if (phase !== null && phase.is !== "stranger") this.up.push({ epoch, generation, phase });
  }
}

class World {
  now = 1_000_000;
  readonly hosts = new Map(hostNames.map((name) => [name, new Host()]));
  readonly ends: { kind: OperationKind; as: OperationState }[] = [];
  /** What VStation let fail; of what another request took the place of nothing is in it. */
  readonly failures: string[] = [];
  instance: Instance;
  deleted = false;
  /** Hosts that have room. */
  roomy = new Set(hostNames);
  /** Its own, and the second one that it holds while it changes. */
  address = 1;
  other: number | null = null;
  renumbered = 0;
  #addresses = 1;
  #generation = 1;
  #operations = 0;

  constructor(restartPolicy: RestartPolicy) {
    this.instance = {
      power: { is: "running" },
      incarnation: 1,
      resets: 0,
      epoch: 1,
      generation: 1,
      hostId: hostNames[0] ?? null,
      seen: null,
      restartPolicy,
      launched: false,
      runningSince: null,
      quickEnds: 0,
      notBefore: null,
      triedHosts: [],
      failure: null,
      otherAddress: null,
      operation: null,
    };
    this.#open("instance.run", null);
    this.#send();
  }

  get host(): Host | undefined {
    return this.instance.hostId === null ? undefined : this.hosts.get(this.instance.hostId);
  }

  get state() {
    const { power, seen, operation, restartPolicy } = this.instance;
    return instanceState({ power, seen: seen?.phase.is ?? null, open: operation?.kind ?? null, restartPolicy });
  }

  request(request: PowerRequest): void {
    if (this.deleted) return;
    const open = this.instance.operation;
    const verdict = decideRequest(request, {
      state: this.state,
      open: open && { kind: open.kind, how: open.how },
      terminationProtection: false,
    });
    if (verdict.is !== "accept") return;
    if (open !== null) this.#end("FAILED");
    this.instance = { ...this.instance, ...ordered(this.instance, request) };
    this.#open(`instance.${request.action}`, "how" in request ? request.how : null);
    this.#order();
  }

  change(action: "resize" | "renumber", mayStop: boolean): void {
    if (this.deleted) return;
    const { operation, power, otherAddress } = this.instance;
    const open = operation && { kind: operation.kind, how: operation.how };
    const situation = { state: this.state, open, terminationProtection: false };
    if (decideChange(action, situation, { changes: true, mayStop }).is !== "accept") return;
    if (action === "renumber") {
      if (otherAddress !== null) return;
      this.other = ++this.#addresses;
      this.instance = { ...this.instance, otherAddress: "next" };
    }
    const runs = power.is === "running";
    this.instance = { ...this.instance, ...orderedAtRest(runs) };
    this.#open(`instance.${action}`, runs ? "soft_first" : null);
    this.#order();
  }

  reconcile(): void {
    if (this.deleted) return;
    const link = this.instance.hostId === null || this.host?.linked === true ? "connected" : "unreachable";
    const decision = reconcile(this.instance, link, this.now);
    this.#apply(decision);
    if (decision.place) this.#place();
  }

  #apply(decision: ReturnType<typeof reconcile>): void {
    if (decision.release !== null && this.host?.machine.runs === true) {
      throw new Error("it was let go of while its guest runs");
    }
    if (decision.address !== null) this.#readdress(decision.address);
    const operation = this.instance.operation;
    const released = decision.release === "capacity";
    this.instance = afterDecision(this.instance, decision);
    if (operation !== null) {
      const lastStep = decision.steps.at(-1) ?? operation.lastStep;
      const state = decision.taken ? "RUNNING" : operation.state;
      this.instance.operation = { ...operation, state, lastStep, deadline: decision.deadline ?? operation.deadline };
    }
    if (decision.end?.as === "FAILED") this.failures.push(`${operation?.kind} ${decision.end.code}`);
    if (decision.end !== null) this.#end(decision.end.as);
    if (decision.recover?.failed === null) this.#open("instance.recover", null);
    if (isOrder(decision) && !released) this.#order();
    if (decision.release === "everything") this.deleted = true;
  }

  #readdress(how: "enter" | "letGo"): void {
    if (this.other === null) throw new Error("it has no other address");
    if (how === "enter") {
      if ([...this.hosts.values()].some(({ machine }) => machine.runs)) throw new Error("its address changed under it");
      [this.address, this.other] = [this.other, this.address];
      this.renumbered++;
      return;
    }
    if (this.host !== undefined && this.host.address === this.other) {
      throw new Error("an address was free that its host still knows as the instance's");
    }
    this.other = null;
  }

  #place(): void {
    const target = hostNames.find((name) => this.roomy.has(name) && !this.instance.triedHosts.includes(name));
    if (target === undefined) return this.#apply(relocationFailed(this.instance));
    const { epoch, incarnation } = this.instance;
    this.instance = {
      ...this.instance,
      hostId: target,
      epoch: epoch + 1,
      incarnation: incarnation + 1,
      resets: 0,
      power: { is: "running" },
      seen: null,
      runningSince: null,
      notBefore: null,
    };
    return this.#order();
  }

  link(host: Host, linked: boolean): void {
    host.linked = linked;
    host.down = [];
    host.up = [];
    if (linked) {
      host.report();
      if (host === this.host) this.#send();
    }
  }

  deliverDown(host: Host): void {
    const next = host.linked ? host.down.shift() : undefined;
    if (next !== undefined) host.take(next);
  }

  deliverUp(host: Host): void {
    const next = host.linked ? host.up.shift() : undefined;
    if (next === undefined || host !== this.host || next.epoch !== this.instance.epoch) return;
    this.instance = { ...this.instance, seen: next };
  }

  check(): void {
    let running = 0;
    const starts = new Map<number, number>();
    for (const { machine, guestAddress } of this.hosts.values()) {
      if (machine.runs) running++;
      if (machine.runs && guestAddress !== this.address) throw new Error("it runs at an address that is not its own");
      for (const [incarnation, count] of machine.starts)
        starts.set(incarnation, (starts.get(incarnation) ?? 0) + count);
    }
    if (running > 1) throw new Error("it runs in two places");
    for (const [incarnation, count] of starts) if (count > 1) throw new Error(`start ${incarnation} was made twice`);
  }

  #order(): void {
    this.instance = { ...this.instance, generation: ++this.#generation };
    this.#send();
  }

  #send(): void {
    const { epoch, generation, power, incarnation, resets } = this.instance;
    const { address } = this;
    if (this.host?.linked === true) this.host.down.push({ epoch, generation, power, incarnation, resets, address });
  }

  #open(kind: OperationKind, how: StopMode | null): void {
    const id = `op-${++this.#operations}` as OperationId;
    const deadline = this.now + operationLimit(kind, how);
    this.instance = { ...this.instance, operation: { id, kind, state: "PENDING", how, deadline, lastStep: null } };
  }

  #end(as: OperationState): void {
    const operation = this.instance.operation;
    if (operation !== null) this.ends.push({ kind: operation.kind, as });
    this.instance = { ...this.instance, operation: null };
  }

  rest(): string {
    const anyRuns = [...this.hosts.values()].some(({ machine }) => machine.runs);
    return restOf(this, this.host?.machine.runs ?? false, anyRuns);
  }

  /** Things go their usual way for a while, as far as the host's faults let them. */
  flow(steps: number): void {
    const host = this.host;
    for (let i = 0; i < steps && !this.deleted; i++) {
      if (host !== undefined) {
        this.deliverDown(host);
        host.step(this.now);
        host.report();
        this.deliverUp(host);
      }
      this.reconcile();
      this.now += 20;
    }
  }

  /** Everything is in reach, works and gets its time. */
  settle(): void {
    const before = this.ends.length;
    for (const host of this.hosts.values()) {
      Object.assign(host.machine.faults, noFaults);
      this.link(host, true);
    }
    this.roomy = new Set(hostNames);
    // At rest is what stays so for a while; what never comes to rest is looked at as it is after many rounds.
    for (let round = 0, calm = 0; round < 400 && calm < 8; round++) {
      for (const host of this.hosts.values()) {
        while (host.down.length > 0) this.deliverDown(host);
        for (let i = 0; i < 12 && host.step(this.now); i++);
        host.report();
        while (host.up.length > 0) this.deliverUp(host);
      }
      this.check();
      for (let i = 0; i < 4; i++) this.reconcile();
      this.now += 5_000;
      if (this.ends.length > before + 20) throw new Error("it does not come to rest");
      calm = this.instance.operation === null || this.deleted ? calm + 1 : 0;
    }
  }
}

/** What is shown at rest, against what is the case. */
function restOf({ deleted, instance, state }: World, runs: boolean, anyRuns: boolean): string {
  if (deleted) return anyRuns ? "ended, and a guest of it runs" : "as shown";
  if (instance.operation !== null) return `${instance.operation.kind} has not ended`;
  if (instance.otherAddress !== null) return `it still holds its ${instance.otherAddress} address`;
  if (runs !== (state === "RUNNING")) return `${state}, and its guest ${runs ? "runs" : "does not run"}`;
  if (anyRuns !== runs) return "a guest of it runs where it is not";
  return ["RUNNING", "STOPPED", "LAUNCH_FAILED"].includes(state) ? "as shown" : state;
}

const how = fc.constantFrom<StopMode>("soft", "soft_first", "hard");
const hostIndex = fc.nat(hostNames.length - 1);
const requests = fc.oneof(
  fc.constant<PowerRequest>({ action: "start" }),
  fc.record({ action: fc.constant("stop" as const), how }),
  fc.record({ action: fc.constant("reboot" as const), how }),
  fc.constant<PowerRequest>({ action: "reinstall" }),
);
/** Messages, steps, and a guest that ends. */
const moves = [
  { weight: 20, arbitrary: fc.record({ do: fc.constant("flow" as const), times: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("down" as const), at: hostIndex }) },
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant("step" as const), at: hostIndex, times: fc.integer({ min: 1, max: 8 }) }),
  },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("report" as const), at: hostIndex }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("up" as const), at: hostIndex }) },
  { weight: 12, arbitrary: fc.record({ do: fc.constant("reconcile" as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("guestEnds" as const),
      at: hostIndex,
      why: fc.constantFrom("shutdown" as const, "crashed" as const),
    }),
  },
] as const;
const actions = fc.oneof(
  { weight: 2, arbitrary: fc.record({ do: fc.constant("request" as const), request: requests }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constantFrom("resize" as const, "renumber" as const), mayStop: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("terminate" as const) }) },
  ...moves,
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(100, 3_000, 70_000, 700_000) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("link" as const), at: hostIndex, up: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("fault" as const),
      at: hostIndex,
      fault: fc.record({
        startFails: fc.constantFrom(
          null,
          { reason: "start_failed" as const, message: "no" },
          { reason: "image_missing" as const, message: "no" },
        ),
        ignoresPowerButton: fc.boolean(),
        frozen: fc.boolean(),
      }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("room" as const), at: hostIndex, has: fc.boolean() }) },
);
type Action = typeof actions extends fc.Arbitrary<infer T> ? T : never;

function act(world: World, action: Action): void {
  const name = "at" in action ? hostNames[action.at] : undefined;
  // Most of what happens concerns the host that the instance is on; the others matter after a move.
  const host =
    name === undefined ? undefined : (action as { at: number }).at === 0 ? world.host : world.hosts.get(name);
  switch (action.do) {
    case "request":
      return world.request(action.request);
    case "resize":
    case "renumber":
      return world.change(action.do, action.mayStop);
    case "terminate":
      return world.request({ action: "terminate" });
    case "reconcile":
      return world.reconcile();
    case "flow":
      return world.flow(action.times);
    case "wait":
      world.now += action.ms;
      return undefined;
    case "room":
      if (name !== undefined) world.roomy[action.has ? "add" : "delete"](name);
      return undefined;
    default:
      break;
  }
  if (host === undefined) return undefined;
  switch (action.do) {
    case "down":
      return world.deliverDown(host);
    case "up":
      return world.deliverUp(host);
    case "step":
      for (let i = 0; i < action.times; i++) host.step(world.now);
      return undefined;
    case "report":
      return host.report();
    case "link":
      return world.link(host, action.up);
    case "guestEnds":
      return host.machine.endGuest(action.why);
    case "fault":
      Object.assign(host.machine.faults, action.fault);
      return undefined;
    default:
      return undefined;
  }
}

describe("VStation's rules against a host's rules", () => {
  it("never run an instance twice, and always come to rest", () => {
    const worlds: World[] = [];
    fc.assert(
      fc.property(
        fc.constantFrom<RestartPolicy>("always", "never"),
        fc.array(actions, { minLength: 1, maxLength: 100, size: "max" }),
        (policy, sequence) => {
          const world = new World(policy);
          worlds.push(world);
          for (const action of sequence) {
            act(world, action);
            world.check();
          }
          world.settle();
          expect(world.rest()).toBe("as shown");
        },
      ),
      { numRuns: 1_500 },
    );
    // The walks must reach what they are to judge, or they judge nothing.
    const seen = new Set(worlds.flatMap(({ ends }) => ends.map(({ kind, as }) => `${kind} ${as}`)));
    // Its model is migration.test.ts.
    const kinds = operationKinds.filter((kind) => kind !== "instance.migrate");
    for (const kind of kinds) expect(seen).toContain(`${kind} SUCCEEDED`);
    for (const kind of kinds.filter((each) => each !== "instance.terminate")) {
      expect(seen).toContain(`${kind} FAILED`);
    }
    expect(worlds.some(({ instance }) => instance.epoch > 1 && instance.launched)).toBe(true);
    expect(worlds.some(({ renumbered }) => renumbered > 1)).toBe(true);
  });

  it("bring a reboot to its end, whatever its guest does meanwhile", () => {
    const policies = fc.constantFrom<RestartPolicy>("always", "never");
    fc.assert(
      fc.property(policies, how, fc.array(fc.oneof(...moves), { maxLength: 30 }), (policy, way, sequence) => {
        const world = new World(policy);
        world.flow(20);
        world.request({ action: "reboot", how: way });
        for (const action of sequence) act(world, action);
        world.settle();
        expect(world.failures).toEqual([]);
        expect(world.ends).toContainEqual({ kind: "instance.reboot", as: "SUCCEEDED" });
      }),
      { numRuns: 1_000 },
    );
  });
});
