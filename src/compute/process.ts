/** Runs a short-lived program to its end, with a deadline, its input on standard input and its error text in the failure. */
import { spawn } from "node:child_process";
import { Failure } from "../lib/errors.ts";

export interface RunOptions {
  readonly input?: string;
  readonly deadlineMs?: number;
}

/** A program that waits for its input: to begin one takes milliseconds, which whoever is in haste has spent before. */
export interface Begun {
  /** It cannot take its input any more. */
  readonly isOver: boolean;
  /** Standard output, when it ended with 0; else a Failure `CommandFailed` that names it and what it said. */
  end(input: string): Promise<string>;
  /** Lets it end without a word. */
  drop(): void;
}

/** Standard output, when the program ended with 0; else a Failure `CommandFailed` that names it and what it said. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return begin(program, args, options.deadlineMs).end(options.input ?? "");
}

/** The deadline counts from when it has its input. */
export function begin(program: string, args: readonly string[], deadlineMs = 10_000): Begun {
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
  const ended = Promise.withResolvers<string>();
  // Of one that is dropped nobody hears how it ended.
  ended.promise.catch(() => undefined);
  let [out, err, given] = ["", "", ""];
  let [late, isOver] = [false, false];
  let timer: NodeJS.Timeout | undefined;
  child.stdout.setEncoding("utf8").on("data", (part: string) => (out += part));
  child.stderr.setEncoding("utf8").on("data", (part: string) => (err += part));
  // A program that ends before it has read everything closes the pipe; its exit status tells what happened.
  child.stdin.on("error", () => undefined);
  child.on("error", (cause) => {
    isOver = true;
    clearTimeout(timer);
    ended.reject(
      new Failure("internal", "CommandFailed", `${program} could not be run`, { cause, detail: { program } }),
    );
  });
  child.on("exit", () => (isOver = true));
  child.on("close", (code, signal) => {
    clearTimeout(timer);
    if (code === 0) return ended.resolve(out);
    const how = late ? `no end within ${deadlineMs} ms` : code === null ? `signal ${signal}` : `status ${code}`;
    const said = err.trim().slice(0, 500);
    const message = `${program} failed (${how})${said && `: ${said}`}`;
    const detail = { program, args: args.slice(0, 8), input: given.slice(0, 2000) };
    ended.reject(new Failure(late ? "timeout" : "internal", "CommandFailed", message, { detail }));
  });
  return {
    get isOver() {
      return isOver;
    },
    end(input) {
      given = input;
      timer = setTimeout(() => {
        late = true;
        child.kill("SIGKILL");
      }, deadlineMs);
      child.stdin.end(input);
      return ended.promise;
    },
    drop: () => child.stdin.end(),
  };
}
