/** A file system that a test can fill to its last block. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { UndoStack } from "../../../src/lib/undo.ts";

/** An ext4 of so many MiB on that folder, which must be empty. */
export function mountSmallDisk(folder: string, mib: number, undo: UndoStack): void {
  const image = `${folder}.img`;
  execFileSync("truncate", ["-s", `${mib}M`, image]);
  undo.push("image", () => rmSync(image));
  execFileSync("mkfs.ext4", ["-q", "-F", "-m", "0", image]);
  execFileSync("mount", ["-o", "loop", image, folder]);
  undo.push("mount", () => void execFileSync("umount", [folder]));
}

/** Takes every block there is; returns how to give them back. */
export function fill(folder: string): () => void {
  const file = join(folder, "ballast");
  const handle = openSync(file, "w");
  for (let size = 2 ** 20; size >= 512; size /= 2) {
    try {
      for (;;) writeSync(handle, Buffer.alloc(size, 1));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    }
  }
  closeSync(handle);
  return () => rmSync(file);
}
