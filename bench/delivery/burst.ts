/**
 * Twenty instances in one call on three hosts, beside twenty bare QEMUs of the same guests started at once.
 *
 * Both sides end when the last guest has said on its serial console that it is ready (address included): a line that costs the
 * guest nothing, where twenty streams of packets would burden the machine that is being measured. The bare guests take the identities
 * of the instances of a first burst, which is not counted and stays stopped.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beatClock } from "../../guest/beat-listener.ts";
import type { InstanceWire } from "../../src/api/native/resources.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { sleep } from "../../src/lib/retry.ts";
import type { BenchOptions, Row } from "../bench.ts";
import type { LabSession } from "../lab-session.ts";
import { median, oursFirst, ratios, summarize, type Pair } from "../statistics.ts";
import { prepareBare, type BareGuest } from "./bare.ts";
import { hostOf, imageId, instanceType } from "./guest.ts";

const size = 20;
const rounds = 3;
const patienceMs = 300_000;
/** How often the consoles are read: the precision of "ready", small beside the many seconds that it takes. */
const lookMs = 50;

export interface Burst {
  readonly rows: readonly Row[];
  readonly params: object;
  readonly results: object;
  readonly baseline: object;
}

interface Ours {
  readonly runningMs: number;
  readonly readyMs: number;
}

export async function measureBurst(lab: LabSession, options: BenchOptions): Promise<Burst> {
  const { ids: templates } = await launch(lab, options);
  try {
    await lab.cloud.stop("HARD", ...templates);
    await lab.cloud.succeeded(templates, patienceMs);
    const identities = await Promise.all(templates.map((id) => lab.cloud.instance(id)));
    const ours: Ours[] = [];
    const bare: number[] = [];
    for (let i = 0; i < rounds; i++) {
      for (const side of oursFirst(i) ? (["ours", "bare"] as const) : (["bare", "ours"] as const)) {
        options.signal.throwIfAborted();
        if (side === "bare") {
          bare.push(await bareBurst(lab, identities));
          continue;
        }
        const { ids, ...times } = await launch(lab, options);
        ours.push(times);
        await remove(lab, ids);
      }
      options.say(
        `burst ${i + 1} of ${rounds}: ready after ${ours.at(-1)?.readyMs.toFixed(0)} ms, bare ${bare.at(-1)?.toFixed(0)} ms`,
      );
    }
    return report(ours, bare);
  } finally {
    await remove(lab, templates);
  }
}

function report(ours: readonly Ours[], bare: readonly number[]): Burst {
  const pairs: Pair[] = ours.map(({ readyMs }, i) => ({ ours: readyMs, theirs: bare[i] ?? Number.NaN }));
  const running = summarize(ours.map(({ runningMs }) => runningMs));
  const ready = summarize(pairs.map((pair) => pair.ours));
  const bareReady = summarize(pairs.map((pair) => pair.theirs));
  return {
    rows: [
      { what: `${size} in one call: all RUNNING`, unit: "ms", summary: running },
      { what: `${size} in one call: all ready`, unit: "ms", summary: ready },
      { what: `${size} bare QEMUs at once: all ready`, unit: "ms", summary: bareReady },
    ],
    params: { burst: size, burst_rounds: rounds },
    results: {
      burst_running_ms: { p50: running.p50, max: running.max },
      burst_ready_ms: { p50: ready.p50, max: ready.max },
      burst_ratio: median(ratios(pairs)),
    },
    baseline: { burst_ready_ms: { p50: bareReady.p50, max: bareReady.max } },
  };
}

async function launch(lab: LabSession, options: BenchOptions): Promise<Ours & { ids: InstanceId[] }> {
  const sent = beatClock();
  const ids = await lab.cloud.run({ name: "burst", count: size, imageId, instanceType });
  try {
    await lab.cloud.succeeded(ids, patienceMs);
    const running = beatClock();
    const instances = await Promise.all(ids.map((id) => lab.cloud.instance(id)));
    const consoles = await Promise.all(
      instances.map(async (instance) => {
        const { dir } = await hostOf(lab, instance);
        return join(dir, "state/instances", instance.id, `console-${instance.incarnation}.log`);
      }),
    );
    const ready = await allReady(consoles, options.signal);
    return { ids, runningMs: running - sent, readyMs: ready - sent };
  } catch (error) {
    await remove(lab, ids);
    throw error;
  }
}

async function bareBurst(lab: LabSession, identities: readonly InstanceWire[]): Promise<number> {
  const guests: BareGuest[] = [];
  try {
    for (const [i, identity] of identities.entries()) {
      guests.push(await prepareBare(await hostOf(lab, identity), identity, `b${i}`));
    }
    const began = beatClock();
    for (const guest of guests) guest.start();
    const consoles = guests.map((guest) => guest.console);
    const stop = new AbortController();
    try {
      const ready = allReady(consoles, stop.signal);
      return (await Promise.race([ready, ...guests.map((guest) => guest.died)])) - began;
    } finally {
      stop.abort(new Error("a bare guest has ended"));
    }
  } finally {
    await Promise.all(guests.map((guest) => guest.end()));
  }
}

/** Resolves with the time at which the last of these consoles showed that its guest is ready. */
async function allReady(consoles: readonly string[], signal: AbortSignal): Promise<number> {
  const end = beatClock() + patienceMs;
  let waiting = consoles;
  for (;;) {
    waiting = waiting.filter((file) => !existsSync(file) || !readFileSync(file, "latin1").includes("tiny: ready"));
    if (waiting.length === 0) return beatClock();
    if (beatClock() > end) throw new Error(`not ready within ${patienceMs} ms: ${waiting.join(", ")}`);
    await sleep(lookMs, signal);
  }
}

async function remove(lab: LabSession, ids: readonly InstanceId[]): Promise<void> {
  await lab.cloud.terminate(...ids);
  await lab.cloud.settled(ids, patienceMs);
}
