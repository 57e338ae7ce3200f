/**
 * The folder of images: `<id>/manifest.json` below `imageDir`, with the files that it names. Whoever builds or imports an image puts it
 * there whole, by renaming. A manifest is read again only when its file changed. One that does not parse is reported once and left out.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { imageManifestSchema, type ImageManifest } from "../../core/image-manifest.ts";
import { formatError } from "../../lib/errors.ts";
import { parseId, type ImageId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";

/** An image as the folder has it. */
export interface FolderImage {
  readonly id: ImageId;
  readonly manifest: ImageManifest;
  readonly createdAt: Date;
}

interface Held {
  changed: number;
  image: FolderImage | undefined;
}

export class ImageFolder {
  readonly directory: string;
  readonly #log: Log;
  readonly #held = new Map<ImageId, Held>();

  constructor(directory: string, log: Log) {
    this.directory = directory;
    this.#log = log;
  }

  /** All that are whole, in the order of their ids. */
  async all(): Promise<FolderImage[]> {
    const names = await readdir(this.directory).catch((error: unknown) => {
      this.#log.warn({ chain: formatError(error) }, "the image folder cannot be read");
      return [];
    });
    const ids = names.toSorted((a, b) => (a < b ? -1 : 1)).flatMap((name) => parseId("image", name) ?? []);
    const found: FolderImage[] = [];
    for (const id of ids) {
      const image = await this.find(id);
      if (image !== undefined) found.push(image);
    }
    return found;
  }

  async find(id: ImageId): Promise<FolderImage | undefined> {
    const file = join(this.directory, id, "manifest.json");
    const status = await stat(file).catch(() => undefined);
    if (status === undefined) return undefined;
    const held = this.#held.get(id);
    if (held?.changed === status.mtimeMs) return held.image;
    const manifest = await this.#read(id, file);
    const image = manifest && { id, manifest, createdAt: status.mtime };
    this.#held.set(id, { changed: status.mtimeMs, image });
    return image;
  }

  async #read(id: ImageId, file: string): Promise<ImageManifest | undefined> {
    try {
      const manifest = imageManifestSchema.parse(JSON.parse(await readFile(file, "utf8")));
      if (manifest.id !== id) throw new Error(`it says that it is ${manifest.id}`);
      return manifest;
    } catch (error) {
      this.#log.warn({ chain: formatError(error), imageId: id }, "an image's manifest cannot be used");
      return undefined;
    }
  }
}
