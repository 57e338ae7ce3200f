/**
 * Takes in an import's file, part by part, as its client sends it: straight to the disk, never whole in memory. What is there is what
 * counts: a part must begin where the file ends, so a client that lost its connection (or met another VStation) asks how far
 * it came and goes on from there. A part that breaks off counts as far as it came.
 */
import { open, stat } from "node:fs/promises";
import { join } from "node:path";
import { failure } from "../../core/failure-codes.ts";
import { partDigest } from "../../lib/digest.ts";
import { makeDurableDirectory } from "../../lib/durable.ts";
import type { ImageId } from "../../lib/ids.ts";
import { sourceName } from "./convert.ts";
import { importFolder } from "./importer.ts";

/** Bytes of an import's file that are here. */
export async function receivedOf(directory: string, id: ImageId): Promise<number> {
  try {
    return (await stat(join(importFolder(directory, id), sourceName))).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}

export async function receivedDigest(
  directory: string,
  id: ImageId,
  part: { offset: number; bytes: number },
): Promise<string> {
  const received = await receivedOf(directory, id);
  if (part.offset + part.bytes > received) throw notFrom(received, `only ${received} bytes of it are here`);
  return partDigest(join(importFolder(directory, id), sourceName), part);
}

export class Receiver {
  readonly #directory: string;
  readonly #busy = new Set<ImageId>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Returns how much is there in the end. */
  async take(id: ImageId, offset: number, total: number, content: AsyncIterable<Uint8Array>): Promise<number> {
    if (this.#busy.has(id)) throw notFrom(await receivedOf(this.#directory, id), "another part of it is on its way");
    this.#busy.add(id);
    try {
      const work = importFolder(this.#directory, id);
      await makeDurableDirectory(work, 0o700);
      const handle = await open(join(work, sourceName), "a", 0o600);
      try {
        let at = (await handle.stat()).size;
        if (at !== offset) throw notFrom(at, `${at} bytes of it are here, so the next part begins there`);
        for await (const part of content) {
          if (at + part.byteLength > total) throw notFrom(at, `it was announced with ${total} bytes, and more come`);
          await handle.write(part);
          at += part.byteLength;
        }
        await handle.sync();
        return at;
      } finally {
        await handle.close();
      }
    } finally {
      this.#busy.delete(id);
    }
  }
}

function notFrom(received: number, why: string): Error {
  return failure("ImageNotReceiving", why, { detail: { received } });
}
