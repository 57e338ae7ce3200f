/** `host drain` and `host undrain`: every guest that runs on a host goes elsewhere, and nothing new comes. */
import { Option, type Command } from "commander";
import type { HostWire } from "../../api/native/resources.ts";
import { migrationPolicies, type MigrationPolicy } from "../../core/migration/policy.ts";
import { drainText, isDrained, of, stuckText, waitForDrain } from "../drain-wait.ts";
import { Exit, exitCodes } from "../exit.ts";
import type { Io } from "../io.ts";
import { policyText } from "../migration-wait.ts";
import { idOf } from "../resolve.ts";
import { printable } from "../table.ts";
import { ceilingOption, contextOf, waitOptions, type WaitFlags } from "./shared.ts";

interface DrainFlags extends WaitFlags {
  policy?: MigrationPolicy;
  ceiling?: number;
}

export function addHostDrain(host: Command, io: Io): void {
  waitOptions(host.command("drain"))
    .argument("<host>", "id or name")
    .description(
      "move every running guest elsewhere, and place nothing new; asked again, also those that were given up",
    )
    .addOption(
      new Option(
        "--policy <policy>",
        "by which each guest is moved, as with `instance migrate`; asked again, another one is for the moves that have not begun (gentle when left out, or that of the drain where there is one)",
      ).choices(migrationPolicies),
    )
    .addOption(ceilingOption())
    .action(async (given: string, flags: DrainFlags, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "host", given);
      const request = { policy: flags.policy ?? null, ceilingMs: flags.ceiling ?? null };
      const begun = await context.client.call("hostDrain", { params: { id }, request });
      const shown = flags.wait === true ? await waitForDrain(context, id, flags.timeout * 1000) : begun;
      context.print(shown, () => resultText(given, shown, flags.wait === true));
      if (flags.wait === true && (shown.drain === null || !isDrained(shown.drain))) throw new Exit(exitCodes.failed);
    });

  host
    .command("undrain")
    .argument("<host>", "id or name")
    .description("end a drain and place on the host again; moves that have begun go on")
    .option("--cancel", "call those off, too")
    .action(async (given: string, flags: { cancel?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "host", given);
      const request = { cancel: flags.cancel === true };
      const changed = await context.client.call("hostUndrain", { params: { id }, request });
      context.print(changed, () => `${given} is not drained any more, and takes new instances.\n`);
    });
}

function resultText(given: string, { drain }: HostWire, isOver: boolean): string {
  if (drain === null) return `${given} is not drained any more: somebody ended it.\n`;
  if (!isOver) return `${given} is being drained by the policy ${policyText(drain)}: ${drainText(drain)}.\n`;
  const stuck = of(drain, "stuck").map((one) => `${printable(stuckText(one))}\n`);
  const stopped = of(drain, "stopped");
  const rest =
    stopped.length === 0 ? "" : `${stopped.length} stopped instances lie on it: they stay until they are ended.\n`;
  return `${given} ${isDrained(drain) ? "is drained" : "is not empty"}: ${drainText(drain)}.\n${stuck.join("")}${rest}`;
}
