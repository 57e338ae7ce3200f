/**
 * Loaded before a program (`node --import`): the first listener of the metadata service to begin does not get on before the file `go`
 * is in the folder that SLOW_LISTENER names; it leaves `held` there. Every other program, and every other listener, is as always.
 */
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";

const folder = process.env["SLOW_LISTENER"];

function isFirst(directory: string): boolean {
  try {
    mkdirSync(join(directory, "held"));
    return true;
  } catch {
    return false; // another one is
  }
}

if (folder !== undefined && process.argv[1]?.endsWith("/metadata/listen.ts") === true && isFirst(folder)) {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  while (!existsSync(join(folder, "go"))) Atomics.wait(cell, 0, 0, 20);
}
