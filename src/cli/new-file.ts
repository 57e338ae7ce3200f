/** Where something is put down that was not there: a secret that is shown only once, a picture. */
import { openSync } from "node:fs";
import { usageError } from "./exit.ts";

/** A new file for its owner alone; one that is there is not overwritten. */
export function openNew(file: string): number {
  try {
    return openSync(file, "wx", 0o600);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw usageError(code === "EEXIST" ? `${file} exists; it is not overwritten` : `cannot write there: ${message}`);
  }
}
