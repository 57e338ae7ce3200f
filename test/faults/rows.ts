/**
 * What the long loops remember: one JSON line per case that ended, under test/results/ (not in git). A case that passed with the
 * present source, or found nothing there to hurt, is not run again; any change of the source makes every row old.
 */
import { createHash } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import * as z from "zod";
import { root } from "./points.ts";

export const rowsFile = join(root, "test/results/faults.jsonl");

const about = {
  at: z.string(),
  source: z.string(),
  case: z.string(),
  seed: z.int(),
  seconds: z.number(),
} as const;

const rowSchema = z.discriminatedUnion("outcome", [
  z.strictObject({
    ...about,
    outcome: z.literal("passed"),
    /** Processes or cables that were hurt; absent where none is to be, and of rows from before they were counted. */
    hits: z.int().positive().optional(),
  }),
  /** What was to be hurt was not there, as a QEMU in a state before there is one: every promise held, and nothing was shown. */
  z.strictObject({ ...about, outcome: z.literal("nothing there") }),
  z.strictObject({
    ...about,
    outcome: z.literal("failed"),
    /** What was wrong, and where the lab's logs were kept. */
    message: z.string(),
  }),
]);
export type FaultRow = z.infer<typeof rowSchema>;

type EndingOf<Row> = Row extends unknown ? Omit<Row, keyof typeof about> : never;
/** How a case ended. */
export type Ending = EndingOf<FaultRow>;

/** Of a case that broke no promise and hurt so many. */
export function endingOf(hits: number): Ending {
  return hits > 0 ? { outcome: "passed", hits } : { outcome: "nothing there" };
}

/** Rows of an interrupted write are left out: their case runs again. */
export function readRows(file = rowsFile): FaultRow[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .map(parseRow)
    .filter((row) => row !== undefined);
}

function parseRow(line: string): FaultRow | undefined {
  try {
    return rowSchema.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}

export function appendRow(row: FaultRow, file = rowsFile): void {
  mkdirSync(dirname(file), { recursive: true });
  appendFileSync(file, `${JSON.stringify(row)}\n`);
}

const exercised = [
  "src",
  "lab",
  "guest",
  "test/faults",
  "test/oracle",
  "test/nested/migration.test.ts",
  "package-lock.json",
] as const;

/** Identifies everything that a case exercises: the product, the lab, the guest, and the cases themselves. */
export function sourceHash(): string {
  const hash = createHash("sha256");
  for (const part of exercised) {
    for (const file of filesUnder(part)) {
      hash
        .update(file)
        .update("\0")
        .update(readFileSync(join(root, file)))
        .update("\0");
    }
  }
  return hash.digest("hex").slice(0, 16);
}

function filesUnder(part: string): string[] {
  if (statSync(join(root, part)).isFile()) return [part];
  return readdirSync(join(root, part), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith(".test.ts"))
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .toSorted();
}
