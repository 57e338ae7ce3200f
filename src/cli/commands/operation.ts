/** `operation list` and `operation show`: what was asked for, how far it is, how it ended. */
import type { Command } from "commander";
import type { OperationWire } from "../../api/native/resources.ts";
import { operationStates } from "../../core/instance.ts";
import { parseId } from "../../lib/ids.ts";
import { usageError } from "../exit.ts";
import type { Io } from "../io.ts";
import { idsOf, newestOperations, type OperationFilter } from "../resolve.ts";
import { age, facts, pad, printable, table } from "../table.ts";
import { collect, contextOf, exitOnFailed, maybeWait, oneOf, paintState, waitOptions, wholeNumber } from "./shared.ts";
import type { WaitFlags } from "./shared.ts";

interface ListFlags {
  instance?: string[];
  state?: string[];
  open?: boolean;
  limit: number;
}

export function addOperation(program: Command, io: Io): void {
  const operation = program.command("operation").alias("op").description("what was asked for, and how it went");
  const state = oneOf(operationStates);

  operation
    .command("list")
    .alias("ls")
    .description("list operations, newest first")
    .option("--instance <instance>", "of this instance (repeatable)", collect)
    .option("--state <state>", "in this state (repeatable)", (text, before: string[] | undefined) =>
      collect(state(text), before),
    )
    .option("--open", "only those that have not ended")
    .option("--limit <n>", "at most so many", wholeNumber(1, 500), 50)
    .action(async (flags: ListFlags, command: Command) => {
      const context = contextOf(io, command);
      const filter: OperationFilter = {
        state: flags.open === true ? ["PENDING", "RUNNING"] : (flags.state as OperationFilter["state"]),
        instanceId: flags.instance === undefined ? undefined : await idsOf(context.client, "instance", flags.instance),
      };
      const { total, operations } = await newestOperations(context.client, filter, flags.limit);
      const now = io.now();
      context.print({ total, operations }, () =>
        table<OperationWire>(
          [
            { title: "ID", value: ({ id }) => id },
            { title: "KIND", value: ({ kind }) => kind },
            { title: "INSTANCE", value: ({ instanceId }) => instanceId },
            { title: "STATE", value: (one) => one.state, paint: paintState(io) },
            { title: "STEP", value: ({ steps }) => steps.at(-1)?.name ?? null },
            { title: "AGE", value: (one) => age(one.createdAt, now) },
            { title: "REASON", value: ({ error }) => (error === null ? null : `${error.code}: ${error.message}`) },
          ],
          operations,
        ),
      );
    });

  waitOptions(operation.command("show"))
    .argument("<operation>", "id")
    .description("show an operation and its steps")
    .action(async (given: string, flags: WaitFlags, command: Command) => {
      const context = contextOf(io, command);
      const id = parseId("operation", given);
      if (id === undefined) throw usageError(`${given} is no operation id; \`./vstation operation list\` shows them`);
      const waited = await maybeWait(context, [id], flags);
      const found = waited?.[0] ?? (await context.client.call("operationGet", { params: { id } }));
      context.print(found, () => operationText(found));
      exitOnFailed(waited);
    });
}

function operationText(one: OperationWire): string {
  const head = facts([
    ["id", one.id],
    ["kind", one.kind],
    ["instance", one.instanceId],
    ["state", one.state],
    ["error", one.error === null ? null : `${one.error.message} (${one.error.code})`],
    ["created", one.createdAt],
    ["ended", one.endedAt],
    ["deadline", one.deadline],
    ["request id", one.requestId],
    ["account", one.accountId],
  ]);
  return `${head}\n${operationSteps(one)}`;
}

/** The steps, each with how long after the request it came. */
export function operationSteps(one: OperationWire): string {
  const start = Date.parse(one.createdAt);
  const names = Math.max(4, ...one.steps.map(({ name }) => name.length));
  const lines = one.steps.map(({ at, name, note }) => {
    const after = ((Date.parse(at) - start) / 1000).toFixed(3).padStart(9);
    return `  +${after} s  ${pad(printable(name), names)}  ${printable(note ?? "")}`.trimEnd();
  });
  const error = one.error === null ? "" : `  ${printable(one.error.message)} (${one.error.code})\n`;
  return `${one.kind} ${one.id}: ${one.state}\n${lines.join("\n")}${lines.length === 0 ? "" : "\n"}${error}`;
}
