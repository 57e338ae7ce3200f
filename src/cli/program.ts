/** The tree of commands; docs/cli.md and the shell completion are made from it. */
import { Command, CommanderError } from "commander";
import { Failure } from "../lib/errors.ts";
import { addAccount } from "./commands/account.ts";
import { addAudit } from "./commands/audit.ts";
import { addCatalogue } from "./commands/catalogue.ts";
import { addCompletion } from "./commands/completion.ts";
import { addConsole, addEvents } from "./commands/console.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addHost } from "./commands/host.ts";
import { addInstanceActions } from "./commands/instance-actions.ts";
import { addInstanceReads } from "./commands/instance-list.ts";
import { addMigrate, addMigration } from "./commands/migration.ts";
import { addNetworks } from "./commands/network.ts";
import { addOperation } from "./commands/operation.ts";
import { addStorage } from "./commands/storage.ts";
import { Exit, exitCodes, explain } from "./exit.ts";
import type { Io } from "./io.ts";
import { version } from "./version.ts";

/** `forPrograms`: a mistake in the command line is told by who runs it, as JSON. */
export function buildProgram(io: Io, forPrograms = false): Command {
  const program = new Command("vstation");
  program
    .description("operate a VStation zone: instances, disks, networks, hosts, operations")
    .option("--home <folder>", "folder that has credentials.json; else $VSTATION_HOME, else .vstation")
    .option("--account <account>", "act for this account and see its things only; else act for `default` and see all")
    .option("--json", "one JSON document for programs instead of text for people")
    .version(version, "-V, --version", "the release")
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => (forPrograms ? undefined : io.err(text)) })
    .showHelpAfterError("(--help shows how)")
    .exitOverride();

  const instance = program.command("instance").alias("i").description("virtual machines");
  addInstanceActions(instance, io);
  addMigrate(instance, io);
  addInstanceReads(instance, io);
  addConsole(instance, io);
  addHost(program, io);
  addOperation(program, io);
  addMigration(program, io);
  addStorage(program, io);
  addNetworks(program, io);
  addCatalogue(program, io);
  addEvents(program, io);
  addAccount(program, io);
  addAudit(program, io);
  addDoctor(program, io);
  addCompletion(program, io);
  return program;
}

/** Runs one command line (without the program's own name) and returns the exit code; everything is said through `io`. */
export async function runCli(args: readonly string[], io: Io): Promise<number> {
  const forPrograms = args.includes("--json");
  const tell = (text: string, json: Record<string, unknown>): void =>
    io.err(forPrograms ? `${JSON.stringify({ error: json })}\n` : text);
  try {
    await buildProgram(io, forPrograms).parseAsync([...args], { from: "user" });
    return exitCodes.ok;
  } catch (error) {
    if (error instanceof Exit) return error.code;
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return exitCodes.ok;
      // To people commander has said it already.
      tell("", { kind: "invalid", code: "Usage", message: error.message.replace(/^error: /, "") });
      return exitCodes.usage;
    }
    if (io.signal.aborted && !(error instanceof Failure)) {
      const message = "interrupted; what was accepted goes on";
      tell(`${message}\n`, { kind: "unavailable", code: "Interrupted", message });
      return exitCodes.interrupted;
    }
    const { code, text, json } = explain(error);
    tell(text, json);
    return code;
  }
}
