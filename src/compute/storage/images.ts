/** The images this host can start guests from: a folder per image under `imageDir`, named by its id, with its manifest. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { imageManifestSchema } from "../../core/image-manifest.ts";
import { Failure } from "../../lib/errors.ts";
import type { ImageId } from "../../lib/ids.ts";
import type { DomainBoot } from "../vm/domain-xml/firmware.ts";
import { readDurable } from "../../lib/durable.ts";
import { qcow2Size } from "./qcow2.ts";

export interface Image {
  readonly boot: DomainBoot;
  readonly base: { readonly file: string; readonly format: "qcow2" | "raw"; readonly size: number };
}

export class Images {
  readonly #directory: string;
  /** An image never changes under its id, so what was found once holds as long as its disk is there. */
  readonly #found = new Map<ImageId, Image>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Failure `ImageMissing` when it is not on this host or not whole. */
  async find(id: ImageId): Promise<Image> {
    const known = this.#found.get(id);
    try {
      const image = known ?? (await readImage(join(this.#directory, id), id));
      await stat(image.base.file);
      this.#found.set(id, image);
      return image;
    } catch (cause) {
      this.#found.delete(id);
      if (cause instanceof Failure) throw cause;
      throw new Failure("not_found", "ImageMissing", `image ${id} is not whole on this host`, { cause });
    }
  }
}

async function readImage(directory: string, id: ImageId): Promise<Image> {
  const manifest = await readDurable(join(directory, "manifest.json"), imageManifestSchema);
  if (manifest === undefined) throw new Failure("not_found", "ImageMissing", `image ${id} is not on this host`);
  const { disk, boot } = manifest;
  const file = join(directory, disk.file);
  const size = disk.format === "qcow2" ? await qcow2Size(file) : (await stat(file)).size;
  return {
    base: { file, format: disk.format, size },
    boot:
      boot.kind === "disk"
        ? boot
        : {
            kind: "direct",
            kernel: join(directory, boot.kernel),
            initrd: join(directory, boot.initrd),
            cmdline: boot.cmdline,
          },
  };
}
