/**
 * Kills at every await: records which walk comes by which, then goes through them in batches. A batch is one walk on which several
 * kills happen one after the other; when it fails, each of its steps is tried alone, so that a row tells of one step.
 */
import { existsSync } from "node:fs";
import { LabSession } from "../../../bench/lab-session.ts";
import { TestLab } from "../../../lab/testing.ts";
import { leftBehind, traces } from "../../../lab/traces.ts";
import { formatError } from "../../../src/lib/errors.ts";
import { expectThat, until } from "../../until.ts";
import { Bed, watchForTwins } from "../bed.ts";
import { allBack, restart } from "../inject.ts";
import { removeSubject, runSubject } from "../requests.ts";
import { snapshot, untilNothingIsLeft } from "../snapshot.ts";
import { Awaits, awaitSettings, folderOf } from "./control.ts";
import { allAwaits } from "./list.ts";
import { moments, victims, type AwaitVictim, type Moment } from "./orders.ts";
import { victimsAt, writeReach, type Reach } from "./reach.ts";
import { walk, walks, type Walk } from "./walks.ts";

/** Kills of one batch; the walk must still be longer than the restarts between them. */
const batchSize = 10;
export interface Batch {
  readonly walk: Walk;
  readonly victim: AwaitVictim;
  readonly moment: Moment;
  readonly steps: readonly string[];
}

/** How rows and `--only` name the kill at one step. */
export function awaitName({ victim, moment }: Pick<Batch, "victim" | "moment">, step: string): string {
  return `await/${victim}/${moment}/${step}`;
}

/** What is to be run: the steps that `wanted` names, in batches whose kills are spread over the walk and both programs. */
export function batchesOf(reach: Reach, wanted: (name: string) => boolean): Batch[] {
  const batches: Batch[] = [];
  for (const moment of moments) {
    for (const victim of victims) {
      for (const which of walks) {
        const steps = Object.keys(reach)
          .filter((step) => reach[step] === which && victimsAt(step).includes(victim))
          // Of a host's first contact the database and libvirt are no part yet that could come back to it.
          .filter(() => which !== "first" || victim === "self")
          .filter((step) => wanted(awaitName({ victim, moment }, step)));
        const count = Math.ceil(steps.length / batchSize);
        for (let n = 0; n < count; n++) {
          batches.push({ walk: which, victim, moment, steps: steps.filter((_, i) => i % count === n) });
        }
      }
    }
  }
  return batches;
}

/** A bed whose programs count their awaits. */
export class AwaitBed {
  readonly bed: Bed;
  readonly awaits: Awaits;

  private constructor(bed: Bed, awaits: Awaits) {
    this.bed = bed;
    this.awaits = awaits;
  }

  static async begin(): Promise<AwaitBed> {
    const bed = await Bed.begin();
    const { lab } = bed;
    lab.lab.settings({ ...awaitSettings(folderOf(lab.lab.home)), VSTATION_RESTART: "eager" });
    const awaits = new Awaits(lab.lab);
    for (const program of ["vstation", "compute"] as const) await restart(lab, program);
    return new AwaitBed(bed, awaits);
  }

  async end(): Promise<void> {
    await this.bed.end();
  }

  /** Walks and returns what was come by. */
  async record(which: Exclude<Walk, "first">): Promise<Set<string>> {
    const { lab } = this.bed;
    const listen = async (): Promise<Set<string>> => {
      this.awaits.order({ steps: [], moment: "after", victim: "self" });
      return this.awaits.tell(lab);
    };
    await walk(lab, which, async () => void (await listen()));
    return listen();
  }

  /** Walks while the batch's kills happen; throws unless everything came out right. Returns the steps that struck. */
  async run({ walk: which, steps, moment, victim }: Batch): Promise<string[]> {
    if (which === "first") return firstContact(steps, moment);
    const { lab } = this.bed;
    const before = await snapshot(lab);
    const stopWatching = watchForTwins(lab);
    try {
      await walk(lab, which, async () => {
        this.awaits.order({ steps: [...steps], moment, victim });
        await this.awaits.tell(lab);
      });
      // The last steps of a walk are the programs' own: they come by them a moment after the walker is through.
      await until("every step is struck", () => this.awaits.struck(steps).length === steps.length, 2_000).catch(
        () => undefined,
      );
      const struck = this.awaits.struck(steps);
      this.awaits.order({ steps: [], moment, victim });
      await allBack(lab);
      await this.awaits.tell(lab);
      await this.bed.checkWitnesses();
      await untilNothingIsLeft(lab, before);
      return struck;
    } finally {
      stopWatching();
    }
  }
}

/** A lab's very first start, in which VStation makes its database and CA and the host joins. */
async function firstContact(steps: readonly string[], moment: Moment): Promise<string[]> {
  let struck: string[] = [];
  await inNewLab(async (awaits, start) => {
    awaits.order({ steps: [...steps], moment, victim: "self" });
    await start();
    struck = awaits.struck(steps);
  });
  return struck;
}

async function recordFirst(): Promise<Set<string>> {
  let visited = new Set<string>();
  await inNewLab(async (awaits, start) => {
    const lab = await start();
    awaits.order({ steps: [], moment: "after", victim: "self" });
    visited = await awaits.tell(lab);
  });
  return visited;
}

async function inNewLab(work: (awaits: Awaits, start: () => Promise<LabSession>) => Promise<void>): Promise<void> {
  const before = await traces();
  const testLab = new TestLab();
  testLab.settings({ ...awaitSettings(folderOf(testLab.home)), VSTATION_RESTART: "eager" });
  let n: number | undefined;
  try {
    await work(new Awaits(testLab), async () => {
      await testLab.start({ hosts: 1 });
      n = testLab.plan.n;
      const lab = await LabSession.begin({ home: testLab.home.path, hosts: 1 });
      await removeSubject(lab, (await runSubject(lab)).id);
      return lab;
    });
  } finally {
    await testLab.destroy();
  }
  const left = n === undefined ? [] : leftBehind(before, await traces(), testLab.home.path, n);
  expectThat(left.length === 0 && !existsSync(testLab.home.path), left.join("\n"));
}

/** Walks everything without a kill and writes down which walk is the first to come by each await. */
export async function record(say: (line: string) => void): Promise<void> {
  const known = new Set(allAwaits());
  const reach: Record<string, Walk> = {};
  const bed = await AwaitBed.begin();
  try {
    for (const which of walks) {
      const visited = which === "first" ? await recordFirst() : await bed.record(which);
      const fresh = [...visited].filter((step) => known.has(step) && reach[step] === undefined);
      for (const step of fresh) reach[step] = which;
      say(`${which}: ${visited.size} awaits come by, ${fresh.length} of them by no walk before`);
    }
  } finally {
    await bed.end();
  }
  writeReach(reach);
  say(`${Object.keys(reach).length} of ${known.size} awaits are come by`);
}

export interface Teller {
  /** How the kill at one step fared; undefined: well. */
  tell(name: string, failure: string | undefined): void;
  /** Puts the logs of a lab that is about to be removed aside, and says where. */
  keepLogs(bed: AwaitBed, name: string): string;
}

/** Runs a batch, tells how each of its steps fared, and returns the bed to go on with. */
export async function runBatch(bed: AwaitBed, batch: Batch, teller: Teller): Promise<AwaitBed> {
  let struck: string[] = [];
  let now = bed;
  try {
    struck = await now.run(batch);
    for (const step of struck) teller.tell(awaitName(batch, step), undefined);
  } catch (error) {
    // Which of its kills it was is found out by each of them alone; if none of them was, several together are what it takes.
    const name = `await-batch/${batch.victim}/${batch.moment}/${batch.steps.join("+")}`;
    teller.tell(name, `${formatError(error)} (logs: ${teller.keepLogs(now, `await-batch-${Date.now()}`)})`);
    await now.end();
    now = await AwaitBed.begin();
  }
  for (const step of batch.steps.filter((each) => !struck.includes(each))) now = await alone(now, batch, step, teller);
  return now;
}

/**
 * The walk, then the walk by programs that have just been started (what they read once they read again), then the walk of a restart
 * itself (a host's connection may have been recorded on the walk that followed it).
 */
async function* attempts(bed: AwaitBed, batch: Batch): AsyncGenerator<Batch> {
  yield batch;
  if (batch.walk === "first") return;
  for (const program of ["vstation", "compute"] as const) await restart(bed.bed.lab, program);
  yield batch;
  yield { ...batch, walk: "return" };
}

async function alone(bed: AwaitBed, batch: Batch, step: string, teller: Teller): Promise<AwaitBed> {
  const name = awaitName(batch, step);
  try {
    for await (const attempt of attempts(bed, { ...batch, steps: [step] })) {
      if ((await bed.run(attempt)).length === 0) continue;
      teller.tell(name, undefined);
      return bed;
    }
    teller.tell(name, `nothing came by it on its walk (${batch.walk}), with fresh programs, or in a restart`);
    return bed;
  } catch (error) {
    teller.tell(name, `${formatError(error)} (logs: ${teller.keepLogs(bed, name)})`);
    await bed.end();
    return AwaitBed.begin();
  }
}
