/** Loads a program's configuration: one JSON file, one schema, frozen; an unknown or missing key names the file and the key. */
import { readFileSync } from "node:fs";
import * as z from "zod";
import { wrap } from "./errors.ts";

export function loadConfig<S extends z.ZodType>(file: string, schema: S): Readonly<z.output<S>> {
  let raw: unknown;
  try {
    raw = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw wrap(`reading configuration ${file}`, error);
  }
  const parsed = schema.safeParse(raw);
  if (!parsed.success) throw new Error(`configuration ${file}: ${z.prettifyError(parsed.error)}`);
  return Object.freeze(parsed.data) as Readonly<z.output<S>>;
}
