/**
 * Which events are wanted, kept apart from the connection that brings them.
 *
 * A topic is one registration at the daemon (a kind of domain event, or a monitor event by name and domain) with any number of
 * listeners here. For each topic one loop brings what is registered on the present connection towards what is wanted; it is
 * started by a new listener, a closed one, and a new connection, and looks again after every step. So whatever interleaves
 * with reconnecting, the end is the same: every topic with listeners is registered exactly once on the connection that lives.
 *
 * Races that this file answers:
 * - The daemon may send an event of a new registration before its reply has told us the callback's id. Events of unknown
 *   callbacks are kept while a registration is on its way, and looked at again when its reply is in.
 * - An event of a registration that we are just ending is dropped and counted.
 * - A registration whose outcome is unknown (deadline) costs the connection: on the next one nothing is in doubt.
 */
import { Failure, formatError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Connection } from "./client.ts";
import type { DomainRef, Listener, Subscription } from "./contract.ts";
import type { Counters } from "./counters.ts";
import { Delivery } from "./delivery.ts";
import type { DomainEventKind, DomainEventOf, MonitorEvent } from "./events.ts";
import { isLibvirtError } from "./errors.ts";
import { eventProcedures, eventShapes } from "./protocol/event.ts";
import type { ProgramName } from "./protocol/notation.ts";
import { qemu, qemuMessages } from "./protocol/qemu.ts";
import type { XdrReader } from "./xdr.ts";

interface Topic {
  readonly name: string;
  readonly program: keyof typeof deregistrations;
  readonly register: (connection: Connection) => Promise<number>;
  readonly deliveries: Set<Delivery<unknown>>;
  /** Called once each when the registration stands. */
  waiting: (() => void)[];
  /** Where it is registered, and under which id. */
  on: { connection: Connection; callbackId: number } | undefined;
  /** The daemon said no on this connection; we ask again on the next. */
  refusedBy: Connection | undefined;
  loop: Promise<void> | undefined;
}

interface Incoming {
  readonly program: ProgramName;
  readonly callbackId: number;
  readonly event: unknown;
}

const deregistrations = {
  remote: eventProcedures.connectDomainEventCallbackDeregisterAny,
  qemu: qemu.qemuConnectDomainMonitorEventDeregister,
} as const;

const earlyLimit = 1_000;
const shapesByProcedure = new Map(eventShapes.map((shape) => [shape.procedure, shape]));

export interface SubscriptionsOptions {
  readonly log: Log;
  readonly counters: Counters;
  overflow(): void;
}

export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #topics = new Map<string, Topic>();
  #connection: Connection | undefined;
  #usable = false;
  #registering = 0;
  #early: Incoming[] = [];

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
  }

  /** Topics that are registered at the daemon or wanted. */
  get size(): number {
    return this.#topics.size;
  }

  on<K extends DomainEventKind>(kind: K, listener: Listener<DomainEventOf<K>>): Subscription {
    const shape = eventShapes.find((candidate) => candidate.kind === kind);
    if (!shape) throw new Failure("internal", "LibvirtEvent", `no event of kind ${kind}`);
    return this.#subscribe("remote", `domain ${kind}`, listener, async (connection) => {
      const args = { eventId: shape.eventId, domain: undefined };
      return (await connection.call(eventProcedures.connectDomainEventCallbackRegisterAny, args)).callbackId;
    });
  }

  onMonitor(want: { event?: string; domain?: DomainRef }, listener: Listener<MonitorEvent>): Subscription {
    const name = `monitor ${want.event ?? "*"} ${want.domain?.uuid ?? "*"}`;
    return this.#subscribe("qemu", name, listener, async (connection) => {
      const args = { domain: want.domain, event: want.event, flags: 0 };
      return (await connection.call(qemu.qemuConnectDomainMonitorEventRegister, args)).callbackId;
    });
  }

  /** Registers everything on a fresh connection; resolves when all of it stands or was refused, or the connection is lost. */
  async attach(connection: Connection): Promise<void> {
    this.#connection = connection;
    this.#usable = false;
    this.#early = [];
    await Promise.all([...this.#topics.values()].map((topic) => this.#sync(topic)));
  }

  /** The attached connection may be used by everybody now. Only here does `active` resolve, so that who waited can act at once. */
  usable(): void {
    this.#usable = true;
    for (const topic of this.#topics.values()) if (topic.on?.connection === this.#connection) this.#settle(topic);
  }

  /** The connection is gone, and with it every registration. */
  detach(): void {
    this.#connection = undefined;
    this.#usable = false;
    this.#early = [];
  }

  /** Ends everything; who waits for `active` is let go. */
  close(): void {
    this.detach();
    for (const topic of this.#topics.values()) {
      for (const delivery of topic.deliveries) delivery.close();
      this.#settle(topic);
    }
    this.#topics.clear();
  }

  /** Takes an event message from the connection; never blocks. */
  dispatch(program: ProgramName, procedure: number, payload: XdrReader): void {
    let incoming: Incoming | undefined;
    try {
      incoming = decode(program, procedure, payload);
    } catch (error) {
      this.#options.counters.malformed++;
      this.#options.log.error({ program, procedure, error: formatError(error) }, "unreadable libvirt event");
      return;
    }
    if (!incoming) {
      this.#options.counters.strayEvents++;
      return;
    }
    if (!this.#deliver(incoming)) this.#unknown(incoming);
  }

  #unknown(incoming: Incoming): void {
    if (this.#registering > 0 && this.#early.length < earlyLimit) this.#early.push(incoming);
    else this.#options.counters.strayEvents++;
  }

  #deliver(incoming: Incoming): boolean {
    for (const topic of this.#topics.values()) {
      if (topic.on?.connection !== this.#connection || topic.on?.callbackId !== incoming.callbackId) continue;
      if (topic.program !== incoming.program) continue;
      this.#options.counters.events++;
      for (const delivery of topic.deliveries) delivery.push(incoming.event);
      return true;
    }
    return false;
  }

  #subscribe<E>(
    program: Topic["program"],
    name: string,
    listener: Listener<E>,
    register: Topic["register"],
  ): Subscription {
    const topic = this.#topics.get(name) ?? this.#addTopic(program, name, register);
    const delivery = new Delivery<unknown>(name, listener as Listener<unknown>, this.#options);
    topic.deliveries.add(delivery);
    const { promise, resolve } = Promise.withResolvers<void>();
    topic.waiting.push(resolve);
    void this.#sync(topic);
    return {
      active: promise,
      close: async () => {
        delivery.close();
        topic.deliveries.delete(delivery);
        resolve();
        await this.#sync(topic);
      },
    };
  }

  #addTopic(program: Topic["program"], name: string, register: Topic["register"]): Topic {
    const topic: Topic = {
      program,
      name,
      register,
      deliveries: new Set(),
      waiting: [],
      on: undefined,
      refusedBy: undefined,
      loop: undefined,
    };
    this.#topics.set(name, topic);
    return topic;
  }

  /** Brings one topic to where it should be; joins the loop that already does. Never rejects. */
  async #sync(topic: Topic): Promise<void> {
    while (topic.loop) await topic.loop;
    topic.loop = this.#steps(topic);
    try {
      await topic.loop;
    } finally {
      topic.loop = undefined;
    }
  }

  async #steps(topic: Topic): Promise<void> {
    for (;;) {
      const connection = this.#connection;
      const wanted = topic.deliveries.size > 0;
      const registered = connection !== undefined && topic.on?.connection === connection;
      if (wanted && registered) {
        if (this.#usable) this.#settle(topic);
        return;
      }
      if (!wanted && !registered) {
        if (this.#topics.get(topic.name) === topic) this.#topics.delete(topic.name);
        return;
      }
      if (!connection || !connection.open || topic.refusedBy === connection) return;
      try {
        if (wanted) await this.#register(topic, connection);
        else await this.#deregister(topic, connection);
      } catch (error) {
        // With the connection gone there is nothing to report: the next one starts from the beginning.
        if (!connection.open) return;
        this.#options.log.error({ topic: topic.name, error: formatError(error) }, "libvirt event registration failed");
        if (isLibvirtError(error)) {
          topic.refusedBy = connection;
        } else {
          const cause = new Failure("unavailable", "LibvirtRegistration", `${topic.name} is in doubt`, {
            cause: error,
          });
          connection.fail(cause);
        }
        return;
      }
    }
  }

  async #register(topic: Topic, connection: Connection): Promise<void> {
    this.#registering++;
    try {
      topic.on = { connection, callbackId: await topic.register(connection) };
    } finally {
      this.#registering--;
    }
    const early = this.#early;
    this.#early = [];
    for (const incoming of early) if (!this.#deliver(incoming)) this.#unknown(incoming);
  }

  async #deregister(topic: Topic, connection: Connection): Promise<void> {
    const on = topic.on;
    topic.on = undefined;
    if (on) await connection.call(deregistrations[topic.program], { callbackId: on.callbackId });
  }

  #settle(topic: Topic): void {
    const waiting = topic.waiting;
    topic.waiting = [];
    for (const resolve of waiting) resolve();
  }
}

function decode(program: ProgramName, procedure: number, payload: XdrReader): Incoming | undefined {
  if (program === "remote") {
    const shape = shapesByProcedure.get(procedure);
    return shape && { program, ...shape.codec.read(payload) };
  }
  const { qemuDomainMonitorEvent } = qemuMessages;
  if (program !== "qemu" || procedure !== qemuDomainMonitorEvent.number) return undefined;
  const { callbackId, domain, event, seconds, micros, details } = qemuDomainMonitorEvent.args.read(payload);
  const data: unknown = details === undefined || details === "" ? undefined : JSON.parse(details);
  const monitorEvent: MonitorEvent = { domain, event, atMicros: Number(seconds) * 1e6 + micros, data };
  return { program, callbackId, event: monitorEvent };
}
