/** Looking at what may not be there. Only absence is an answer; whatever else goes wrong is an error. */
import { access, readdir, readFile } from "node:fs/promises";
import { wrap } from "./errors.ts";

export async function exists(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw wrap(`looking for ${file}`, error);
  }
}

/** The names in a folder; one that is not there is an empty one. */
export async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** Its text; undefined where there is none. */
export async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw wrap(`reading ${file}`, error);
  }
}
