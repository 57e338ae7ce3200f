/** The SHA-256 of a file of gigabytes, computed by a program of its own: whoever asks goes on answering others meanwhile. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** In hexadecimal digits; `signal` ends the work. */
export async function fileDigest(file: string, signal?: AbortSignal): Promise<string> {
  const options = { killSignal: "SIGKILL", ...(signal === undefined ? {} : { signal }) } as const;
  const { stdout } = await run("nice", ["-n", "10", "sha256sum", "--", file], options);
  // It marks a line whose name it had to escape.
  const digest = /^\\?([0-9a-f]{64}) /.exec(stdout)?.[1];
  if (digest === undefined) throw new Error(`sha256sum said ${stdout.slice(0, 200)}`);
  return digest;
}
