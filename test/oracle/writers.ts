/**
 * Two machines must never write to one disk: looked at from outside, by the kernel's own record of who writes (writers.c), so that
 * neither QEMU's lock nor anything of ours vouches for itself.
 *
 * A machine that has followed another one may write; one that was followed may not any more, whether it is killed later or not.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { run } from "../../lab/run.ts";
import { gone } from "../../lab/processes.ts";

/** One change of writer. */
export interface Turn {
  readonly file: string;
  readonly pid: number;
  readonly program: string;
}

export class Writers {
  readonly #files: readonly string[];
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #turns: Turn[] = [];
  #ended: string | undefined;

  private constructor(files: readonly string[], folder: string, child: ChildProcess) {
    this.#files = files;
    this.#folder = folder;
    this.#child = child;
  }

  /** Looks from now on. Needs root. */
  static async watch(files: readonly string[]): Promise<Writers> {
    const folder = mkdtempSync(join(tmpdir(), "vstation-writers-"));
    const program = join(folder, "writers");
    await run("gcc", ["-std=gnu11", "-O2", "-Wall", "-Werror", "-o", program, join(import.meta.dirname, "writers.c")]);
    const child = spawn(program, files, { stdio: ["ignore", "pipe", "inherit"] });
    const writers = new Writers(files, folder, child);
    await writers.#begin();
    return writers;
  }

  #begin(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#child.once("exit", (code) => {
        this.#ended = `nobody looks at who writes any more (exit code ${code})`;
        reject(new Error(this.#ended));
      });
      createInterface({ input: this.#child.stdout ?? process.stdin }).on("line", (line) => {
        if (line === "ready") resolve();
        const turn = /^(\d+) (\d+) (.*)$/.exec(line);
        if (turn === null) return;
        const [, file, pid, program = ""] = turn;
        this.#turns.push({ file: this.#files[Number(file)] ?? "", pid: Number(pid), program });
      });
    });
  }

  /** Machines that wrote, in their order; other programs (those that make and grow disks) are not machines. */
  get turns(): readonly Turn[] {
    return this.#turns.filter(({ program }) => program.startsWith("qemu-system"));
  }

  /** Throws if a machine has written after another one had followed it, or if nobody has looked. */
  check(): void {
    if (this.#ended !== undefined) throw new Error(this.#ended);
    const twice = twoWriters(this.turns);
    if (twice.length > 0) throw new Error(`two machines write to one disk: ${twice.join("; ")}`);
  }

  async end(): Promise<void> {
    const { pid } = this.#child;
    this.#child.removeAllListeners("exit");
    this.#child.kill("SIGKILL");
    if (pid !== undefined) await gone([pid], 5_000);
    rmSync(this.#folder, { recursive: true });
  }
}

/** For people, what is wrong with these turns; empty: each machine wrote in one go. */
export function twoWriters(turns: readonly Turn[]): string[] {
  const complaints: string[] = [];
  const before = new Map<string, number[]>();
  for (const { file, pid } of turns) {
    const earlier = before.get(file) ?? [];
    if (earlier.includes(pid) && earlier.at(-1) !== pid)
      complaints.push(`${file}: ${pid} wrote again after ${earlier.at(-1)}`);
    before.set(file, [...earlier, pid]);
  }
  return complaints;
}
