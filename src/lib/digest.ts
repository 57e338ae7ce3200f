/** The SHA-256 of a file of gigabytes, computed by a program of its own: whoever asks goes on answering others meanwhile. */
import { execFile } from "node:child_process";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

/** In hexadecimal digits; `signal` ends the work. */
export async function fileDigest(file: string, signal?: AbortSignal): Promise<string> {
  const options = { killSignal: "SIGKILL", ...(signal === undefined ? {} : { signal }) } as const;
  const { stdout } = await run("nice", ["-n", "10", "sha256sum", "--", file], options);
  return digestIn(stdout);
}

/** Of some of its bytes. */
export async function partDigest(file: string, { offset, bytes }: { offset: number; bytes: number }): Promise<string> {
  const running = run("nice", ["-n", "10", "sha256sum"]);
  const { stdin } = running.child;
  if (stdin === null) throw new Error("a program was started without its input");
  const part = createReadStream(file, { start: offset, end: offset + bytes - 1 });
  const [{ stdout }] = await Promise.all([running, pipeline(part, stdin)]);
  return digestIn(stdout);
}

function digestIn(said: string): string {
  // It marks a line whose name it had to escape.
  const digest = /^\\?([0-9a-f]{64}) /.exec(said)?.[1];
  if (digest === undefined) throw new Error(`sha256sum said ${said.slice(0, 200)}`);
  return digest;
}
