/**
 * Runs a program on a file that a stranger brought, with as little as it needs: an own user without rights, no network (an empty
 * network namespace), no way to more privileges, and limits on time, processor, memory, and the size of what it writes.
 *
 * The chain `unshare` -> `setpriv` -> `prlimit` -> program is one process all along (each executes the next), so killing it is
 * killing all there is, and the kernel kills it when this process dies (`--pdeathsig`). It works in one folder that is its own; the
 * folder's parents belong to root alone, so paths are relative to where it starts.
 *
 * Needs root, to give up rights: a VStation without it could at best share its own, with the database's password among them.
 */
import { spawn } from "node:child_process";
import { ImportRefusal } from "../../core/image.ts";

/** Of no account; files of the work folder belong to it while the program runs. */
export const confinedUid = 64_717;

export interface Limits {
  /** Wall clock. */
  readonly ms: number;
  readonly cpuSeconds: number;
  readonly memoryBytes: number;
  /** Of one file that it writes. */
  readonly fileBytes: number;
}

export interface Confined {
  readonly program: string;
  readonly args: readonly string[];
  readonly directory: string;
  readonly limits: Limits;
  readonly signal: AbortSignal;
  /** Called with what it writes to its standard output. */
  readonly onOutput?: (text: string) => void;
}

export interface Outcome {
  readonly code: number | null;
  readonly killedBy: NodeJS.Signals | null;
  /** The end of both its outputs. */
  readonly said: string;
  readonly late: boolean;
}

const longestTail = 4_000;

/** Resolves when the program is gone, however it ended. */
export async function runConfined(it: Confined): Promise<Outcome> {
  if (process.getuid?.() !== 0) {
    throw new ImportRefusal(
      "ConversionFailed",
      "images can be converted only where VStation runs as root, to give rights up",
    );
  }
  const { limits } = it;
  const id = String(confinedUid);
  const late = AbortSignal.timeout(limits.ms);
  const command = [
    ...["--net", "--ipc", "--"],
    ...["setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--no-new-privs"],
    ...["--inh-caps=-all", "--bounding-set=-all", "--pdeathsig", "KILL", "--"],
    ...["prlimit", `--as=${limits.memoryBytes}`, `--cpu=${limits.cpuSeconds}`, `--fsize=${limits.fileBytes}`],
    ...["--core=0", "--nofile=64", "--nproc=64", "--", "nice", "-n", "10"],
    ...[it.program, ...it.args],
  ];
  const child = spawn("unshare", command, {
    cwd: it.directory,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
    stdio: ["ignore", "pipe", "pipe"],
    signal: AbortSignal.any([it.signal, late]),
    killSignal: "SIGKILL",
  });
  let said = "";
  const hear = (text: Buffer): void => {
    said = (said + text.toString()).slice(-longestTail);
  };
  child.stdout.on("data", (text: Buffer) => {
    hear(text);
    it.onOutput?.(text.toString());
  });
  child.stderr.on("data", hear);
  return new Promise((resolve, reject) => {
    // An abort is told as an error before the process is gone; only its end is the end.
    child.on("error", (error) => {
      if (child.pid === undefined) reject(error);
    });
    child.on("close", (code, killedBy) => resolve({ code, killedBy, said: said.trim(), late: late.aborted }));
  });
}
