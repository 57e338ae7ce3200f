/**
 * `bench delivery`: what the cloud adds to a guest's own boot, and what twenty guests at once cost.
 *
 * One pair is: an instance from RunInstances (the official SDK) to its guest's first packet, and the same guest as a bare QEMU, with
 * libvirt's own command line, from its execve to its first packet. Nothing that comes before its execve is counted for the bare
 * one, so the difference is everything: API, placement, database, host, libvirt and its talk with QEMU.
 * `control` is the part before QEMU's execve.
 */
import { beatClock, BeatListener } from "../../guest/beat-listener.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import type { InstanceWire } from "../../src/api/native/resources.ts";
import type { Bench, BenchOptions, Report, Row } from "../bench.ts";
import { LabSession } from "../lab-session.ts";
import { differences, median, oursFirst, ratios, summarize, type Pair, type Summary } from "../statistics.ts";
import { prepareBare } from "./bare.ts";
import { measureBurst, type Burst } from "./burst.ts";
import { ExecClock } from "./exec-clock.ts";
import { hostOf, imageId, instanceType } from "./guest.ts";

const patienceMs = 120_000;

/** What both sides of a pair need. */
interface Field {
  readonly lab: LabSession;
  readonly clock: ExecClock;
  /** Of the instances, and of the template and the bare guests: two ports, so that nobody's packets are another's. */
  readonly beats: BeatListener;
  readonly bareBeats: BeatListener;
  /** A stopped instance whose identity the bare guests take. */
  readonly template: InstanceWire;
}

interface Ours {
  readonly controlMs: number;
  readonly firstPacketMs: number;
}

export const delivery: Bench = {
  name: "delivery",
  about: "what the cloud adds to the boot of a guest, beside the same QEMU started by hand",
  run: async (options) => {
    const lab = await LabSession.begin({ home: options.home, hosts: 3 });
    try {
      const clock = await ExecClock.open();
      const beats = await BeatListener.open({ host: lab.address });
      const bareBeats = await BeatListener.open({ host: lab.address });
      try {
        return await measure({ lab, clock, beats, bareBeats }, options);
      } finally {
        await Promise.all([clock.close(), beats.close(), bareBeats.close()]);
      }
    } finally {
      await lab.end();
    }
  },
};

async function measure(tools: Omit<Field, "template">, options: BenchOptions): Promise<Report> {
  const { lab } = tools;
  const rounds = options.rounds ?? (options.quick ? 4 : 20);
  const template = await makeTemplate(lab, tools.bareBeats);
  const field: Field = { ...tools, template };
  try {
    // The first of each side warms caches (image, libvirt's knowledge of QEMU, code) and is not counted.
    await deliver(field);
    await boot(field, "warm");
    const ours: Ours[] = [];
    const bare: number[] = [];
    for (let i = 0; i < rounds; i++) {
      options.signal.throwIfAborted();
      for (const side of oursFirst(i) ? (["ours", "bare"] as const) : (["bare", "ours"] as const)) {
        if (side === "ours") ours.push(await deliver(field));
        else bare.push(await boot(field, String(i)));
      }
      options.say(
        `pair ${i + 1} of ${rounds}: ${ours.at(-1)?.firstPacketMs.toFixed(0)} ms, bare ${bare.at(-1)?.toFixed(0)} ms`,
      );
    }
    const burst = options.quick ? undefined : await measureBurst(lab, options);
    return report(options, rounds, ours, bare, burst);
  } finally {
    await lab.cloud.terminate(template.id);
    await lab.cloud.settled([template.id], patienceMs);
  }
}

function userData(lab: LabSession, beats: BeatListener): string {
  return `tiny.beat=${lab.address}:${beats.port}\n`;
}

async function makeTemplate(lab: LabSession, beats: BeatListener): Promise<InstanceWire> {
  const [id] = await lab.cloud.run({
    name: "bench-template",
    imageId,
    instanceType,
    userData: userData(lab, beats),
  });
  if (id === undefined) throw new Error("RunInstances returned no id");
  await beats.next(patienceMs);
  await lab.cloud.succeeded([id], patienceMs);
  await lab.cloud.stop("HARD", id);
  await lab.cloud.succeeded([id], patienceMs);
  return lab.cloud.instance(id);
}

/** One instance, from the request to the first packet; ended again before the return. */
async function deliver(field: Field): Promise<Ours> {
  const { lab, clock, beats } = field;
  clock.clear();
  const first = beats.next(patienceMs);
  const sent = beatClock();
  const [id] = await lab.cloud.run({ name: "bench", imageId, instanceType, userData: userData(lab, beats) });
  if (id === undefined) throw new Error("RunInstances returned no id");
  try {
    const heard = await first;
    return { controlMs: clock.timeOf(await qemuOf(lab, id)) - sent, firstPacketMs: heard.at - sent };
  } finally {
    await lab.cloud.terminate(id);
    await lab.cloud.settled([id], patienceMs);
  }
}

/** The bare guest, from its execve to its first packet. */
async function boot({ lab, clock, bareBeats, template }: Field, tag: string): Promise<number> {
  const host = await hostOf(lab, template);
  const guest = await prepareBare(host, template, tag);
  try {
    clock.clear();
    const first = bareBeats.next(patienceMs);
    guest.start();
    const heard = await Promise.race([first, guest.died]);
    return heard.at - clock.timeOf(guest.pid());
  } finally {
    await guest.end();
  }
}

async function qemuOf(lab: LabSession, id: InstanceId): Promise<number> {
  const host = await hostOf(lab, await lab.cloud.instance(id));
  const qemu = host.qemus().find((each) => each.guest === id);
  if (qemu === undefined) throw new Error(`${id} has no QEMU on ${host.name}`);
  return qemu.pid;
}

function report(
  options: BenchOptions,
  rounds: number,
  ours: readonly Ours[],
  bare: readonly number[],
  burst: Burst | undefined,
): Report {
  const pairs: Pair[] = ours.map(({ firstPacketMs }, i) => ({ ours: firstPacketMs, theirs: bare[i] ?? Number.NaN }));
  const overhead = summarize(differences(pairs));
  const control = summarize(ours.map(({ controlMs }) => controlMs));
  const firstPacket = summarize(pairs.map((pair) => pair.ours));
  const bareFirst = summarize(pairs.map((pair) => pair.theirs));
  const rows: Row[] = [
    { what: "RunInstances to execve of QEMU", unit: "ms", summary: control, aim: "p50 < 80" },
    { what: "RunInstances to first packet", unit: "ms", summary: firstPacket },
    { what: "bare: execve to first packet", unit: "ms", summary: bareFirst },
    { what: "added by the cloud, pair by pair", unit: "ms", summary: overhead, aim: "p50 < 100" },
    ...(burst?.rows ?? []),
  ];
  const figures = ({ p50, max, p99 }: Summary): object => (p99 === undefined ? { p50, max } : { p50, p99, max });
  return {
    params: { quick: options.quick, rounds, hosts: 3, imageId, instanceType, ...burst?.params },
    results: {
      overhead_ms: figures(overhead),
      control_ms: figures(control),
      first_packet_ms: figures(firstPacket),
      bare_first_packet_ms: figures(bareFirst),
      ...burst?.results,
    },
    baseline: { bare_first_packet_ms: figures(bareFirst), ...burst?.baseline },
    ratio: median(ratios(pairs)),
    noise: {
      bare_spread_ms: bareFirst.spread,
      overhead_p50_interval_ms: overhead.p50Interval ?? null,
      exec_clock_precision_ms: 0.001,
    },
    rows,
    remarks: [
      ...(options.quick ? ["--quick: few pairs and no burst; run it without for figures to quote"] : []),
      "execve is stamped by the kernel (tracepoint sched_process_exec, to the microsecond)",
      "the bare guest is libvirt's own command line without libvirt; its clock starts at its execve",
    ],
  };
}
