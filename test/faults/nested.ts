/**
 * The move between nested hosts (test/nested/migration.test.ts) as one more case: real KVM, the dirty ring and the vCPU dirty limit, which the
 * hosts of the other cases have not. It has no fault of its own, and two emulated machines take its quarter of an hour alone.
 */
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { freemem } from "node:os";
import { dirname, join } from "node:path";
import { nestedKernel } from "../../lab/nested/kernel.ts";
import { nestedMemoryMiB } from "../../lab/nested/nested.ts";
import { cache } from "../../setup/root.mjs";
import { formatError } from "../../src/lib/errors.ts";
import { root } from "./points.ts";

/** How rows and `--only` name it. */
export const nestedCase = "nested/migration";

const log = join(root, "test/results/faults/nested_migration/output.log");

/**
 * Why it cannot be run on this machine; undefined where it can. KVM is none: the hosts bring theirs, and the test fails where they do not. Their
 * kernel is fetched where it lacks.
 */
export async function nestedObstacle(say: (line: string) => void): Promise<string | undefined> {
  const wantedMiB = 2 * nestedMemoryMiB;
  const freeMiB = Math.floor(freemem() / 2 ** 20);
  if (freeMiB < wantedMiB) return `two nested hosts may take ${wantedMiB} MiB of memory, and ${freeMiB} MiB are free`;
  try {
    await nestedKernel(cache, say);
    return undefined;
  } catch (error) {
    return formatError(error);
  }
}

/** Throws unless the test passes, with the place of what it said. */
export async function runNested(say: (line: string) => void): Promise<void> {
  mkdirSync(dirname(log), { recursive: true });
  const output = openSync(log, "w");
  say(`${nestedCase} begins; what it says goes to ${log}`);
  try {
    const code = await vitest("test/nested/migration.test.ts", output);
    if (code !== 0) throw new Error(`it ended with status ${code} (said: ${log})`);
  } finally {
    closeSync(output);
  }
}

function vitest(file: string, output: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const program = join(root, "node_modules/vitest/vitest.mjs");
    const child = spawn(process.execPath, [program, "run", "--project", "nested", file], {
      cwd: root,
      stdio: ["ignore", output, output],
      // A session of its own: Ctrl-C ends the loop after this case, as after any other.
      detached: true,
    });
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? -1));
  });
}
