/**
 * What the long loops remember: one JSON line per case that ended, under test/results/ (not in git). A case that passed with the
 * present source is not run again; any change of the source makes every row old.
 */
import { createHash } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as z from "zod";
import { root } from "./points.ts";

export const rowsFile = join(root, "test/results/faults.jsonl");

const rowSchema = z.strictObject({
  at: z.string(),
  source: z.string(),
  case: z.string(),
  seed: z.int(),
  outcome: z.enum(["passed", "failed"]),
  seconds: z.number(),
  /** Of a failure: what was wrong, and where the lab's logs were kept. */
  message: z.string().optional(),
});
export type FaultRow = z.infer<typeof rowSchema>;

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

/** Identifies everything that a case exercises: the product, the lab, the guest, and the cases themselves. */
export function sourceHash(): string {
  const hash = createHash("sha256");
  for (const part of ["src", "lab", "guest", "test/faults", "package-lock.json"]) {
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
  if (part.endsWith(".json")) return [part];
  return readdirSync(join(root, part), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith(".test.ts"))
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .toSorted();
}
