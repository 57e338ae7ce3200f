/** How a wait is shown: one line that rewrites itself on a terminal, one line per step elsewhere; nothing for programs. */
import type { OperationWire } from "../api/native/resources.ts";
import type { Context } from "./context.ts";
import { outOfReach, ProgressLine } from "./progress-line.ts";
import { printable } from "./table.ts";
import { ended } from "./wait.ts";

export class Progress {
  readonly #context: Context;
  readonly #line: ProgressLine;
  readonly #steps = new Map<string, number>();
  readonly #latest = new Map<string, OperationWire>();
  readonly #total: number;

  constructor(context: Context, total: number) {
    this.#context = context;
    this.#line = new ProgressLine(context);
    this.#total = total;
  }

  update(operation: OperationWire): void {
    if (this.#context.json) return;
    this.#latest.set(operation.id, operation);
    const told = this.#steps.get(operation.id) ?? 0;
    this.#steps.set(operation.id, operation.steps.length);
    if (this.#context.io.errIsTty) this.#rewrite(operation);
    else this.#lines(operation, told);
  }

  broken(): void {
    this.#line.rewrite(outOfReach);
  }

  /** Leaves the line as it is when all went well, and the reasons of what failed under it. */
  end(operations: readonly OperationWire[]): void {
    this.#line.end();
    if (this.#context.json) return;
    for (const { error, ...operation } of operations) {
      if (error === null) continue;
      const text = printable(`${operation.instanceId}: ${operation.kind} failed: ${error.message} (${error.code})`);
      this.#context.io.err(`${text}\n`);
    }
  }

  #lines(operation: OperationWire, told: number): void {
    for (const step of operation.steps.slice(told)) this.#context.say(`${subject(operation)}: ${stepText(step)}`);
    if (operation.state === "SUCCEEDED") this.#context.say(`${subject(operation)}: done after ${this.#line.seconds} s`);
  }

  #rewrite(operation: OperationWire): void {
    const done = [...this.#latest.values()].filter(ended).length;
    const step = operation.steps.at(-1);
    const what = step === undefined ? operation.state.toLowerCase() : stepText(step);
    const count = this.#total > 1 ? `${done}/${this.#total} done, ` : "";
    this.#line.rewrite(`${count}${subject(operation)}: ${what} (${this.#line.seconds} s)`);
  }
}

function subject(operation: OperationWire): string {
  return `${operation.instanceId} ${operation.kind.replace(/^instance\./, "")}`;
}

function stepText(step: OperationWire["steps"][number]): string {
  return printable(step.note === null || step.note === "" ? step.name : `${step.name}: ${step.note}`);
}
