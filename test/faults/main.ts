/**
 * `npm run test:faults`: the long kill loops. First a kill at every named point and at random moments, then a
 * fault in every state of a guest's move (moves/), then a kill at every await of both programs (awaits/), of the program itself and of
 * what it leans on.
 *
 *   --only TEXT    cases whose name contains it
 *   --minutes N    stop after so long; the rest runs the next time
 *   --rounds N     rounds of random kills and freezes, and of faults in moves (3)
 *   --list         say what would run
 *   --record       walk without a kill and write down which walk comes by which await (awaits/reach.json)
 *
 * Rows go to test/results/faults.jsonl; what passed with the present source is not run again. A failed case keeps its lab's home for
 * a look (its path is in the row), and the next case gets a new lab.
 */
import { parseArgs } from "node:util";
import { onInterrupt } from "../../lab/interrupt.ts";
import { formatError } from "../../src/lib/errors.ts";
import { readReach } from "./awaits/reach.ts";
import { AwaitBed, awaitName, batchesOf, record, runBatch, type Batch } from "./awaits/run.ts";
import { Bed } from "./bed.ts";
import { caseName, crashCases, hashOf, randomCases, uncovered } from "./cases.ts";
import { keepLogs } from "./keep-logs.ts";
import { moveCases, moveName } from "./moves/cases.ts";
import { runMove } from "./moves/run.ts";
import { crashPoints } from "./points.ts";
import { appendRow, readRows, sourceHash } from "./rows.ts";
import { runCase } from "./run-case.ts";

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    minutes: { type: "string" },
    rounds: { type: "string", default: "3" },
    list: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
  },
});

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** Names of cases that passed with this source, or that `--only` leaves out. */
function isWanted(source: string): (name: string) => boolean {
  const passed = new Set(
    readRows()
      .filter((row) => row.source === source && row.outcome === "passed")
      .map((row) => row.case),
  );
  return (name) => name.includes(values.only ?? "") && !passed.has(name);
}

function chosen(wanted: (name: string) => boolean): Planned[] {
  const points = crashPoints();
  const missing = uncovered(points);
  if (missing.length > 0) {
    throw new Error(
      `no path is known for ${missing.map((point) => point.name).join(", ")}: add it to test/faults/cases.ts`,
    );
  }
  const rounds = Array.from({ length: Number(values.rounds) }, (_, i) => i + 1);
  const cases = [...crashCases(points), ...rounds.flatMap(randomCases)];
  const moves = rounds.flatMap((round) => moveCases(points, round));
  return [
    ...cases.map((it) => ({ name: caseName(it), run: (bed: Bed) => runCase(bed, it) })),
    ...moves.map((it) => ({ name: moveName(it), run: (bed: Bed) => runMove(bed, it) })),
  ].filter(({ name }) => wanted(name));
}

class Loop {
  readonly #source: string;
  readonly #end = performance.now() + (values.minutes === undefined ? Infinity : Number(values.minutes) * 60_000);
  #stopping = false;
  failed = 0;

  constructor(source: string) {
    this.#source = source;
    onInterrupt(() => (this.#stopping = true));
  }

  /** Time is up, or somebody wants it to end. */
  get isOver(): boolean {
    return this.#stopping || performance.now() > this.#end;
  }

  tell(name: string, seed: number, began: number, failure: string | undefined): void {
    const seconds = Math.round((performance.now() - began) / 100) / 10;
    const row = { at: new Date().toISOString(), source: this.#source, case: name, seed, seconds };
    if (failure === undefined) {
      appendRow({ ...row, outcome: "passed" });
      say(`passed  ${name}  ${seconds} s`);
      return;
    }
    this.failed++;
    appendRow({ ...row, outcome: "failed", message: failure });
    say(`FAILED  ${name}  ${seconds} s: ${failure}`);
  }
}

/** Something that is done to a lab, and leaves it fit for the next thing. */
interface Planned {
  readonly name: string;
  readonly run: (bed: Bed) => Promise<void>;
}

async function runAll(all: readonly Planned[], loop: Loop): Promise<void> {
  let bed: Bed | undefined;
  try {
    for (const { name, run } of all) {
      if (loop.isOver) return;
      bed ??= await Bed.begin();
      const began = performance.now();
      try {
        await run(bed);
        loop.tell(name, hashOf(name), began, undefined);
      } catch (error) {
        loop.tell(name, hashOf(name), began, `${formatError(error)} (logs: ${keepLogs(bed, name)})`);
        await bed.end();
        bed = undefined;
      }
    }
  } finally {
    await finish(bed, loop);
  }
}

/** What is left of a lab is a case of its own: it tells of all that were run in it. */
async function finish(bed: Bed | undefined, loop: Loop): Promise<void> {
  if (bed === undefined) return;
  const began = performance.now();
  try {
    await bed.finish();
    loop.tell(`left-behind/${new Date().toISOString()}`, 0, began, undefined);
  } catch (error) {
    loop.tell(`left-behind/${new Date().toISOString()}`, 0, began, formatError(error));
  }
}

async function runBatches(batches: readonly Batch[], loop: Loop): Promise<void> {
  let bed: AwaitBed | undefined;
  try {
    for (const batch of batches) {
      if (loop.isOver) return;
      bed ??= await AwaitBed.begin();
      const began = performance.now();
      bed = await runBatch(bed, batch, {
        tell: (name, failure) => loop.tell(name, 0, began, failure),
        keepLogs: (of, name) => keepLogs(of.bed, name),
      });
    }
  } finally {
    await finish(bed?.bed, loop);
  }
}

async function main(): Promise<number> {
  if (values.record) {
    await record(say);
    return 0;
  }
  const source = sourceHash();
  const wanted = isWanted(source);
  const cases = chosen(wanted);
  const batches = batchesOf(readReach(), wanted);
  const steps = batches.flatMap((batch) => batch.steps.map((step) => awaitName(batch, step)));
  say(`${cases.length} cases and ${steps.length} awaits to run for source ${source}`);
  if (values.list) {
    for (const each of [...cases.map(({ name }) => name), ...steps]) say(each);
    return 0;
  }
  const loop = new Loop(source);
  await runAll(cases, loop);
  await runBatches(batches, loop);
  if (loop.isOver) say("stopped before the end; a rerun goes on from here");
  say(loop.failed === 0 ? "no case failed" : `${loop.failed} cases failed`);
  return loop.failed === 0 ? 0 : 1;
}

process.exitCode = await main();
