/** Prints a report: a table for people, and on demand one JSON object as the last line. */
import { readFileSync } from "node:fs";
import { arch, cpus, release, totalmem } from "node:os";
import type { Bench, Report } from "./bench.ts";
import { rounded, type Summary } from "./statistics.ts";

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly arch: string;
  readonly os: string;
  readonly node: string;
  /** Load average of the last minute before the bench began: whether somebody else was at work. */
  readonly loadBefore: number;
}

export function machineOf(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    arch: arch(),
    os: osName(),
    node: process.version,
    loadBefore: Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]),
  };
}

function osName(): string {
  const line = readFileSync("/etc/os-release", "utf8")
    .split("\n")
    .find((each) => each.startsWith("PRETTY_NAME="));
  return line?.slice("PRETTY_NAME=".length).replaceAll('"', "") ?? "unknown";
}

/** The object of `--json`; figures with three decimals. */
export function asJson(bench: Bench, machine: Machine, report: Report): string {
  const { params, results, baseline, ratio, noise } = report;
  return JSON.stringify({ bench: bench.name, machine, params, results, baseline, ratio, noise }, (_, value: unknown) =>
    typeof value === "number" ? rounded(value) : value,
  );
}

export function asTable(bench: Bench, machine: Machine, report: Report): string {
  const header = ["", "n", "p50", "95 % of p50", "spread", "min", "max", "p99", "aim"];
  const body = report.rows.map(({ what, unit, summary, aim }) => [
    `${what}, ${unit}`,
    String(summary.n),
    figure(summary.p50),
    interval(summary),
    figure(summary.spread),
    figure(summary.min),
    figure(summary.max),
    summary.p99 === undefined ? "-" : figure(summary.p99),
    aim ?? "",
  ]);
  return [
    `${bench.name}: ${bench.about}`,
    `${machine.cores} x ${machine.cpu}, ${machine.memoryGiB} GiB, ${machine.os}, Linux ${machine.kernel}, load before ${machine.loadBefore}`,
    "",
    ...aligned([header, ...body]),
    "",
    ...report.remarks.map((remark) => `- ${remark}`),
  ].join("\n");
}

function figure(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(1);
}

function interval({ p50Interval }: Summary): string {
  return p50Interval === undefined ? "-" : `${figure(p50Interval[0])} .. ${figure(p50Interval[1])}`;
}

/** Lines of a table: the first column to the left, figures to the right. */
export function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
}
