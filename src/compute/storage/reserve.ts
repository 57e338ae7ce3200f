/**
 * Room for this host's own notes when guests have filled the disk. What is wanted and what has been done must be written down
 * before it is acted on; without room for that, not even the order that would free some could be taken.
 *
 * So some small files lie ready, and a write that finds no room gives them up one by one until it fits. They are made again when
 * there is room. A guest may be faster than the write to what was given up; hence several, and each larger than any note.
 */
import { randomFillSync } from "node:crypto";
import { open, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { makeDurableDirectory, writeDurably } from "../../lib/durable.ts";
import { isNoSpace } from "../../lib/errors.ts";

const parts = 16;
const partBytes = 256 * 1024;

/** {@link writeDurably}, or what does more. */
export type Write = (file: string, content: string) => Promise<void>;

export class Reserve {
  readonly #directory: string;
  readonly #held = new Set<string>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Makes what is missing, as far as there is room. */
  async fill(): Promise<void> {
    await makeDurableDirectory(this.#directory, 0o700);
    for (let n = 0; n < parts; n++) {
      const file = join(this.#directory, `part-${n}`);
      if (this.#held.has(file)) continue;
      try {
        // One that is there stays: on a full disk it could not be made again.
        if ((await sizeOf(file)) !== partBytes) await writePart(file);
        this.#held.add(file);
      } catch (error) {
        await rm(file, { force: true });
        if (!isNoSpace(error)) throw error;
        return;
      }
    }
  }

  /** Replaces `file` by `content`, durably, also on a full disk for as long as the reserve lasts. */
  readonly write: Write = async (file, content) => {
    for (;;) {
      try {
        return await writeDurably(file, content);
      } catch (error) {
        const [part] = this.#held;
        if (part === undefined || !isNoSpace(error)) throw error;
        await rm(part, { force: true });
        this.#held.delete(part);
      }
    }
  };
}

async function sizeOf(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Content that no file system can make smaller or leave out. */
async function writePart(file: string): Promise<void> {
  const handle = await open(file, "w", 0o600);
  try {
    await handle.writeFile(randomFillSync(Buffer.alloc(partBytes)));
    await handle.sync();
  } finally {
    await handle.close();
  }
}
