/** Runs one short program of the build and gives its standard output; a failure carries the command and what it said. */
import { execFile } from "node:child_process";

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** Milliseconds; the program is killed after it. */
  deadline?: number;
}

export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Buffer> {
  // mke2fs lies in sbin, which is not in everybody's path.
  const env = { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`, LC_ALL: "C", ...options.env };
  return await new Promise((resolve, reject) => {
    execFile(
      program,
      args,
      {
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        env,
        encoding: "buffer",
        timeout: options.deadline ?? 60_000,
        maxBuffer: 256 << 20,
      },
      (error, stdout, stderr) => {
        if (error) reject(new Error(`${program} ${args.join(" ")}: ${stderr.toString().trim()}`, { cause: error }));
        else resolve(stdout);
      },
    );
  });
}
