/**
 * Who may install packages and make namespaces: root, or somebody with sudo. Asked before anything is changed, so that a
 * set-up without rights ends with a command to run and nothing half done.
 */
import { isatty } from "node:tty";
import { output } from "./process.mjs";
import { Stop } from "./say.mjs";

export const isRoot = process.getuid?.() === 0;

/** The prefix of a command that needs root: nothing, or sudo. Stops with the exact command where there is neither.
 * @param {string} why @param {string} command what to run as root instead @param {string} [after] what to do then */
export function rootPrefix(why, command, after = "") {
  if (isRoot) return [];
  const sudo = output("sudo", ["-V"]) !== undefined;
  if (sudo && (isatty(0) || output("sudo", ["-n", "true"]) !== undefined)) return ["sudo"];
  throw new Stop(`${why} needs root, and sudo is of no help here. Run as root${after}:\n\n  ${command}\n`);
}

/** A yes to something that changes the machine's own settings: by --yes, by CI=true, or typed.
 * @param {string} question @param {boolean} yes @param {string} command how to agree in advance */
export async function agree(question, yes, command) {
  if (yes || process.env["CI"] === "true") return;
  const refusal = new Stop(`${question}\nNobody is here to agree to that. To agree in advance, run:\n\n  ${command}\n`);
  if (!isatty(0) || !isatty(2)) throw refusal;
  const { createInterface } = await import("node:readline/promises");
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${question} [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw new Stop("Nothing was changed.");
  } finally {
    terminal.close();
  }
}
