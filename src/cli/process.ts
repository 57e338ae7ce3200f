/** Connects runCli to this process: its streams, its signals, its exit code. */
import { createInterface } from "node:readline/promises";
import type { Io } from "./io.ts";
import { runCli } from "./program.ts";

const interrupted = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => interrupted.abort(new Error(name)));

// `vstation ... | head` closes our output early: that is the reader's right, not an error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

const io: Io = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  outIsTty: process.stdout.isTTY,
  errIsTty: process.stderr.isTTY,
  stdin: process.stdin,
  stdout: process.stdout,
  env: process.env,
  signal: interrupted.signal,
  now: Date.now,
  async confirm(question) {
    if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined;
    const reader = createInterface({ input: process.stdin, output: process.stderr });
    try {
      return /^y(es)?$/i.test(await reader.question(`${question} [y/N] `, { signal: interrupted.signal }));
    } finally {
      reader.close();
    }
  },
};

process.exitCode = await runCli(process.argv.slice(2), io);
