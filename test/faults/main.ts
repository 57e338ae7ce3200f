/**
 * `npm run test:faults`: the long kill loops. First a kill at every named point and at random moments, then a
 * fault in every state of a guest's move (moves/), then a kill at every await of both programs (awaits/), of the program itself and of
 * what it leans on, and at last the move between nested hosts (nested.ts).
 *
 *   --only TEXT    cases whose name has it, whole or from a slash on ("move/", "kill/vstation", "nested/")
 *   --minutes N    stop after so long; the rest runs the next time
 *   --rounds N     rounds of random kills and freezes, and of faults in moves (3)
 *   --list         say what would run
 *   --tally        say what was run by now, as every run does at its end
 *   --record       walk without a kill and write down which walk comes by which await (awaits/reach.json)
 *
 * Rows go to test/results/faults.jsonl; what passed with the present source is not run again. Of a failed case the logs are kept (their
 * place is in the row), and the next case gets a new lab. The status is 0 if nothing failed and, unless it was stopped, every
 * state that was asked for has a run, and the move between nested hosts as well.
 */
import { parseArgs } from "node:util";
import { onInterrupt } from "../../lab/interrupt.ts";
import { formatError } from "../../src/lib/errors.ts";
import { AwaitBed, record, runBatch, type Batch } from "./awaits/run.ts";
import { Bed } from "./bed.ts";
import { elsewhere, hashOf } from "./cases.ts";
import { keepLogs } from "./keep-logs.ts";
import { notOnTheWay } from "./moves/cases.ts";
import { nestedCase, nestedObstacle, runNested } from "./nested.ts";
import { isNamed, namesOf, onceOf, planOf, seriesOf, type Plan, type Planned } from "./plan.ts";
import { appendRow, endingOf, readRows, sourceHash, type Ending } from "./rows.ts";
import { countRuns, leftLine, onceLines, statesWithoutRun, tallyLines } from "./tally.ts";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    minutes: { type: "string" },
    rounds: { type: "string", default: "3" },
    list: { type: "boolean", default: false },
    tally: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
  },
});

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const failedBy = (message: string): Ending => ({ outcome: "failed", message });

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

  tell(name: string, seed: number, began: number, ending: Ending): void {
    const seconds = Math.round((performance.now() - began) / 100) / 10;
    appendRow({ at: new Date().toISOString(), source: this.#source, case: name, seed, seconds, ...ending });
    if (ending.outcome !== "failed") {
      say(`${ending.outcome}  ${name}  ${seconds} s`);
      return;
    }
    this.failed++;
    say(`FAILED  ${name}  ${seconds} s: ${ending.message}`);
  }
}

async function runAll(all: readonly Planned[], loop: Loop): Promise<void> {
  let bed: Bed | undefined;
  try {
    for (const { name, run } of all) {
      if (loop.isOver) return;
      bed ??= await Bed.begin();
      const began = performance.now();
      try {
        loop.tell(name, hashOf(name), began, endingOf(await run(bed)));
      } catch (error) {
        loop.tell(name, hashOf(name), began, failedBy(`${formatError(error)} (logs: ${keepLogs(bed, name)})`));
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
    loop.tell(`left-behind/${new Date().toISOString()}`, 0, began, { outcome: "passed" });
  } catch (error) {
    loop.tell(`left-behind/${new Date().toISOString()}`, 0, began, failedBy(formatError(error)));
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
        // A step is told of only where it was struck.
        tell: (name, failure) => loop.tell(name, 0, began, failure === undefined ? endingOf(1) : failedBy(failure)),
        keepLogs: (of, name) => keepLogs(of.bed, name),
      });
    }
  } finally {
    await finish(bed?.bed, loop);
  }
}

async function runUnderKvm(loop: Loop): Promise<void> {
  if (loop.isOver) return;
  const obstacle = await nestedObstacle(say);
  if (obstacle !== undefined) {
    say(`NOT RUN  ${nestedCase}: ${obstacle}`);
    return;
  }
  const began = performance.now();
  try {
    await runNested(say);
    loop.tell(nestedCase, 0, began, { outcome: "passed" });
  } catch (error) {
    loop.tell(nestedCase, 0, began, failedBy(formatError(error)));
  }
}

/** Says what was run by now, with this source, of what is asked for; false where some of it was not even once. */
function tellTally(asked: Plan, source: string): boolean {
  const rows = readRows().filter((row) => row.source === source);
  const counted = countRuns(seriesOf(asked), rows);
  for (const line of tallyLines(counted)) say(line);
  if (counted.some(({ during }) => during === "a move")) {
    const others = notOnTheWay.map((family) => `${family} (${elsewhere[family]})`);
    say(`states that these moves do not come by, at each of which a test kills the program: ${others.join(", ")}`);
  }
  if (counted.length > 0) say(leftLine(counted, rows));
  const once = onceOf(asked);
  for (const line of onceLines(once, rows)) say(line);
  const passed = new Set(rows.flatMap((row) => (row.outcome === "passed" ? [row.case] : [])));
  return statesWithoutRun(counted).length === 0 && once.every((name) => passed.has(name));
}

async function main(): Promise<number> {
  if (values.record) {
    await record(say);
    return 0;
  }
  const source = sourceHash();
  const rounds = Number(values.rounds);
  const isAsked = (name: string): boolean => isNamed(name, values.only);
  const asked = planOf(rounds, isAsked);
  if (values.tally) {
    tellTally(asked, source);
    return 0;
  }
  const done = new Set(
    readRows().flatMap((row) => (row.source === source && row.outcome !== "failed" ? [row.case] : [])),
  );
  const plan = planOf(rounds, (name) => isAsked(name) && !done.has(name));
  const names = namesOf(plan);
  say(`${names.length} cases to run for source ${source}`);
  if (values.list) {
    for (const name of names) say(name);
    return 0;
  }
  const loop = new Loop(source);
  await runAll(plan.cases, loop);
  await runBatches(plan.awaits, loop);
  if (plan.nested) await runUnderKvm(loop);
  const isWhole = tellTally(asked, source);
  if (loop.isOver) say("stopped before the end; a rerun goes on from here");
  else if (!isWhole) say("not all that was asked for was run");
  say(loop.failed === 0 ? "no case failed" : `${loop.failed} cases failed`);
  return loop.failed === 0 && (isWhole || loop.isOver) ? 0 : 1;
}

process.exitCode = await main();
