/**
 * The images this host can start guests from: a folder per image under `imageDir`, named by its id, with its manifest. What is not
 * there is fetched from VStation; where hosts share VStation's folder (as in the lab) everything is there already.
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { imageManifestSchema } from "../../core/image-manifest.ts";
import { Failure, isFailure } from "../../lib/errors.ts";
import type { ImageId } from "../../lib/ids.ts";
import { readDurable } from "../../lib/durable.ts";
import type { ImageFetch, OnProgress } from "./image-fetch.ts";
import { qcow2Size } from "./qcow2.ts";

/** How a machine with it starts; a kernel and its initrd by their paths on this host. */
export type ImageBoot =
  | { readonly kind: "direct"; readonly kernel: string; readonly initrd: string; readonly cmdline: string }
  | { readonly kind: "disk"; readonly firmware: "bios" }
  | { readonly kind: "disk"; readonly firmware: "uefi"; readonly secureBoot: boolean };

export interface Image {
  readonly boot: ImageBoot;
  readonly tpm: boolean;
  readonly hyperv: boolean;
  readonly base: { readonly file: string; readonly format: "qcow2" | "raw"; readonly size: number };
}

export class Images {
  readonly #directory: string;
  readonly #fetch: Pick<ImageFetch, "fetch" | "used">;
  /** An image never changes under its id, so what was found once holds as long as its disk is there. */
  readonly #found = new Map<ImageId, Image>();

  constructor(directory: string, fetch: Pick<ImageFetch, "fetch" | "used">) {
    this.#directory = directory;
    this.#fetch = fetch;
  }

  /** Makes sure that it is on this host; may take as long as its transfer. Failure `ImageMissing` when it is not to be had. */
  async ensure(id: ImageId, onProgress: OnProgress): Promise<void> {
    const here = await this.find(id).then(
      () => true,
      (error: unknown) => {
        if (isFailure(error) && error.code === "ImageMissing") return false;
        throw error;
      },
    );
    if (!here) await this.#fetch.fetch(id, onProgress);
    await this.#fetch.used(id);
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
  const { disk, boot, machine } = manifest;
  const file = join(directory, disk.file);
  const size = disk.format === "qcow2" ? await qcow2Size(file) : (await stat(file)).size;
  return {
    tpm: machine?.tpm ?? false,
    hyperv: machine?.hyperv ?? false,
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
