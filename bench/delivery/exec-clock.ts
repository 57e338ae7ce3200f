/**
 * When a program's image was replaced by execve, by the kernel's own clock.
 *
 * `/proc/PID/stat` has it in ticks of 10 ms and `/proc/PID`'s own times are those of the first look. The tracepoint
 * `sched_process_exec` has it to the microsecond, on CLOCK_MONOTONIC when asked to, which is also what `process.hrtime` reads:
 * measured against spawn(), each event fell 1.0 to 1.6 ms after the call and before its return. The tracing instance is our own:
 * whoever else traces on this machine is not disturbed, and removing its directory removes all of it.
 */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../../lab/run.ts";

const tracefs = "/sys/kernel/tracing";

export interface Exec {
  /** As the machine's own pid namespace numbers it. */
  readonly pid: number;
  readonly file: string;
  /** ms on CLOCK_MONOTONIC, as `beatClock` in guest/beat-listener.ts. */
  readonly at: number;
}

export class ExecClock {
  readonly #dir: string;
  readonly #mounted: boolean;

  private constructor(dir: string, mounted: boolean) {
    this.#dir = dir;
    this.#mounted = mounted;
  }

  /** Starts recording. Needs root and a kernel with tracepoints (Debian's has them); throws with what is missing. */
  static async open(): Promise<ExecClock> {
    let mounted = false;
    if (readdirSync(tracefs).length === 0) {
      await run("mount", ["-t", "tracefs", "tracefs", tracefs]);
      mounted = true;
    }
    const dir = join(tracefs, "instances", `vstation-bench-${process.pid}`);
    mkdirSync(dir);
    const clock = new ExecClock(dir, mounted);
    try {
      writeFileSync(join(dir, "trace_clock"), "mono");
      writeFileSync(join(dir, "buffer_size_kb"), "512");
      writeFileSync(join(dir, "events/sched/sched_process_exec/enable"), "1");
    } catch (error) {
      await clock.close();
      throw error;
    }
    return clock;
  }

  /** Forgets what was recorded: call between measurements, the buffer holds some thousand events. */
  clear(): void {
    writeFileSync(join(this.#dir, "trace"), "");
  }

  /** Everything that was executed since the last {@link clear}, oldest first. */
  read(): Exec[] {
    return parseTrace(readFileSync(join(this.#dir, "trace"), "utf8"));
  }

  /** When this process last became what it is. */
  timeOf(pid: number): number {
    const exec = this.read().findLast((each) => each.pid === pid);
    if (exec === undefined) throw new Error(`the kernel recorded no execve of process ${pid}`);
    return exec.at;
  }

  async close(): Promise<void> {
    rmdirSync(this.#dir);
    if (this.#mounted) await run("umount", [tracefs]);
  }
}

/** The text of a `trace` file with the clock `mono`; lines of other events are left out. */
export function parseTrace(text: string): Exec[] {
  return [...text.matchAll(/\s(\d+\.\d+): sched_process_exec: filename=(.*) pid=(\d+) old_pid=\d+$/gm)].map(
    ([, seconds, file, pid]) => ({ pid: Number(pid), file: file ?? "", at: Number(seconds) * 1000 }),
  );
}
