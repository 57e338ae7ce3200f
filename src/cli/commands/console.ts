/** `instance console`, `instance log`, and `events`: what comes out of guests and of the zone as it happens. */
import { stripVTControlCharacters } from "node:util";
import type { Command } from "commander";
import { followChanges } from "../../api/native/follow.ts";
import { changeSubjects } from "../../api/native/requests.ts";
import { attachConsole } from "../console.ts";
import type { Io } from "../io.ts";
import { idOf } from "../resolve.ts";
import { contextOf, oneOf, wholeNumber } from "./shared.ts";

export function addConsole(instance: Command, io: Io): void {
  instance
    .command("console")
    .argument("<instance>", "id or name")
    .description("the serial console; Ctrl-] leaves, a restart of the guest does not")
    .option("--history <bytes>", "past output to show first", wholeNumber(0, 1_048_576), 65_536)
    .option("--linger <seconds>", "with piped input: leave after so long a silence", wholeNumber(1, 3600), 2)
    .action(async (given: string, flags: { history: number; linger: number }, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "instance", given);
      const { history, linger } = flags;
      await attachConsole(context, id, { history, lingerMs: linger * 1000 });
    });

  instance
    .command("log")
    .argument("<instance>", "id or name")
    .description("the end of what the guest wrote to its serial console")
    .option("--bytes <n>", "from the end", wholeNumber(1, 1_048_576), 65_536)
    .action(async (given: string, flags: { bytes: number }, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "instance", given);
      const answer = await context.client.call("instanceConsoleLog", { params: { id }, query: { bytes: flags.bytes } });
      const text = Buffer.from(answer.data, "base64").toString("utf8");
      context.print({ instanceId: id, ...answer }, () => (io.outIsTty ? harmless(text) : text));
    });
}

export function addEvents(program: Command, io: Io): void {
  program
    .command("events")
    .description("follow changes of instances, operations and hosts; Ctrl-C leaves")
    .option("--since <id>", "begin behind this event")
    .option("--subject <subject>", "only of this kind", oneOf(changeSubjects))
    .action(async (flags: { since?: string; subject?: string }, command: Command) => {
      const context = contextOf(io, command);
      const follow = { signal: io.signal, ...(flags.since === undefined ? {} : { since: flags.since }) };
      for await (const item of followChanges(context.client, follow)) {
        if (item.is === "live") context.say("following changes");
        else if (flags.subject === undefined || item.event.subject === flags.subject) {
          const { id, at, subject, subjectId } = item.event;
          io.out(context.json ? `${JSON.stringify(item.event)}\n` : `${at}  ${id}  ${subject}  ${subjectId}\n`);
        }
      }
    });
}

/** A guest writes what it likes; on a person's terminal only text of it is shown. Through a pipe it goes as it is. */
function harmless(text: string): string {
  return stripVTControlCharacters(text).replace(/[^\P{Cc}\n\t]/gu, "");
}
