/**
 * Copies a disk that nothing writes to with qemu-img, as the last in line for processor and disk, with progress, until a signal.
 * The copy stands on nothing: a backing chain is folded into it. It is on the disk when this resolves.
 */
import { spawn } from "node:child_process";
import { open } from "node:fs/promises";
import { Failure } from "../../lib/errors.ts";
import type { JobTools } from "./runner.ts";

export async function copyDisk(from: string, to: string, tools: JobTools): Promise<void> {
  await qemuImg(["convert", "-p", "-f", "qcow2", "-O", "qcow2", from, to], tools);
  await syncFile(to);
}

export async function syncFile(file: string): Promise<void> {
  const handle = await open(file, "r+");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function qemuImg(args: readonly string[], { signal, progress }: JobTools): Promise<void> {
  return new Promise((resolve, reject) => {
    const words = ["-n", "10", "ionice", "-c", "3", "qemu-img", ...args];
    const child = spawn("nice", words, { stdio: ["ignore", "pipe", "pipe"], signal, killSignal: "SIGKILL" });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (part: string) => (said = (said + part).slice(-1000)));
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      const percent = /\((\d+)(?:\.\d+)?\/100%\)\s*$/.exec(part)?.[1];
      if (percent !== undefined) progress(Number(percent));
    });
    child.on("error", (cause) => reject(failed("could not be run", cause)));
    child.on("close", (code, killed) => {
      if (code === 0) return resolve();
      const noSpace = /No space left on device|Disk quota exceeded/.test(said);
      const how = code === null ? `signal ${killed}` : `status ${code}`;
      const cause = noSpace ? Object.assign(new Error("no space left on the storage"), { code: "ENOSPC" }) : undefined;
      reject(failed(`ended with ${how}: ${said.trim()}`, cause));
    });
  });
}

function failed(how: string, cause: unknown): Failure {
  return new Failure("internal", "CopyFailed", `qemu-img ${how}`, { cause });
}
