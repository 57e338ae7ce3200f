/**
 * Builds the image `debian-12`: Debian 12 with cloud-init from Debian's own packages, on a disk that starts by BIOS and by UEFI.
 *
 *   node guest/debian/build.ts DIR     writes DIR/img-debian12/{manifest.json,disk.qcow2}
 *
 * Needs root, the network of a Debian mirror, mmdebstrap, mtools, sfdisk, e2fsprogs and qemu-utils; nothing gets installed. Takes
 * one to two minutes. The same recipe over newer packages makes other bytes, so who has an image of this id keeps it: a lab's
 * home never replaces what its instances stand on. How it comes to its place stands in ../place.ts.
 */
import { mkdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { ImageManifest } from "../../src/core/image-manifest.ts";
import { formatError } from "../../src/lib/errors.ts";
import { parseId } from "../../src/lib/ids.ts";
import { buildImage, recipeKey, sha256File, type BuildOptions } from "../place.ts";
import { run, show } from "../run.ts";
import { rootLabel, writeDisk } from "./loader.ts";
import { makeRoot } from "./root.ts";

export const debianImageId = parseId("image", "img-debian12") ?? fail();

/** The root partition's; the whole disk has 2 GiB. A guest grows both to the disk it gets. */
const rootMiB = 2048 - 34 - 1;
const uuid = (n: number): string => `7669b5f2-0000-4000-8000-0000000012${n.toString(16).padStart(2, "0")}`;
const uuids = { disk: uuid(0), bios: uuid(1), esp: uuid(2), root: uuid(3) };

export async function buildDebian(targetDir: string, options: BuildOptions = {}): Promise<ImageManifest> {
  const say = options.onProgress ?? (() => {});
  const key = await recipeKey(import.meta.dirname, ["build.ts", "loader.ts", "root.ts"]);
  return buildImage(targetDir, { id: debianImageId, key, make: (image, work) => buildInto(image, work, key, say) });
}

async function buildInto(
  image: string,
  work: string,
  key: string,
  say: (step: string) => void,
): Promise<ImageManifest> {
  const root = join(work, "root");
  const loader = join(work, "loader");
  await mkdir(root);
  say("installing Debian's packages into a folder");
  const packages = await makeRoot(root, loader);
  say("making the file system");
  const rootImage = join(work, "root.img");
  await makeFileSystem(rootImage, root);
  say("putting it on a disk behind the boot loaders");
  const raw = join(work, "disk.raw");
  await writeDisk(raw, { loader, rootImage, work, uuids });
  await rm(rootImage);
  const disk = join(image, "disk.qcow2");
  say("writing the image");
  // Its progress is drawn over itself, which only a terminal can show.
  const progress = process.stderr.isTTY ? ["-p"] : [];
  await show("qemu-img", ["convert", ...progress, "-f", "raw", "-O", "qcow2", raw, disk], { deadline: 300_000 });
  return {
    id: debianImageId,
    name: "debian-12",
    format: 1,
    architecture: "x86_64",
    boot: { kind: "disk", firmware: "bios" },
    disk: { file: "disk.qcow2", format: "qcow2", virtualSizeGiB: 2 },
    minMemoryMiB: 512,
    osName: "Debian 12 (bookworm)",
    platform: "Debian",
    sha256: { "disk.qcow2": await sha256File(disk) },
    built: { key, packages },
  };
}

/** Without what GRUB 2.06 cannot read (newer e2fsprogs turn both on), and with nothing left for the guest to write at first mount. */
async function makeFileSystem(file: string, tree: string): Promise<void> {
  const features = ["-O", "^metadata_csum_seed,^orphan_file", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
  const args = ["-q", "-F", "-t", "ext4", "-L", rootLabel, ...features, "-d", tree, file, `${rootMiB}M`];
  await run("mke2fs", args, { deadline: 300_000 });
}

function fail(): never {
  throw new Error("the image's id has not the form of one");
}

if (import.meta.main) {
  const target = process.argv[2];
  if (target === undefined || process.getuid?.() !== 0) {
    process.stderr.write(`usage, as root: node ${basename(import.meta.filename)} DIR\n`);
    process.exitCode = 2;
  } else {
    try {
      const manifest = await buildDebian(target, { onProgress: (step) => process.stderr.write(`${step}\n`) });
      process.stdout.write(`${join(target, manifest.id)}\n`);
    } catch (error) {
      process.stderr.write(`${formatError(error)}\n`);
      process.exitCode = 1;
    }
  }
}
