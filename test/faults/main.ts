/**
 * `npm run test:faults`: the long kill loops.
 *
 *   --only TEXT    cases whose name contains it
 *   --minutes N    stop after so long; the rest runs the next time
 *   --rounds N     rounds of random kills and freezes after the crash points (3)
 *   --list         say what would run
 *
 * Rows go to test/results/faults.jsonl; what passed with the present source is not run again. A failed case keeps its lab's home for
 * a look (its path is in the row), and the next case gets a new lab.
 */
import { cpSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { formatError } from "../../src/lib/errors.ts";
import { Bed } from "./bed.ts";
import { caseName, crashCases, randomCases, seedOf, uncovered, type FaultCase } from "./cases.ts";
import { crashPoints, root } from "./points.ts";
import { appendRow, readRows, sourceHash } from "./rows.ts";
import { runCase } from "./run-case.ts";

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    minutes: { type: "string" },
    rounds: { type: "string", default: "3" },
    list: { type: "boolean", default: false },
  },
});

const say = (line: string): void => void process.stdout.write(`${line}\n`);

function chosen(source: string): FaultCase[] {
  const points = crashPoints();
  const missing = uncovered(points);
  if (missing.length > 0) {
    throw new Error(
      `no path is known for ${missing.map((point) => point.name).join(", ")}: add it to test/faults/cases.ts`,
    );
  }
  const rounds = Array.from({ length: Number(values.rounds) }, (_, i) => randomCases(i + 1));
  const passed = new Set(
    readRows()
      .filter((row) => row.source === source && row.outcome === "passed")
      .map((row) => row.case),
  );
  return [...crashCases(points), ...rounds.flat()].filter((it) => {
    const name = caseName(it);
    return name.includes(values.only ?? "") && !passed.has(name);
  });
}

async function main(): Promise<number> {
  const source = sourceHash();
  const cases = chosen(source);
  say(`${cases.length} cases to run for source ${source}`);
  if (values.list) {
    for (const it of cases) say(caseName(it));
    return 0;
  }
  const end = performance.now() + (values.minutes === undefined ? Infinity : Number(values.minutes) * 60_000);
  let stopping = false;
  process.once("SIGINT", () => (stopping = true));
  process.once("SIGTERM", () => (stopping = true));
  let failed = 0;
  let bed: Bed | undefined;
  try {
    for (const [i, it] of cases.entries()) {
      if (stopping || performance.now() > end) {
        say(`stopped before case ${i + 1} of ${cases.length}; a rerun goes on from here`);
        break;
      }
      bed ??= await Bed.begin();
      const began = performance.now();
      const row = { at: new Date().toISOString(), source, case: caseName(it), seed: seedOf(it) };
      try {
        await runCase(bed, it);
        const seconds = Math.round((performance.now() - began) / 100) / 10;
        appendRow({ ...row, outcome: "passed", seconds });
        say(`passed  ${row.case}  ${seconds} s`);
      } catch (error) {
        failed++;
        const seconds = Math.round((performance.now() - began) / 100) / 10;
        const logs = keepLogs(bed, row.case);
        appendRow({ ...row, outcome: "failed", seconds, message: `${formatError(error)} (logs: ${logs})` });
        say(`FAILED  ${row.case}  ${seconds} s: ${formatError(error)}\n        logs: ${logs}`);
        await bed.end();
        bed = undefined;
      }
    }
  } finally {
    await bed?.end();
  }
  say(failed === 0 ? "no case failed" : `${failed} cases failed`);
  return failed === 0 ? 0 : 1;
}

/** Copies the lab's logs out of a home that is about to be removed. */
function keepLogs(bed: Bed, name: string): string {
  const to = join(root, "test/results/faults", name.replaceAll("/", "_"));
  const { home } = bed.lab.lab;
  cpSync(join(home.path, "log"), join(to, "log"), { recursive: true });
  for (const host of bed.lab.hosts) {
    cpSync(join(host.dir, "log"), join(to, host.name), { recursive: true });
    cpSync(join(host.dir, "var/log"), join(to, host.name, "libvirt"), { recursive: true });
  }
  return to;
}

process.exitCode = await main();
