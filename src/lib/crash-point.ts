/**
 * Named places at which a fault test may end this process, so that "killed at every await" is a list taken from the code and
 * not a hope. Outside such a test a point is one comparison with undefined.
 *
 * VSTATION_CRASH_AT=<name> and VSTATION_CRASH_ONCE=<file>: the process sends itself SIGKILL at the first passage through
 * that point for which the file does not exist yet, and creates the file first, so that its restarted self passes.
 * With VSTATION_CRASH_BY=SIGSTOP it stops there instead, so that whatever else may end can be ended at that very moment.
 * Names are literals ("part.verb.place"): test/real/ collects them by reading the source, and fails for one that no run covers.
 */
import { writeFileSync } from "node:fs";

const target = process.env["VSTATION_CRASH_AT"];
const marker = process.env["VSTATION_CRASH_ONCE"];
const by = process.env["VSTATION_CRASH_BY"] === "SIGSTOP" ? "SIGSTOP" : "SIGKILL";

/** Ends the process here, or stops it, if a fault test asked for this very point. */
export function crashPoint(name: string): void {
  if (target !== name || marker === undefined) return;
  try {
    writeFileSync(marker, `${process.pid} ${name}\n`, { flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return;
    throw error;
  }
  process.kill(process.pid, by);
}
