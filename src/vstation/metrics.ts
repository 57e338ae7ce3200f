/** VStation's own metrics: the delay of its event loop, which has a limit, and what the engine counts. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Log } from "../lib/log.ts";

export interface EngineMetrics {
  registry: Registry;
  cvmCall: (action: string, outcome: string, seconds: number) => void;
  seen: (outcome: "taken" | "refused" | "outdated" | "stranger", count: number) => void;
  /** One transaction of the reconciler: how long it took, and for how many instances. */
  reconciled: (instances: number, seconds: number) => void;
  auditLost: Counter<"kind">;
  /** Read at each scrape. */
  gauge: (name: string, help: string, read: () => number) => void;
  close: () => void;
}

/** Beyond this the loop is too late for what hangs on it (heartbeats, wanted messages); it is said in the log. */
export const eventLoopLimitMs = 200;
const watchMs = 10_000;
const nanosecondsPerMs = 1e6;

export function createMetrics(log: Log): EngineMetrics {
  const registry = new Registry();
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  const loop = new Gauge({
    name: "vstation_event_loop_delay_seconds",
    help: "Delay of the event loop over the last ten seconds",
    labelNames: ["quantile"],
    registers: [registry],
  });
  const over = new Counter({
    name: "vstation_event_loop_over_limit_total",
    help: `Ten-second windows in which the event loop was late by more than ${eventLoopLimitMs} ms`,
    registers: [registry],
  });
  const watch = setInterval(() => {
    loop.set({ quantile: "0.5" }, delay.percentile(50) / nanosecondsPerMs / 1000);
    loop.set({ quantile: "0.99" }, delay.percentile(99) / nanosecondsPerMs / 1000);
    loop.set({ quantile: "1" }, delay.max / nanosecondsPerMs / 1000);
    if (delay.max / nanosecondsPerMs > eventLoopLimitMs) {
      over.inc();
      log.warn({ maxMs: Math.round(delay.max / nanosecondsPerMs) }, "the event loop was late");
    }
    delay.reset();
  }, watchMs);
  const calls = new Histogram({
    name: "vstation_cvm_request_seconds",
    help: "Time to answer a request of the CVM API",
    labelNames: ["action", "outcome"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 50],
    registers: [registry],
  });
  const seen = new Counter({
    name: "vstation_seen_instances_total",
    help: "Instances in hosts' reports, by what became of them",
    labelNames: ["outcome"],
    registers: [registry],
  });
  const reconciled = new Histogram({
    name: "vstation_reconcile_seconds",
    help: "Time of one transaction of the reconciler, which decides about up to 128 instances",
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  });
  const decided = new Counter({
    name: "vstation_reconcile_instances_total",
    help: "Instances that the reconciler has decided about",
    registers: [registry],
  });
  const auditLost = new Counter({
    name: "vstation_audit_lost_total",
    help: "Lines of the log of calls that could not be written, none of them of a change's beginning",
    labelNames: ["kind"],
    registers: [registry],
  });
  return {
    registry,
    auditLost,
    cvmCall: (action, outcome, seconds) => calls.observe({ action, outcome }, seconds),
    seen: (outcome, count) => {
      if (count > 0) seen.inc({ outcome }, count);
    },
    reconciled: (instances, seconds) => {
      reconciled.observe(seconds);
      decided.inc(instances);
    },
    gauge: (name, help, read) => {
      registry.registerMetric(
        new Gauge({
          name,
          help,
          registers: [],
          collect() {
            this.set(read());
          },
        }),
      );
    },
    close: () => {
      clearInterval(watch);
      delay.disable();
    },
  };
}
