/** Short-lived programs of the operating system (ip, nft, mkfifo): always with a deadline, and an error that quotes them. */
import { execFile } from "node:child_process";

export interface RunOptions {
  readonly input?: string;
  readonly timeoutMs?: number;
}

/** Runs a program and returns its standard output; throws with the command line and its standard error. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      command,
      args,
      { timeout: options.timeoutMs ?? 20_000, killSignal: "SIGKILL", maxBuffer: 64 << 20 },
      (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else reject(new Error(`${command} ${args.join(" ")}: ${stderr.trim() || error.message}`, { cause: error }));
      },
    );
    child.stdin?.on("error", () => {
      // The program ended without reading its input: its exit status tells the story.
    });
    child.stdin?.end(options.input ?? "");
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
