/** Looking at what may not be there. Only absence is an answer; whatever else goes wrong is an error. */
import { access, readdir } from "node:fs/promises";
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
