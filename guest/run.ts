/** Programs of the builds: short ones, whose output is what is wanted, and long ones, whose progress somebody watches. */
import { execFile, spawn } from "node:child_process";

export interface RunOptions {
  cwd?: string;
  /** undefined: not there, whatever our own environment has. */
  env?: Record<string, string | undefined>;
  /** Milliseconds; the program is killed after it. */
  deadline?: number;
}

/** Gives the program's standard output; a failure carries the command and what it said. */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Buffer> {
  const env = environment(options);
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

/**
 * Shows on standard error whatever the program says, as it says it: at a terminal it may draw there. What was wrong with it stands above
 * the failure then.
 */
export async function show(program: string, args: readonly string[], options: RunOptions = {}): Promise<void> {
  const deadline = options.deadline ?? 60_000;
  const child = spawn(program, args, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: environment(options),
    stdio: ["ignore", process.stderr, process.stderr],
    timeout: deadline,
  });
  await new Promise<void>((resolve, reject) => {
    child.once("error", (error) => reject(new Error(`${program} could not be run`, { cause: error })));
    child.once("close", (code, signal) => {
      if (code === 0) return resolve();
      const how = signal === null ? `status ${code}` : `${signal} (it had ${deadline / 1000} s)`;
      reject(new Error(`${program} ended with ${how}; what it said stands above`));
    });
  });
}

/** mke2fs lies in sbin, which is not in everybody's path. */
function environment({ env }: RunOptions): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`, LC_ALL: "C", ...env };
}
