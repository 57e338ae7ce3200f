/**
 * Images lie as folders `<id>/manifest.json` below `imageDir`; whoever builds or imports one puts it there whole, by renaming. A
 * manifest is read again only when its file changed. One that does not parse is reported once and left out.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { imageManifestSchema, type ImageManifest } from "../../core/image-manifest.ts";
import { formatError } from "../../lib/errors.ts";
import { parseId, type ImageId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { ImageView, Images } from "../cloud.ts";

interface Held {
  changed: number;
  view: ImageView | undefined;
}

export class ImageFolder implements Images {
  readonly #directory: string;
  readonly #log: Log;
  readonly #held = new Map<ImageId, Held>();

  constructor(directory: string, log: Log) {
    this.#directory = directory;
    this.#log = log;
  }

  list: Images["list"] = async (_caller, query, page) => {
    const names = await readdir(this.#directory).catch((error: unknown) => {
      this.#log.warn({ chain: formatError(error) }, "the image folder cannot be read");
      return [];
    });
    const wanted = names.toSorted((a, b) => (a < b ? -1 : 1)).flatMap((name) => parseId("image", name) ?? []);
    const found: ImageView[] = [];
    for (const id of wanted) {
      if (query.ids !== undefined && !query.ids.includes(id)) continue;
      const view = await this.find(id);
      if (view !== undefined && (query.name === undefined || view.manifest.name === query.name)) found.push(view);
    }
    return { total: found.length, items: found.slice(page.offset, page.offset + page.limit) };
  };

  async find(id: ImageId): Promise<ImageView | undefined> {
    const file = join(this.#directory, id, "manifest.json");
    const status = await stat(file).catch(() => undefined);
    if (status === undefined) return undefined;
    const held = this.#held.get(id);
    if (held?.changed === status.mtimeMs) return held.view;
    const manifest = await this.#read(id, file);
    const view = manifest && { id, manifest, createdAt: status.mtime };
    this.#held.set(id, { changed: status.mtimeMs, view });
    return view;
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
