/**
 * The metrics of the process and of the native API, and gauges of the zone that are read from the use cases when asked.
 *
 * Gauges of the zone are filled at each scrape and by one reader at a time; a scrape that cannot read them leaves them out and
 * still tells the rest: a monitoring system must see a sick VStation, most of all then.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, type Registry } from "prom-client";
import { instanceStates, operationStates } from "../../core/instance.ts";
import { within } from "../../lib/retry.ts";
import type { Cloud, HostView } from "../cloud.ts";
import type { Changes } from "./changes.ts";

export interface NativeMetrics {
  /** A request to a route begins; the returned function ends it with its status. */
  begin(route: string): (status: number) => void;
  /** Passes a stream on and counts it while it is open. */
  counted(kind: StreamKind, stream: ReadableStream<Uint8Array>): ReadableStream<Uint8Array>;
}

export type StreamKind = "events" | "console";

const readDeadlineMs = 5000;
const hostsPerRead = 500;

export function createNativeMetrics(registry: Registry, cloud: Cloud, changes: Changes): NativeMetrics {
  const registers = [registry];
  if (registry.getSingleMetric("nodejs_eventloop_lag_seconds") === undefined)
    collectDefaultMetrics({ register: registry });

  const latency = new Histogram({
    name: "vstation_native_request_seconds",
    help: "Time to answer a request of the native API",
    labelNames: ["route", "status"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    registers,
  });
  const inFlight = new Gauge({
    name: "vstation_native_requests_in_flight",
    help: "Requests of the native API being answered",
    registers,
  });
  const opened = streamCounter(registry);
  registry.registerMetric(
    new Gauge({
      name: "vstation_native_long_polls",
      help: "Requests waiting for an operation to end",
      registers: [],
      collect() {
        this.set(changes.watching);
      },
    }),
  );
  zoneMetrics(registry, cloud);

  return {
    begin(route) {
      const start = performance.now();
      inFlight.inc();
      return (status) => {
        inFlight.dec();
        latency.observe({ route, status: String(status) }, (performance.now() - start) / 1000);
      };
    },
    counted(kind, stream) {
      const closed = opened(kind);
      const reader = stream.getReader();
      return new ReadableStream<Uint8Array>({
        async pull(controller) {
          try {
            const { done, value } = await reader.read();
            if (!done) return controller.enqueue(value);
            closed();
            controller.close();
          } catch (error) {
            closed();
            throw error;
          }
        },
        async cancel(reason) {
          closed();
          await reader.cancel(reason);
        },
      });
    },
  };
}

const streamsName = "vstation_native_streams";

/** Counts open streams; the returned function says that one is open, and its answer that it is closed. */
export function streamCounter(registry: Registry): (kind: StreamKind) => () => void {
  const known = registry.getSingleMetric(streamsName);
  const streams =
    known instanceof Gauge
      ? known
      : new Gauge({
          name: streamsName,
          help: "Open event streams and consoles",
          labelNames: ["kind"],
          registers: [registry],
        });
  return (kind) => {
    streams.inc({ kind });
    let open = true;
    return () => {
      if (open) streams.dec({ kind });
      open = false;
    };
  };
}

function zoneMetrics(registry: Registry, cloud: Cloud): void {
  const registers = [registry];
  const operator = { accountId: "any", requestId: "metrics" } as const;
  const none = { offset: 0, limit: 1 };
  const failures = new Counter({
    name: "vstation_metrics_read_failures_total",
    help: "Scrapes that could not read the zone",
    registers,
  });
  const orFailure = async (work: Promise<void>): Promise<void> => {
    try {
      await within(readDeadlineMs, "reading the zone for metrics", work);
    } catch {
      failures.inc();
    }
  };

  registry.registerMetric(
    new Gauge({
      name: "vstation_instances",
      help: "Instances by state",
      labelNames: ["state"],
      registers: [],
      async collect() {
        this.reset();
        const count = async (state: (typeof instanceStates)[number]): Promise<void> => {
          this.set({ state }, (await cloud.instances.list(operator, { states: [state] }, none)).total);
        };
        await orFailure(Promise.all(instanceStates.map(count)).then(() => undefined));
      },
    }),
  );
  registry.registerMetric(
    new Gauge({
      name: "vstation_operations_open",
      help: "The request queue: accepted and not yet ended, by state",
      labelNames: ["state"],
      registers: [],
      async collect() {
        this.reset();
        const open = operationStates.filter((state) => state === "PENDING" || state === "RUNNING");
        const count = async (state: (typeof operationStates)[number]): Promise<void> => {
          this.set({ state }, (await cloud.operations.list(operator, { states: [state] }, none)).total);
        };
        await orFailure(Promise.all(open.map(count)).then(() => undefined));
      },
    }),
  );
  hostMetrics(registry, cloud, orFailure);
}

type HostGauge = readonly [name: string, help: string, value: (host: HostView) => number];

const hostGauges: readonly HostGauge[] = [
  ["up", "1 while the host is connected", (host) => (host.state === "unreachable" ? 0 : 1)],
  ["ready", "1 while the host takes instances", (host) => (host.state === "ready" ? 1 : 0)],
  ["seen_age_seconds", "Time since the host was last heard", (host) => (Date.now() - host.seenAt.getTime()) / 1000],
  ["vcpus", "vCPUs on offer, overcommit included", (host) => host.inventory.cores * host.overcommit.cpu],
  ["vcpus_used", "vCPUs of the instances placed there", (host) => host.used.vcpus],
  ["memory_mib", "Memory on offer, overcommit included", (host) => host.inventory.memoryMiB * host.overcommit.memory],
  ["memory_used_mib", "Memory of the instances placed there", (host) => host.used.memoryMiB],
  ["disk_gib", "Disk on offer", (host) => host.inventory.diskGiB],
  ["disk_used_gib", "Disk of the instances placed there", (host) => host.used.diskGiB],
  ["instances", "Instances placed there", (host) => host.used.instances],
];

function hostMetrics(registry: Registry, cloud: Cloud, orFailure: (work: Promise<void>) => Promise<void>): void {
  let reading: Promise<void> | undefined;
  const all = hostGauges.map(([name, help, value]) => {
    const gauge = new Gauge({
      name: `vstation_host_${name}`,
      help,
      labelNames: ["host", "name"],
      registers: [registry],
      // The registry collects all at once: one read of the hosts fills every gauge.
      async collect() {
        reading ??= orFailure(read()).finally(() => (reading = undefined));
        await reading;
      },
    });
    return { gauge, value };
  });
  const read = async (): Promise<void> => {
    for (const { gauge } of all) gauge.reset();
    for (let offset = 0; ; offset += hostsPerRead) {
      const { total, items } = await cloud.hosts.list({ offset, limit: hostsPerRead });
      for (const host of items) {
        for (const { gauge, value } of all) gauge.set({ host: host.id, name: host.name }, value(host));
      }
      if (items.length === 0 || offset + items.length >= total) return;
    }
  };
}
