/**
 * Runs a program on a file that a stranger brought, with as little as it needs: an own user without rights, no network, no way to more
 * privileges, and limits on time, processor, memory, and the size of what it writes. In the folder where it works it can do nothing but
 * read what it is lent, and fill the files that are there for it.
 *
 * A VStation that is root (a lab's) gives up rights itself. The chain `unshare` -> `setpriv` -> `prlimit` -> program is one process all along
 * (each executes the next), so killing it is killing all there is, and the kernel kills it when this process dies (`--pdeathsig`). The
 * folder's parents belong to root alone, so paths are relative to where it starts. One without rights has none to give up, and
 * could at best share its own, with the database's password among them: it asks systemd (confined-service.ts).
 */
import { spawn } from "node:child_process";
import { chmod, chown, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { ImportRefusal } from "../../core/image.ts";
import { readIfThere } from "../../lib/files.ts";
import { longestTail, runByService } from "./confined-service.ts";

/** Of no account, for a VStation that is root: user and group of what it runs. */
export const confinedId = 64_717;
/** The group of what systemd runs, and VStation is in it. */
const serviceGroup = "vstation-convert";

const isRoot = (): boolean => process.getuid?.() === 0;

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
  /** Called with what it writes. */
  readonly onOutput?: (text: string) => void;
}

export interface Outcome {
  readonly code: number | null;
  readonly killedBy: NodeJS.Signals | null;
  /** The end of both its outputs. */
  readonly said: string;
  readonly late: boolean;
}

/**
 * Lets what runs in `folder`, which is `.import/ID`, read `source` and fill `made`, which are made anew and empty; of the folder's
 * other files it cannot even learn the names.
 */
export async function lend(folder: string, source: string, made: readonly string[]): Promise<void> {
  const group = isRoot() ? confinedId : await groupId(serviceGroup);
  const give = async (file: string, mode: number): Promise<void> => {
    await chown(file, process.getuid?.() ?? 0, group);
    await chmod(file, mode);
  };
  try {
    await give(join(folder, ".."), 0o710);
    await give(folder, 0o710);
    await give(join(folder, source), 0o640);
    for (const name of made) {
      await rm(join(folder, name), { force: true });
      await (await open(join(folder, name), "wx", 0o600)).close();
      await give(join(folder, name), 0o660);
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EPERM") throw cause;
    const message = `the folder of images does not let VStation give files to the group ${serviceGroup}, for whom they are converted`;
    throw new ImportRefusal("ConversionFailed", message, cause);
  }
}

/** From here on it is nobody's but ours, and never written to. */
export async function takeBack(file: string): Promise<void> {
  await chown(file, process.getuid?.() ?? 0, process.getgid?.() ?? 0);
  await chmod(file, 0o644);
}

async function groupId(name: string): Promise<number> {
  const line = new RegExp(`^${name}:[^:]*:(\\d+):`, "m").exec((await readIfThere("/etc/group")) ?? "");
  if (line !== null) return Number(line[1]);
  const message = `images are converted by a group ${name}, which is not there: docs/install.md says how it is set up`;
  throw new ImportRefusal("ConversionFailed", message);
}

/** Resolves when the program is gone, however it ended. */
export async function runConfined(it: Confined): Promise<Outcome> {
  const { limits } = it;
  const late = AbortSignal.timeout(limits.ms);
  const bounds = [`--as=${limits.memoryBytes}`, `--cpu=${limits.cpuSeconds}`, `--fsize=${limits.fileBytes}`];
  if (!isRoot()) return runByService(it, [it.directory, bounds.join(" "), it.program, ...it.args], late);
  const id = String(confinedId);
  const command = [
    ...["--net", "--ipc", "--"],
    ...["setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--no-new-privs"],
    ...["--inh-caps=-all", "--bounding-set=-all", "--pdeathsig", "KILL", "--"],
    ...["prlimit", ...bounds, "--core=0", "--nofile=64", "--nproc=64", "--", "nice", "-n", "10"],
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
