/**
 * Puts the client together: which verb runs on which connection.
 *
 * - The main connection carries all short calls and all events. It is opened at once and kept (link.ts).
 * - Each half of a migration has a connection of its own (`openMigration`): a phase may run for minutes and would take a slot of the
 *   main connection's window for all that time; and libvirtd throws an unfinished half away with the connection that began it. So
 *   it is never opened anew: a half whose connection is lost is over.
 * - Each stream has a connection of its own, so that a slow reader of a console stops only that console.
 *
 * When the main connection is lost the streams are given up as well: a paused one would not notice by itself.
 */
import { Failure } from "../lib/errors.ts";
import { Connection, type ConnectionOptions } from "./client.ts";
import type { CallOptions, Libvirt, LinkState, Listener, OpenOptions, ResyncReason, Subscription } from "./contract.ts";
import { newCounters } from "./counters.ts";
import { Delivery } from "./delivery.ts";
import { notConnected } from "./errors.ts";
import { Link } from "./link.ts";
import type { MigrationHalf } from "./migration-contract.ts";
import { connection as protocol } from "./protocol/connection.ts";
import type { Procedure } from "./protocol/notation.ts";
import type { Stream } from "./stream.ts";
import { Subscriptions } from "./subscriptions.ts";
import type { Call } from "./verbs/call.ts";
import { deviceVerbs } from "./verbs/device.ts";
import { guestVerbs } from "./verbs/guest.ts";
import { hostVerbs } from "./verbs/host.ts";
import { lifecycleVerbs } from "./verbs/lifecycle.ts";
import { migrationPhases, migrationVerbs } from "./verbs/migration.ts";

/** libvirtd serves 5 calls of a client at once unless told otherwise; one is left so that it goes on reading our pings. */
const defaultWindow = 4;
const defaultKeepalive = { intervalMs: 5_000, count: 3 };

/** Starts connecting and returns at once. See {@link Libvirt}. */
export function openLibvirt(options: OpenOptions): Libvirt {
  const { log } = options;
  const counters = newCounters();
  const linkListeners = new Set<Delivery<LinkState>>();
  const resyncListeners = new Set<Delivery<ResyncReason>>();
  const streams = new Set<Connection>();
  const halves = new Set<Connection>();
  let closing: Promise<void> | undefined;

  const resync = (reason: ResyncReason): void => {
    for (const delivery of resyncListeners) delivery.push(reason);
  };
  const context = { log, counters, overflow: () => resync("overflow") };
  const subscriptions = new Subscriptions(context);

  const streamOptions: ConnectionOptions = {
    socketPath: options.socketPath,
    uri: options.uri ?? "qemu:///system",
    log,
    counters,
    window: options.window ?? defaultWindow,
  };
  const base: ConnectionOptions = { ...streamOptions, keepalive: options.keepalive ?? defaultKeepalive };

  const main = new Link({
    name: "main",
    log,
    connection: {
      ...base,
      onMessage: (program, procedure, payload) => subscriptions.dispatch(program, procedure, payload),
    },
    prepare: (connection) => subscriptions.attach(connection),
    changed(state, first) {
      if (state === "connected") {
        subscriptions.usable();
      } else {
        subscriptions.detach();
        const cause = new Failure("unavailable", "LibvirtConnectionLost", "the connection to libvirt was lost");
        for (const stream of streams) stream.fail(cause);
      }
      for (const delivery of linkListeners) delivery.push(state);
      if (state === "connected") resync(first ? "connected" : "reconnected");
    },
  });

  // A call goes out within the turn that made it: nothing is awaited before `use`.
  const on =
    (link: Link): Call =>
    async (procedure, args, callOptions, deadlineMs) => {
      const withDefault = deadlineMs === undefined ? callOptions : { deadlineMs, ...callOptions };
      return await link.use(procedure.name).call(procedure, args, withDefault);
    };
  const call = on(main);

  async function openMigration(): Promise<MigrationHalf> {
    main.use("openMigration");
    const connection = await Connection.open(base);
    halves.add(connection);
    void connection.lost.then(() => halves.delete(connection));
    return {
      ...migrationPhases((procedure, args, callOptions, deadlineMs) =>
        connection.call(procedure, args, deadlineMs === undefined ? callOptions : { deadlineMs, ...callOptions }),
      ),
      // Whatever is trivial: it reads one after the other.
      heard: async () => void (await connection.call(protocol.connectGetLibVersion, {}, undefined)),
      close: () => connection.close(),
    };
  }

  async function openStream<A, R>(
    procedure: Procedure<A, R>,
    args: A,
    callOptions: CallOptions | undefined,
  ): Promise<{ readonly result: R; readonly stream: Stream }> {
    main.use(procedure.name);
    const connection = await Connection.open(streamOptions);
    streams.add(connection);
    try {
      if (main.state !== "connected") throw notConnected(procedure.name);
      const opened = await connection.openStream(procedure, args, callOptions);
      void opened.stream.over.then(() => connection.close());
      return opened;
    } catch (error) {
      connection.close();
      throw error;
    } finally {
      void connection.lost.then(() => streams.delete(connection));
    }
  }

  function listen<E>(set: Set<Delivery<E>>, name: string, listener: Listener<E>): Subscription {
    const delivery = new Delivery(name, listener, context);
    set.add(delivery);
    return {
      active: Promise.resolve(),
      close: () => {
        delivery.close();
        set.delete(delivery);
        return Promise.resolve();
      },
    };
  }

  async function shut(): Promise<void> {
    subscriptions.close();
    for (const connection of [...streams, ...halves]) connection.close();
    await main.close();
  }

  return {
    ...hostVerbs(call),
    ...lifecycleVerbs(call),
    ...deviceVerbs(call),
    ...guestVerbs(call, openStream),
    ...migrationVerbs(call),
    openMigration,
    counters,
    get outstanding() {
      const links = [main.outstanding, ...[...halves].map((half) => half.outstanding)];
      return {
        waiting: links.reduce((sum, one) => sum + one.waiting, 0),
        abandoned: links.reduce((sum, one) => sum + one.abandoned, 0),
        streams: streams.size,
        topics: subscriptions.size,
      };
    },
    call: (procedure, args, callOptions) => call(procedure, args, callOptions),
    get link() {
      return main.state;
    },
    onLink: (listener) => listen(linkListeners, "link", listener),
    onResync: (listener) => listen(resyncListeners, "resync", listener),
    on: (kind, listener) => subscriptions.on(kind, listener),
    onLifecycle: (listener) => subscriptions.on("lifecycle", listener),
    onMonitor: (want, listener) => subscriptions.onMonitor(want, listener),
    ready: (callOptions) => main.ready(callOptions),
    close: () => (closing ??= shut()),
  };
}
