/** The crash points of the source, read from the source: what the fault tests must cover is a list taken from the code. */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";

export const root = join(import.meta.dirname, "../..");

export interface CrashPoint {
  /** `part.verb.place`, unique. */
  readonly name: string;
  /** Where it stands, relative to the repository. */
  readonly file: string;
  /** The program that passes it. */
  readonly program: "vstation" | "compute";
}

/** Every `crashPoint("...")` under src/, tests and the definition itself aside. Throws for a name that is no literal. */
export function crashPoints(): CrashPoint[] {
  const found: CrashPoint[] = [];
  for (const file of readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).toSorted()) {
    if (!file.endsWith(".ts") || file.endsWith(".test.ts") || file === "lib/crash-point.ts") continue;
    const path = join(root, "src", file);
    found.push(...pointsIn(relative(root, path), readFileSync(path, "utf8")));
  }
  return found;
}

export function pointsIn(file: string, text: string): CrashPoint[] {
  return [...text.matchAll(/\bcrashPoint\(\s*([^)]*?),?\s*\)/g)].map(([call, argument]) => {
    const name = /^"([a-z0-9-]+(?:\.[a-z0-9-]+)+)"$/.exec(argument ?? "")?.[1];
    if (name === undefined) throw new Error(`${file}: ${call}: the name must be a literal "part.verb.place"`);
    return { name, file, program: programOf(file) };
  });
}

function programOf(file: string): CrashPoint["program"] {
  if (file.startsWith("src/vstation/")) return "vstation";
  if (file.startsWith("src/compute/") || file.startsWith("src/libvirt/")) return "compute";
  throw new Error(`${file} holds a crash point, but no long-lived program of its own passes there`);
}
