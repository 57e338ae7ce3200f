/** Programs that set-up runs. */
import { spawn, spawnSync } from "node:child_process";

/** Runs a program with our own terminal and returns its exit status (128 + signal number if a signal ended it).
 * Signals that reach us are passed on, and we stay until it ends: the lab needs a moment to power off.
 * @param {string} program @param {readonly string[]} args @param {import("node:child_process").SpawnOptions} [options]
 * @returns {Promise<number>} */
export function passThrough(program, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: "inherit", ...options });
    /** @param {NodeJS.Signals} signal */
    const forward = (signal) => child.kill(signal);
    /** @type {NodeJS.Signals[]} */
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
    for (const signal of signals) process.on(signal, forward);
    child.once("error", reject);
    child.once("close", (code, signal) => {
      for (const each of signals) process.off(each, forward);
      resolve(code ?? (signal === "SIGINT" ? 130 : 143));
    });
  });
}

/** Runs a quick program and returns its standard output, or undefined if it is missing or fails.
 * @param {string} program @param {readonly string[]} args */
export function output(program, args) {
  const result = spawnSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], timeout: 60_000 });
  return result.status === 0 ? result.stdout : undefined;
}
