/** `doctor`: what is wrong with this set-up, and what to do about it. */
import { writeFileSync } from "node:fs";
import type { Command } from "commander";
import { bundle } from "../doctor/bundle.ts";
import { diagnose } from "../doctor/doctor.ts";
import type { Finding } from "../doctor/finding.ts";
import { Exit, exitCodes, usageError } from "../exit.ts";
import { paint, type Io } from "../io.ts";
import { pad, printable, width } from "../table.ts";
import { contextOf } from "./shared.ts";

export function addDoctor(program: Command, io: Io): void {
  program
    .command("doctor")
    .description("look for what is wrong with this set-up; each finding says what to do next")
    .option("--bundle <file>", "collect findings, state and logs, without secrets, into this .tar.gz")
    .option("-v, --verbose", "show what is well, too")
    .action(async (flags: { bundle?: string; verbose?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const diagnosis = await diagnose(context);
      const { findings } = diagnosis;
      if (flags.bundle !== undefined) {
        const bytes = await bundle(context.home, diagnosis, new Date(io.now()));
        try {
          writeFileSync(flags.bundle, bytes, { mode: 0o600, flag: "wx" });
        } catch (error) {
          throw usageError(`--bundle ${flags.bundle}: ${(error as Error).message}`);
        }
      }
      const errors = findings.filter(({ level }) => level === "error").length;
      const document = { ok: errors === 0, findings, bundle: flags.bundle ?? null };
      context.print(document, () => findingsText(io, findings, flags.verbose === true));
      if (flags.bundle !== undefined) context.say(`${flags.bundle}: look through it before you send it`);
      if (errors > 0) throw new Exit(exitCodes.failed);
    });
}

const marks = { ok: "ok     ", warning: "warning", error: "ERROR  " } as const;
const colors = { ok: "green", warning: "yellow", error: "red" } as const;

function findingsText(io: Io, findings: readonly Finding[], verbose: boolean): string {
  const shown = findings.filter(({ level }) => verbose || level !== "ok");
  const columns = Math.max(0, ...shown.map(({ check }) => width(printable(check))));
  const lines = shown.map(({ check, level, message, next }) => {
    const head = `${paint(io, colors[level], marks[level])}  ${pad(printable(check), columns)}  ${printable(message)}\n`;
    return next === null ? head : `${head}         ${" ".repeat(columns)}  next: ${printable(next)}\n`;
  });
  const count = (level: Finding["level"]): number => findings.filter((one) => one.level === level).length;
  const sum = `${findings.length} checks: ${count("error")} errors, ${count("warning")} warnings\n`;
  return `${lines.join("")}${lines.length === 0 ? "" : "\n"}${sum}`;
}
