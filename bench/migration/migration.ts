/**
 * `bench migration`: how long a guest is away while it moves, beside `virsh migrate` over the same two hosts.
 *
 * In each round of a class everybody has one turn, in an order that changes: ours, virsh as it comes (stock), virsh as an expert uses it (tuned), a
 * restore of the same state into a fresh QEMU (cold: what the emulator itself takes until the guest speaks again), and as long a time in
 * which nothing is done (control). With pins ours and control alone take turns, for brownout: what a guest does outside the silence.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { drawMigration } from "../../src/core/migration/picture.ts";
import { sleep } from "../../src/lib/retry.ts";
import type { Bench, BenchOptions } from "../bench.ts";
import { median } from "../statistics.ts";
import { classes, type MigrationClass } from "./classes.ts";
import { Field, type Guests } from "./field.ts";
import { measure, type Measured } from "./measure.ts";
import { pictureOf } from "./picture.ts";
import { report } from "./report.ts";
import { kinds, pinnedKinds, Rows, type Kind, type MigrationRow } from "./rows.ts";

const results = join(import.meta.dirname, "../results");
const fullRounds = 30;
const settleMs = 1_000;
const quickSettleMs = 400;
const shortestControlMs = 1_000;

export const migration: Bench = {
  name: "migration",
  about: "how long a guest is away while it moves to another host, beside virsh migrate",
  run: async (options) => {
    const wished = classes.filter(({ name }) => isWished(name, options));
    if (wished.length === 0)
      throw new Error(`there is no class ${options.class}: ${classes.map(({ name }) => name).join(", ")}`);
    if (options.only !== undefined && !kinds.some((kind) => kind === options.only))
      throw new Error(`nothing is compared that is called ${options.only}: ${kinds.join(", ")}`);
    if (options.pin && options.only !== undefined && !pinnedKinds.some((kind) => kind === options.only))
      throw new Error(`--pin goes with ${pinnedKinds.join(" and ")} alone`);
    const rounds = options.rounds ?? (options.quick ? 1 : fullRounds);
    const goOn = options.rounds !== undefined && !options.quick;
    const part = options.only === undefined ? "" : `-${options.only}`;
    const rows = Rows.open(join(results, `${stemOf(options)}${part}${goOn ? `-${rounds}` : ""}.jsonl`), goOn);
    const field = await Field.layOut(options);
    try {
      for (const of of wished.filter(({ missing }) => missing === null)) {
        await run({ field, of, rounds, rows, options });
      }
    } finally {
      await field.end();
    }
    return report(options, rounds, wished, rows);
  },
};

/** Of the files of a run: with pins the figures are others. */
function stemOf({ pin }: BenchOptions): string {
  return pin ? "migration-pinned" : "migration";
}

function isWished(name: string, options: BenchOptions): boolean {
  return options.class === undefined ? !options.quick || name === "idle" || name === "busy" : name === options.class;
}

interface Run {
  readonly field: Field;
  readonly of: MigrationClass;
  readonly rounds: number;
  readonly rows: Rows;
  readonly options: BenchOptions;
}

async function run({ field, of, rounds, rows, options }: Run): Promise<void> {
  const todo = (round: number): Kind[] => {
    const rotated = kinds.map((_, i) => kinds[(i + round) % kinds.length] ?? "ours");
    const order = round % 2 === 0 ? rotated : rotated.toReversed();
    const left = order.filter((kind) => !rows.of(of.name, kind).some((row) => row.round === round));
    if (options.only !== undefined) return left.filter((kind) => kind === options.only);
    const compared = options.pin ? left.filter((kind) => pinnedKinds.includes(kind)) : left;
    // A control of a second or two says nothing.
    return options.quick ? compared.filter((kind) => kind !== "control") : compared;
  };
  if (Array.from({ length: rounds }, (_, round) => todo(round)).flat().length === 0) return;
  let guests = await field.guests(of);
  try {
    for (let round = 0; round < rounds; round++) {
      for (const kind of todo(round)) {
        options.signal.throwIfAborted();
        const row = await turn({ field, of, rows, guests, kind, round, options });
        rows.add(row);
        options.say(said(row, rounds));
        if (!row.lost) continue;
        // It is in the report; the turns that are left are other guests'.
        await guests.end();
        guests = await field.guests(of);
      }
    }
  } finally {
    await guests.end();
  }
}

interface Turn extends Omit<Run, "rounds"> {
  readonly guests: Guests;
  readonly kind: Kind;
  readonly round: number;
}

async function turn({ field, of, rows, guests, kind, round, options }: Turn): Promise<MigrationRow> {
  await guests.rest();
  const subject = kind === "ours" || kind === "control" ? guests.ours : guests.theirs;
  const act: Record<Kind, () => Promise<void>> = {
    ours: () => guests.moveOurs(),
    stock: () => guests.moveTheirs("stock"),
    tuned: () => guests.moveTheirs("tuned"),
    cold: () => guests.renewTheirs(),
    control: () => sleep(controlMs(rows.of(of.name, "ours"))),
  };
  const about = { subject, monitors: field.monitors, class: of, kind, round };
  const measured = await measure({ ...about, settleMs: options.quick ? quickSettleMs : settleMs }, act[kind]);
  if (kind === "ours" && measured.row.ok) await draw(guests, of, measured, stemOf(options));
  return measured.row;
}

/** The newest move of a class, beside the rows: as a picture, and what that was drawn from. */
async function draw(guests: Guests, of: MigrationClass, measured: Measured, stem: string): Promise<void> {
  await guests.rest();
  const story = await guests.storyOfOurs();
  if (story === undefined) return;
  const picture = pictureOf({ of, measured, ...story });
  writeFileSync(join(results, `${stem}-${of.name}.json`), `${JSON.stringify(picture)}\n`);
  const svg = drawMigration(picture);
  if (svg !== null) writeFileSync(join(results, `${stem}-${of.name}.svg`), svg);
}

/** As long as a move of ours takes. */
function controlMs(ours: readonly MigrationRow[]): number {
  const took = ours.flatMap(({ totalMs }) => (totalMs === null ? [] : [totalMs]));
  return Math.max(shortestControlMs, took.length === 0 ? 0 : median(took));
}

function said({ class: name, kind, round, ok, why, ...row }: MigrationRow, rounds: number): string {
  const head = `${name} ${round + 1}/${rounds} ${kind}:`;
  if (!ok) return `${head} ${why}`;
  const figures = [
    ["pause", kind === "control" ? null : row.pauseMs, " ms"],
    ["gap", row.gapMs, " ms"],
    ["cold", row.coldMs, " ms"],
    ["took", row.totalMs, " ms"],
    ["wrote", row.writtenMiBps, " MiB/s"],
  ] as const;
  return `${head} ${figures.flatMap(([word, value, unit]) => (value === null ? [] : [`${word} ${value.toFixed(0)}${unit}`])).join(", ")}`;
}
