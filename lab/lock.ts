/**
 * Locks between processes, by flock(2) through util-linux's `flock`: Node has no call for it. The lock lives in a helper that
 * ends when our end of its standard input closes, and that end closes with this process however it dies.
 */
import { spawn } from "node:child_process";

export interface FileLock {
  release(): Promise<void>;
}

/** Takes the lock on a file or directory; undefined when another process still holds it after `waitSeconds`. */
export async function takeLock(path: string, waitSeconds: number): Promise<FileLock | undefined> {
  const patience = waitSeconds === 0 ? ["--nonblock"] : ["--wait", String(waitSeconds)];
  // A session of its own: Ctrl-C in the terminal must not take the lock away while the lab is still powering off.
  const helper = spawn("flock", [...patience, "-E", "75", "--no-fork", path, "sh", "-c", "echo held; exec cat"], {
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    helper.once("error", reject);
    helper.once("close", (code) => resolve(code));
  });
  helper.stdin.on("error", () => {
    // Closed by the helper's own end, which `ended` reports.
  });
  let complaint = "";
  helper.stderr.on("data", (text: Buffer) => (complaint += text.toString()));
  const held = new Promise<true>((resolve) => helper.stdout.once("data", () => resolve(true)));

  const outcome = await Promise.race([held, ended]);
  if (outcome === true) {
    return {
      release: async () => {
        helper.stdin.end();
        await ended;
      },
    };
  }
  if (outcome === 75) return undefined;
  throw new Error(`taking the lock on ${path}: flock ended with ${outcome}: ${complaint.trim()}`);
}

/** Runs `work` as the only lab on this machine that changes links, rules or sysctls. */
export async function withMachineLock<T>(work: () => Promise<T>): Promise<T> {
  // A directory that is always there and that nobody else locks; nothing is left behind.
  const lock = await takeLock("/run", 60);
  if (lock === undefined)
    throw new Error("another lab has been changing this machine's network for a minute; try again");
  try {
    return await work();
  } finally {
    await lock.release();
  }
}
