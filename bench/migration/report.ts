/** The report of `bench migration`, from its rows alone. */
import type { BenchOptions, Report, Row } from "../bench.ts";
import type { Summary } from "../statistics.ts";
import { linkMiBps, type MigrationClass } from "./classes.ts";
import { movers, type Rows } from "./rows.ts";
import { summarizeClass, together, type ClassSummary, type MoverSummary, type Together } from "./summary.ts";

export function report(options: BenchOptions, rounds: number, wished: readonly MigrationClass[], rows: Rows): Report {
  const done = wished
    .filter(({ missing }) => missing === null)
    .map((of) => ({ of, summary: summarizeClass((kind) => rows.of(of.name, kind)) }));
  const all = together(done.map(({ summary }) => summary.movers.ours));
  const ratios = done.flatMap(({ summary: { movers: by } }) =>
    by.ours.gap === undefined || by.tuned.gap === undefined ? [] : [by.ours.gap.p50 / by.tuned.gap.p50],
  );
  return {
    params: {
      quick: options.quick,
      pinned: options.pin,
      rounds,
      hosts: 2,
      link_mib_per_s: linkMiBps,
      beat_ms: 1,
      classes: Object.fromEntries(done.map(({ of }) => [of.name, { instanceType: of.instanceType, load: of.load }])),
    },
    results: {
      classes: Object.fromEntries(done.map(({ of, summary }) => [of.name, figures(summary)])),
      all: { n: all.n, succeeded: all.succeeded, vm_lost: all.lost, failure_bound: all.failureBound },
    },
    baseline: Object.fromEntries(
      done.map(({ of, summary }) => [
        of.name,
        { stock: ofMover(summary.movers.stock), tuned: ofMover(summary.movers.tuned) },
      ]),
    ),
    ratio: ratios.length === 0 ? Number.NaN : Math.max(...ratios),
    noise: Object.fromEntries(
      done.map(({ of, summary }) => [
        of.name,
        { cold_spread_ms: summary.cold?.spread ?? null, control_p5: summary.controlP5 ?? null },
      ]),
    ),
    rows: done.flatMap(({ of, summary }) => tableOf(of, summary)),
    vmLost: all.lost,
    remarks: [
      ...done.flatMap(({ of, summary }) => sentencesOf(of, summary)),
      ...(all.n === 0 ? [] : [togetherSentence(all)]),
      ...wished.flatMap(({ name, missing }) => (missing === null ? [] : [`${name} was not run: ${missing}`])),
      `the link between the hosts carries ${linkMiBps} MiB/s (htb); the beats do not go over it`,
      "pause: STOP at the source to RESUME at the target, by QEMU's own stamps, on one clock; gap: the longest silence of the beat less its interval, heard on neither host",
      "cold: RESUME to the first beat of the same state restored from memory into a fresh QEMU; net gap: each gap less cold's median",
      "the ratio is ours over tuned, medians of the gap, in the class where it is worst",
      "stock is `virsh migrate --live`; tuned has a limit of 10 ms, two connections and auto-converge; both over both hosts' libvirt sockets",
      ...(options.pin
        ? [
            "--pin: the guest's virtual processors ran on one core, everything else of the lab and of the bench on the others, for brownout's sake; pauses and gaps are not comparable with those of a run without it",
          ]
        : []),
      ...(options.quick ? ["--quick: one round of two classes, no control; run it without for figures to quote"] : []),
    ],
  };
}

function tableOf({ name }: MigrationClass, { movers: by, cold }: ClassSummary): Row[] {
  const rows: Row[] = [];
  const add = (what: string, summary: Summary | undefined, aim?: string): void => {
    if (summary !== undefined)
      rows.push({ what: `${name}: ${what}`, unit: "ms", summary, ...(aim === undefined ? {} : { aim }) });
  };
  for (const mover of movers)
    add(`pause, ${mover}`, by[mover].pause, mover === "ours" ? "p50 < 25, p99 < 50" : undefined);
  for (const mover of movers) add(`gap, ${mover}`, by[mover].gap);
  add("net gap, ours", by.ours.netGap, "p99 < 50");
  add("cold", cold);
  for (const mover of movers) add(`whole move, ${mover}`, by[mover].totalMs);
  return rows;
}

function sentencesOf({ name, about, load }: MigrationClass, summary: ClassSummary): string[] {
  const { ours } = summary.movers;
  const tried = movers
    .filter((mover) => summary.movers[mover].n > 0)
    .map((mover) => `${mover} ${summary.movers[mover].succeeded} of ${summary.movers[mover].n}`)
    .join(", ");
  const brownout = summary.brownoutVoid
    ? `brownout void: the control's own p5 is ${summary.controlP5?.toFixed(3) ?? "unknown"}`
    : `of the ${load === null || load.rateMiBps === 0 ? "beats" : "pages"} due per 0.1 s outside the pause, p5: ${ours.throughputP5?.toFixed(3)} moved, ${summary.controlP5?.toFixed(3)} left alone`;
  const bound = ours.n === 0 ? "" : `; with 95 % confidence fewer than ${percent(ours.failureBound)} of ours fail`;
  const wrote = ours.writtenMiBps === undefined ? "" : `; wrote ${ours.writtenMiBps.toFixed(0)} MiB/s while moved`;
  const pauses = movers.flatMap((mover) => {
    const { moments } = summary.movers[mover];
    const told = moments.map(([what, at]) => `${at.toFixed(1)} ${what}`).join(", ");
    return moments.length === 0 ? [] : [`${name}: in the pause of ${mover}, ms after STOP: ${told}`];
  });
  return [...pauses, `${name} (${about}${wrote}): succeeded ${tried}${bound}`, `${name}: ${brownout}`];
}

function togetherSentence({ n, succeeded, lost, failureBound }: Together): string {
  const bound = `with 95 % confidence fewer than ${percent(failureBound)} fail`;
  return `all classes together: ours succeeded ${succeeded} of ${n}, ${lost} guests were lost; ${bound}`;
}

const percent = (share: number): string => `${(100 * share).toFixed(share < 0.01 ? 2 : 1)} %`;

const milliseconds = (summary: Summary | undefined): object | null =>
  summary === undefined
    ? null
    : { p50: summary.p50, ...(summary.p99 === undefined ? {} : { p99: summary.p99 }), max: summary.max };

function figures(summary: ClassSummary): object {
  const { movers: by, cold, controlP5, brownoutVoid, gapLessTuned } = summary;
  return {
    ...ofMover(by.ours),
    brownout: { p5: by.ours.throughputP5 ?? null, control_p5: controlP5 ?? null, void: brownoutVoid },
    cold_ms: milliseconds(cold),
    gap_less_tuned_ms: milliseconds(gapLessTuned),
    stock: ofMover(by.stock),
    tuned: ofMover(by.tuned),
  };
}

function ofMover(mover: MoverSummary): object {
  const { n, succeeded, lost, pause, moments, gap, netGap, totalMs, failureBound, writtenMiBps } = mover;
  return {
    n,
    attempts: n,
    succeeded,
    vm_lost: lost,
    failure_bound: failureBound,
    pause_ms: milliseconds(pause),
    moments_ms: Object.fromEntries(moments),
    gap_ms: milliseconds(gap),
    net_gap_ms: milliseconds(netGap),
    written_mib_per_s: writtenMiBps ?? null,
    total_s: totalMs === undefined ? null : { p50: totalMs.p50 / 1000 },
  };
}
