/** What several commands have in common: option parsers, the wait, and the look of states. */
import { InvalidArgumentError, Option, type Command } from "commander";
import type { InstanceWire, OperationWire } from "../../api/native/resources.ts";
import { ceilingBoundsMs, defaultCeilingMs } from "../../core/migration/policy.ts";
import { Failure } from "../../lib/errors.ts";
import type { OperationId } from "../../lib/ids.ts";
import { Context, type GlobalOptions } from "../context.ts";
import { Exit, exitCodes } from "../exit.ts";
import { paint, type Io } from "../io.ts";
import { Progress } from "../progress.ts";
import { waitForOperations } from "../wait.ts";

/** The context of the command that commander calls an action with. */
export function contextOf(io: Io, command: Command): Context {
  return new Context(io, command.optsWithGlobals<GlobalOptions>());
}

export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`a whole number from ${min} to ${max} is needed`);
  };
}

export function collect(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), text];
}

/** A word of a fixed set, in any case; `-` and `_` are one. */
export function oneOf<T extends string>(words: readonly T[]): (text: string) => T {
  const plain = (text: string): string => text.toLowerCase().replaceAll("-", "_");
  return (text) => {
    const found = words.find((word) => plain(word) === plain(text));
    if (found !== undefined) return found;
    throw new InvalidArgumentError(`it is one of ${words.join(", ")}`);
  };
}

/** Of what moves running guests. */
export function ceilingOption(): Option {
  const { least, most } = ceilingBoundsMs;
  return new Option(
    "--ceiling <ms>",
    `the longest pause that --policy finish may plan with, ${least} to ${most} (${defaultCeilingMs} when left out)`,
  ).argParser(wholeNumber(least, most));
}

export interface WaitFlags {
  wait?: boolean;
  timeout: number;
}

export function waitOptions(command: Command): Command {
  return command
    .option("-w, --wait", "wait for the end, showing each step")
    .option("--timeout <seconds>", "how long --wait waits", wholeNumber(1, 86_400), 600);
}

/** Waits if that was asked for; a failed operation becomes exit code 1 after everything is said. */
export async function maybeWait(
  context: Context,
  ids: readonly OperationId[],
  flags: WaitFlags,
): Promise<OperationWire[] | undefined> {
  if (flags.wait !== true) return undefined;
  const progress = new Progress(context, ids.length);
  const operations = await waitForOperations(context.client, ids, {
    signal: context.io.signal,
    timeoutMs: flags.timeout * 1000,
    onUpdate: (operation) => progress.update(operation),
    onBreak: () => progress.broken(),
  });
  progress.end(operations);
  return operations;
}

export function exitOnFailed(operations: readonly OperationWire[] | undefined): void {
  if (operations?.some(({ state }) => state === "FAILED") === true) throw new Exit(exitCodes.failed);
}

/** Asks before something that cannot be undone; where nobody can answer, the command line itself was the answer. */
export async function confirmed(context: Context, yes: boolean | undefined, question: string): Promise<void> {
  if (yes === true || context.json) return;
  if ((await context.io.confirm(question)) === false) {
    throw new Failure("conflict", "NotConfirmed", "nothing was done");
  }
}

export function paintState(io: Io): (text: string, row: { state: string }) => string {
  return (text, { state }) => {
    switch (state) {
      case "RUNNING":
      case "SUCCEEDED":
      case "ready":
        return paint(io, "green", text);
      case "LAUNCH_FAILED":
      case "FAILED":
      case "unreachable":
        return paint(io, "red", text);
      case "STOPPED":
        return paint(io, "dim", text);
      default:
        return paint(io, "yellow", text);
    }
  };
}

/** The state in a word; `?` behind it: the host is out of reach, this is what was last seen. */
export function stateText(instance: InstanceWire): string {
  return instance.stale ? `${instance.state}?` : instance.state;
}
