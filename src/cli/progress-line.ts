/** One line that rewrites itself on a terminal, a line per change elsewhere; nothing for programs. */
import type { Context } from "./context.ts";
import { printable } from "./table.ts";

export const outOfReach = "VStation is out of reach; trying again";

export class ProgressLine {
  readonly #context: Context;
  readonly #start = performance.now();
  #last = "";
  #shown = false;

  constructor(context: Context) {
    this.#context = context;
  }

  /** Whole seconds since it began. */
  get seconds(): number {
    return Math.floor((performance.now() - this.#start) / 1000);
  }

  show(text: string): void {
    const { io, json } = this.#context;
    if (json) return;
    if (io.errIsTty) return this.rewrite(`${text} (${this.seconds} s)`);
    if (text !== this.#last) io.err(`${printable(text)}\n`);
    this.#last = text;
  }

  /** At a terminal only. */
  rewrite(text: string): void {
    const { io, json } = this.#context;
    if (json || !io.errIsTty) return;
    const { columns } = io.stdout;
    io.err(`\r\x1b[K${printable(text).slice(0, Math.max(20, columns > 0 ? columns - 1 : 79))}`);
    this.#shown = true;
  }

  end(): void {
    if (this.#shown) this.#context.io.err("\r\x1b[K");
    this.#shown = false;
  }
}
