/**
 * `bench machine`: processor, memory, disk and network of a guest against the same program on its own host, with each setting of the
 * guest's machine on and off. In each round host and guests are asked in turn, so that all of them meet the same weather; a guest's
 * figure is compared with its host's of the same round.
 */
import type { Bench, BenchOptions, Report, Row } from "../bench.ts";
import { median, summarize, type Summary } from "../statistics.ts";
import { layOut, memoryMiB, variants, vcpus, type Field, type Variant } from "./field.ts";
import type { Agent, Figures } from "./yardstick.ts";

interface Test {
  readonly name: "processor" | "memory" | "disk" | "network";
  /** The guests whose setting could matter here; `plain` is the one without. */
  readonly guests: readonly Variant[];
  readonly figures: Readonly<Record<string, { what: string; unit: string; better: "more" | "less" }>>;
  ask(agent: Agent, field: Field, ms: number): Promise<Figures>;
}

const tests: readonly Test[] = [
  {
    name: "processor",
    guests: ["plain", "pinned", "everything"],
    figures: { ops: { what: `processor, ${vcpus} threads`, unit: "M rounds/s", better: "more" } },
    ask: (agent, _field, ms) => agent.ask(`cpu ${ms} ${vcpus}`),
  },
  {
    name: "memory",
    guests: ["plain", "pinned", "hugepages", "everything"],
    figures: {
      bandwidth: { what: "memory, copying", unit: "MiB/s", better: "more" },
      latency: { what: "memory, unforeseeable read", unit: "ns", better: "less" },
    },
    ask: (agent, _field, ms) => agent.ask(`memory ${ms}`),
  },
  {
    name: "disk",
    guests: ["plain", "threads", "iothread", "everything"],
    figures: {
      sequential: { what: "disk, written in a row", unit: "MiB/s", better: "more" },
      random: { what: "disk, synchronous 4 KiB writes", unit: "1/s", better: "more" },
    },
    ask: (agent, field, ms) => agent.ask(`disk ${ms} ${agent === field.host ? field.hostFile : "/disk/yardstick"}`),
  },
  {
    name: "network",
    guests: ["plain", "queues", "pinned", "everything"],
    figures: {
      throughput: { what: "network, sent", unit: "MiB/s", better: "more" },
      p50: { what: "network, round trip p50", unit: "us", better: "less" },
      p99: { what: "network, round trip p99", unit: "us", better: "less" },
    },
    ask: (agent, field, ms) => agent.ask(`net ${ms} ${field.peer}`),
  },
];

/** By test and figure: what host and guests said, round by round. */
type Samples = Map<string, Map<Variant | "host", number[]>>;

export const machine: Bench = {
  name: "machine",
  about: "a guest's processor, memory, disk and network beside its own host's, each setting on and off",
  run: async (options) => {
    if (options.home !== undefined) throw new Error("this bench lays out a host of its own; --home is not for it");
    const field = await layOut((line) => options.say(line));
    try {
      return report(options, field, await measure(field, options));
    } finally {
      await field.end();
    }
  },
};

const roundsOf = ({ rounds, quick }: BenchOptions): number => rounds ?? (quick ? 2 : 10);
const msOf = ({ quick }: BenchOptions): number => (quick ? 150 : 400);

async function measure(field: Field, options: BenchOptions): Promise<Samples> {
  const samples: Samples = new Map();
  const rounds = roundsOf(options);
  // The first round warms caches and fills files, and is not counted.
  for (let round = -1; round < rounds; round++) {
    for (const test of tests) {
      const all: (Variant | "host")[] = ["host", ...test.guests];
      // Nobody is always the first, or always behind the same one.
      const turn = all.map((_, i) => all[(i + round + 1) % all.length] ?? "host");
      for (const name of round % 2 === 0 ? turn : turn.toReversed()) {
        options.signal.throwIfAborted();
        const agent = name === "host" ? field.host : field.guests.get(name);
        if (agent === undefined) throw new Error(`there is no guest ${name}`);
        const said = await test.ask(agent, field, round < 0 ? 50 : msOf(options));
        if (round >= 0) keep(samples, test, name, said);
      }
    }
    options.say(round < 0 ? "warm" : `round ${round + 1} of ${rounds}`);
  }
  return samples;
}

function keep(samples: Samples, test: Test, name: Variant | "host", said: Figures): void {
  for (const figure of Object.keys(test.figures)) {
    const value = said[figure];
    if (value === undefined) throw new Error(`${name} did not say its ${figure}`);
    const key = `${test.name}.${figure}`;
    const byName = samples.get(key) ?? new Map<Variant | "host", number[]>();
    samples.set(key, byName);
    byName.set(name, [...(byName.get(name) ?? []), value]);
  }
}

function report(options: BenchOptions, field: Field, samples: Samples): Report {
  const rows: Row[] = [];
  const results: Record<string, unknown> = {};
  const baseline: Record<string, unknown> = {};
  const noise: Record<string, unknown> = {};
  const overall: number[] = [];
  for (const test of tests) {
    for (const [figure, { what, unit, better }] of Object.entries(test.figures)) {
      const key = `${test.name}.${figure}`;
      const byName = samples.get(key) ?? new Map<Variant | "host", number[]>();
      const own = byName.get("host") ?? [];
      const host = summarize(own);
      rows.push({ what: `${what}: host`, unit, summary: host });
      baseline[key] = shown(host);
      noise[key] = host.spread / host.p50;
      for (const name of test.guests) {
        const values = byName.get(name) ?? [];
        const summary = summarize(values);
        // Always "how much of the host's": for a time, the host's over the guest's.
        const share = median(
          values.map((value, i) => (better === "more" ? value / (own[i] ?? NaN) : (own[i] ?? NaN) / value)),
        );
        rows.push({ what: `  ${name}`, unit, summary, aim: `${(100 * share).toFixed(0)} % of host` });
        results[`${key}.${name}`] = { ...shown(summary), ofHost: share };
        if (name === "everything") overall.push(share);
      }
    }
  }
  return {
    params: {
      quick: options.quick,
      rounds: roundsOf(options),
      ms: msOf(options),
      vcpus,
      memoryMiB,
      accelerator: field.accelerator,
      variants,
    },
    results,
    baseline,
    ratio: median(overall),
    noise,
    rows,
    remarks: [
      `accelerator: ${field.accelerator}${field.accelerator === "tcg" ? "; the guest's instructions are translated, so processor and memory say little about a real host" : ""}`,
      `host: ${field.machine}`,
      "plain shares the host's processors, with ordinary memory, io_uring without an I/O thread and one network queue; each other guest differs by what its name says",
      "hugepages is pinned too; threads has its disk by a pool of threads; everything is all of them at once",
      "the last column is the share of the host's own figure in the same round (for times, the host's over the guest's); the ratio is the median of `everything` over all figures",
      ...(options.quick ? ["--quick: two short rounds; run it without for figures to quote"] : []),
    ],
  };
}

function shown({ p50, min, max, spread }: Summary): object {
  return { p50, min, max, spread };
}
