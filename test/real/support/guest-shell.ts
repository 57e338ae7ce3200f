/** The root shell on a tiny guest's serial console, as a test types into it: a line in, what it printed out. */
import type { InstanceId } from "../../../src/lib/ids.ts";
import { until } from "../../until.ts";
import type { FakeHostSession } from "./fake-vstation.ts";

export class GuestShell {
  readonly #session: FakeHostSession;
  readonly #name: string;
  #lines = 0;

  private constructor(session: FakeHostSession, name: string) {
    this.#session = session;
    this.#name = name;
  }

  /** Opens the console; the guest must have booted. */
  static async open(session: FakeHostSession, instanceId: InstanceId, name: string): Promise<GuestShell> {
    await session.ask({ kind: "console.open", instanceId, session: name });
    const shell = new GuestShell(session, name);
    await shell.run("stty -echo; PS1=");
    return shell;
  }

  /** What the line printed. The mark's halves meet only in the guest, so an echo of the line is not taken for its end. */
  async run(line: string, patienceMs = 60_000): Promise<string> {
    const number = ++this.#lines;
    const from = this.#session.output.get(this.#name)?.length ?? 0;
    this.#session.type(this.#name, `${line}; echo "end-"of-${number}\n`);
    const end = `end-of-${number}\r\n`;
    const text = (): string => (this.#session.output.get(this.#name) ?? "").slice(from);
    await until(`the guest to have run: ${line}`, () => text().includes(end), patienceMs);
    return text().slice(0, text().indexOf(end)).replaceAll("\r", "");
  }

  /** Runs the line again and again until what it prints passes. */
  async until(line: string, passes: (printed: string) => boolean, patienceMs = 60_000): Promise<string> {
    let printed = "";
    for (const end = performance.now() + patienceMs; performance.now() < end;) {
      printed = await this.run(line);
      if (passes(printed)) return printed;
    }
    throw new Error(`the guest's answer to "${line}" stayed: ${printed}`);
  }
}
