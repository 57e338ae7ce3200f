/**
 * How a built image comes to its place: whole, or not at all.
 *
 * Instances stand on an image's disk with their overlays, hosts read its files at each start. So an image is built in a hidden folder
 * beside its place and renamed into it. A build killed half-way leaves that folder; the next one clears it away and puts the
 * old image back if that had gone aside. Two builds at once: the later one finds an image of its own recipe and drops its own.
 */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { imageManifestSchema, type ImageManifest } from "../src/core/image-manifest.ts";
import { crashPoint } from "../src/lib/crash-point.ts";
import { wrap } from "../src/lib/errors.ts";
import type { ImageId } from "../src/lib/ids.ts";

export interface BuildOptions {
  onProgress?: (step: string) => void;
}

export interface Build {
  readonly id: ImageId;
  /** The same key means the same content. */
  readonly key: string;
  /** Makes the image's files in `image`; `work` is for what goes away; `before` is the folder of the image that is there. */
  make(image: string, work: string, before: string | undefined): Promise<ImageManifest>;
}

/** Makes sure that the image stands in `targetDir` and returns its manifest; at once if it was built there from the same recipe. */
export async function buildImage(targetDir: string, build: Build): Promise<ImageManifest> {
  const { id, key } = build;
  const place = join(targetDir, id);
  await mkdir(targetDir, { recursive: true });
  await recover(targetDir, id);
  const before = await readManifest(place);
  if (before?.built?.key === key) return before;
  const work = join(targetDir, `.${id}.${process.pid}`);
  try {
    const image = join(work, "image");
    await mkdir(image, { recursive: true });
    const manifest = await build.make(image, work, before === undefined ? undefined : place);
    const text = `${JSON.stringify(imageManifestSchema.parse(manifest), null, 2)}\n`;
    await writeFile(join(image, "manifest.json"), text);
    crashPoint("guest.build.rename");
    return await putInPlace(image, place, manifest, work);
  } catch (error) {
    throw wrap(`building the image ${id}`, error);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Swaps the built folder in; a rename onto a folder that is not empty is refused, so the old one steps aside first. */
async function putInPlace(image: string, place: string, manifest: ImageManifest, work: string): Promise<ImageManifest> {
  const twin = async () => {
    const other = await readManifest(place);
    return other?.built?.key === manifest.built?.key ? other : undefined;
  };
  const before = await twin();
  if (before !== undefined) return before;
  await rename(place, join(work, "old")).catch(ignoreMissing);
  crashPoint("guest.build.swap");
  try {
    await rename(image, place);
    return manifest;
  } catch (error) {
    const meanwhile = await twin();
    if (meanwhile === undefined) throw error;
    return meanwhile;
  }
}

/** The manifest of a whole image in this folder, else undefined: an older form or a damaged file means building again. */
async function readManifest(folder: string): Promise<ImageManifest | undefined> {
  const text = await readFile(join(folder, "manifest.json"), "utf8").catch(ignoreMissing);
  if (text === undefined) return undefined;
  return imageManifestSchema.safeParse(JSON.parse(text)).data;
}

/** Takes up what killed builds left: the image they had moved aside goes back, the rest goes away. */
async function recover(targetDir: string, id: ImageId): Promise<void> {
  const place = join(targetDir, id);
  for (const name of await readdir(targetDir)) {
    const pid = name.startsWith(`.${id}.`) ? Number(name.split(".").at(-1)) : undefined;
    if (pid === undefined || isAlive(pid)) continue;
    const left = join(targetDir, name);
    if ((await readManifest(place)) === undefined) await rename(join(left, "old"), place).catch(ignoreMissing);
    await rm(left, { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

export function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

/** One key over the names and the content of a recipe's own sources. */
export async function recipeKey(folder: string, names: readonly string[]): Promise<string> {
  const hash: Hash = createHash("sha256");
  for (const name of names) hash.update(name).update(await readFile(join(folder, name)));
  return hash.digest("hex");
}

export async function sha256File(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const part of createReadStream(file)) hash.update(part as Buffer);
  return hash.digest("hex");
}
