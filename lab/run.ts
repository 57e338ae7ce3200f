/** Short-lived programs of the operating system (ip, nft, mkfifo): always with a deadline, and an error that quotes them. */
import { spawn } from "node:child_process";

export interface RunOptions {
  readonly input?: string;
  readonly timeoutMs?: number;
}

/** Runs a program and returns its standard output; throws with the command line and its standard error. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    // A session of its own: Ctrl-C in the terminal is for the lab, not for the `ip` that it is just running.
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], detached: true });
    const fail = (why: string): void => reject(new Error(`${command} ${args.join(" ")}: ${why}`));
    const timeoutMs = options.timeoutMs ?? 20_000;
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      fail(`did not end within ${timeoutMs} ms`);
    }, timeoutMs);
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (text: Buffer) => (stdout += text.toString()));
    child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
    child.once("error", (error) => fail(error.message));
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve(stdout);
      else fail(stderr.trim() || `ended with ${signal ?? `status ${code}`}`);
    });
    child.stdin.on("error", () => {
      // The program ended without reading its input: its exit status tells the story.
    });
    child.stdin.end(options.input ?? "");
  });
}

/** Runs a program whose failure means "no": true if it ended with status 0. */
export async function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  try {
    await run(command, args);
    return true;
  } catch {
    return false;
  }
}
