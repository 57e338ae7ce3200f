/** The test's hand on the awaits of a lab's programs: arm some, learn which struck and which were come by. See orders.ts. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import type { LabSession } from "../../../bench/lab-session.ts";
import { writeWhole, type Home } from "../../../lab/home.ts";
import { signal } from "../../../lab/processes.ts";
import { TestLab } from "../../../lab/testing.ts";
import { expectThat, until } from "../../until.ts";
import { hitFile, ordersFile, variable, visitedFile, type Orders } from "./orders.ts";

const hook = join(import.meta.dirname, "hook.ts");

/** Settings under which VStation and Compute load the hook from their next start on. */
export function awaitSettings(folder: string): Record<string, string> {
  return {
    [variable]: folder,
    // One word: a host's shell reads these lines as its own.
    NODE_OPTIONS: `--import=${pathToFileURL(hook).href}`,
  };
}

export class Awaits {
  readonly folder: string;
  readonly #lab: TestLab;
  #number = 0;

  /** Of a lab whose programs have been, or will be, started with {@link awaitSettings} of `folderOf` its home. */
  constructor(lab: TestLab) {
    this.#lab = lab;
    this.folder = folderOf(lab.home);
    mkdirSync(join(this.folder, "hits"), { recursive: true });
  }

  /** Written for programs that are yet to start; those that run are told by {@link tell}. */
  order(orders: Pick<Orders, "steps" | "moment" | "victim">): void {
    this.#number++;
    rmSync(join(this.folder, "hits"), { recursive: true });
    mkdirSync(join(this.folder, "hits"));
    const all: Orders = { number: this.#number, home: this.#lab.home.path, ...orders };
    writeWhole(ordersFile(this.folder), JSON.stringify(all), 0o600);
  }

  /** Makes every running program read the orders; returns the steps that they have come by since they were told last. */
  async tell(lab: LabSession): Promise<Set<string>> {
    const parts = ["vstation", ...lab.hosts.map(({ name }) => `${name}/compute`)];
    const visited = new Set(this.#left(this.#number - 1));
    for (const part of parts) {
      const who = part.split("/")[0] ?? part;
      const file = visitedFile(this.folder, this.#number, who);
      await until(
        `${part} has read its orders`,
        () => {
          // A program that has just been started does not listen yet, and a signal would end it: it is asked when it is ready.
          const pid = this.#lab.pidOf(part);
          expectThat(pid !== undefined, `${part} is away`);
          if (!existsSync(file) && pid !== undefined && hears(pid)) signal(pid, "SIGUSR2");
          expectThat(existsSync(file), "no answer yet");
          return true;
        },
        30_000,
      );
      for (const step of JSON.parse(readFileSync(file, "utf8")) as string[]) visited.add(step);
    }
    return visited;
  }

  /** What programs came by that have ended by themselves under this order. */
  #left(number: number): string[] {
    const folder = dirname(visitedFile(this.folder, number, "any"));
    if (!existsSync(folder)) return [];
    return readdirSync(folder)
      .filter((name) => name.endsWith(".left"))
      .flatMap((name) => JSON.parse(readFileSync(join(folder, name), "utf8")) as string[]);
  }

  /** Of these steps, those at which something was killed since the last order. */
  struck(steps: readonly string[]): string[] {
    return steps.filter((step) => existsSync(hitFile(this.folder, step)));
  }
}

export function folderOf(home: Home): string {
  return join(home.path, "awaits");
}

/** The process catches SIGUSR2 (12): bit 11 of the mask that the kernel shows. */
function hears(pid: number): boolean {
  try {
    const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return mask !== undefined && (BigInt(`0x${mask}`) & (1n << 11n)) !== 0n;
  } catch {
    return false; // it has gone
  }
}
