/**
 * The end of being a host, and its beginning as the machine's operator sees it: `joined.json` in runDir says that VStation takes this
 * host's reports, and with which readiness; whoever installs waits for it. A host that was taken out clears itself away by the program
 * that came with it, never while anything of an instance is here: bookkeeping ends no guest.
 */
import { spawn } from "node:child_process";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Readiness } from "../api/agent.ts";
import type { Log } from "../lib/log.ts";

export class Membership {
  readonly #file: string;
  readonly #uninstall: readonly string[] | undefined;
  readonly #isEmpty: () => boolean;
  readonly #log: Log;
  #leaving = false;

  constructor(options: {
    runDir: string;
    uninstall: readonly string[] | undefined;
    /** Nothing of an instance is on this host, and that is known. */
    isEmpty: () => boolean;
    log: Log;
  }) {
    this.#file = join(options.runDir, "joined.json");
    this.#uninstall = options.uninstall;
    this.#isEmpty = options.isEmpty;
    this.#log = options.log;
    rmSync(this.#file, { force: true });
  }

  welcomed(readiness: Readiness): void {
    const temporary = `${this.#file}.new`;
    writeFileSync(temporary, `${JSON.stringify(readiness)}\n`, { mode: 0o644 });
    renameSync(temporary, this.#file);
  }

  /** True while this host clears itself away. */
  removed(): boolean {
    rmSync(this.#file, { force: true });
    if (this.#leaving) return true;
    if (!this.#isEmpty()) {
      this.#log.error("VStation has taken this host out, but instances are on it: they are left as they are");
      return false;
    }
    const [program, ...args] = this.#uninstall ?? [];
    if (program === undefined) {
      this.#log.warn("VStation has taken this host out; what is left here is whoever's who set it up");
      return false;
    }
    this.#leaving = true;
    this.#log.warn("VStation has taken this host out: clearing it away");
    // In a session of its own: it ends this process, among other things.
    const child = spawn(program, args, { stdio: "ignore", detached: true, cwd: "/" });
    child.once("error", (error) => {
      this.#leaving = false;
      this.#log.error({ err: error }, "could not clear this host away");
    });
    child.once("exit", () => (this.#leaving = false));
    child.unref();
    return true;
  }
}
