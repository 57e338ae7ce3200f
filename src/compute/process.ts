/** Runs a short-lived program to its end, with a deadline, its input on standard input and its error text in the failure. */
import { spawn } from "node:child_process";
import { Failure } from "../lib/errors.ts";

export interface RunOptions {
  readonly input?: string;
  readonly deadlineMs?: number;
}

/** Standard output, when the program ended with 0; else a Failure `CommandFailed` that names it and what it said. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { input, deadlineMs = 10_000 } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
    let out = "";
    let err = "";
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, deadlineMs);
    child.stdout.setEncoding("utf8").on("data", (part: string) => (out += part));
    child.stderr.setEncoding("utf8").on("data", (part: string) => (err += part));
    // A program that ends before it has read everything closes the pipe; its exit status tells what happened.
    child.stdin.on("error", () => undefined).end(input ?? "");
    child.on("error", (cause) => {
      clearTimeout(timer);
      reject(new Failure("internal", "CommandFailed", `${program} could not be run`, { cause, detail: { program } }));
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      if (code === 0) return resolve(out);
      const how = late ? `no end within ${deadlineMs} ms` : code === null ? `signal ${signal}` : `status ${code}`;
      const said = err.trim().slice(0, 500);
      reject(
        new Failure(
          late ? "timeout" : "internal",
          "CommandFailed",
          `${program} failed (${how})${said && `: ${said}`}`,
          {
            detail: { program, args: args.slice(0, 8), input: input?.slice(0, 2000) },
          },
        ),
      );
    });
  });
}
