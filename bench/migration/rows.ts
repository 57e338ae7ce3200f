/**
 * The raw rows of a run: one JSON line for each thing that was measured, appended as soon as it is, so that a long run that was ended goes on
 * where it was. Whoever doubts a figure has them all.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import * as z from "zod";
import { classNames, type ClassName } from "./classes.ts";

/** Ours and its rivals; what the emulator alone costs; nothing at all for as long as a move takes. */
export const kinds = ["ours", "stock", "tuned", "cold", "control"] as const;
export type Kind = (typeof kinds)[number];
/** With pins: nobody's figures are compared with virsh's there, whose guest would be in the way. */
export const pinnedKinds: readonly Kind[] = ["ours", "control"];
export const movers = ["ours", "stock", "tuned"] as const;
export type Mover = (typeof movers)[number];

const ms = z.number().nonnegative();

const rowSchema = z.object({
  class: z.enum(classNames),
  kind: z.enum(kinds),
  round: z.int().nonnegative(),
  at: z.string(),
  /** It ended as it should, and the guest is whole. */
  ok: z.boolean(),
  /** The guest is not running exactly once, was booted anew, or its memory is not what it was. */
  lost: z.boolean(),
  why: z.string().nullable(),
  /** STOP at the source to RESUME at the target, by QEMU's stamps. */
  pauseMs: ms.nullable(),
  /** What the two QEMUs said within the pause, in milliseconds after its STOP, the first time that each was said. */
  said: z.record(z.string(), ms),
  /** The longest silence of the beat. */
  gapMs: ms.nullable(),
  /** Beats that were sent and did not come. */
  beatsLost: z.int().nonnegative(),
  /** RESUME to the first beat. */
  coldMs: ms.nullable(),
  totalMs: ms.nullable(),
  /** Of the beats due in a tenth of a second, how many came: the 5th percentile, outside the silence. */
  throughputP5: ms.nullable(),
  /** The same of the pages that it was to write, by its own counter and clock, which stands still in the pause. */
  writesP5: ms.nullable().default(null),
  /** By the guest's own counter, while it was moved. */
  writtenMiBps: ms.nullable(),
});
export type MigrationRow = z.infer<typeof rowSchema>;

export class Rows {
  readonly #file: string;
  readonly #rows: MigrationRow[];

  private constructor(file: string, rows: MigrationRow[]) {
    this.#file = file;
    this.#rows = rows;
  }

  /** Goes on with the rows that are there, or begins anew. */
  static open(file: string, goOn: boolean): Rows {
    mkdirSync(dirname(file), { recursive: true });
    if (!goOn) rmSync(file, { force: true });
    const text = existsSync(file) ? readFileSync(file, "utf8") : "";
    // A run that was killed may have left half a line, which the next one would be written behind.
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    if (whole !== text) writeFileSync(file, whole);
    const lines = whole.split("\n");
    return new Rows(
      file,
      lines.filter((line) => line !== "").map((line) => rowSchema.parse(JSON.parse(line))),
    );
  }

  add(row: MigrationRow): void {
    appendFileSync(this.#file, `${JSON.stringify(row)}\n`);
    this.#rows.push(row);
  }

  of(name: ClassName, kind: Kind): MigrationRow[] {
    return this.#rows.filter((row) => row.class === name && row.kind === kind);
  }
}
