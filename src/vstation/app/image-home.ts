/**
 * Whether `imageDir` is the zone's one folder of images. Any replica may be asked for an image, by an API's client or by a host, so all
 * of them have the same folder, mounted. One that has an empty folder instead (not mounted yet, a path mistyped) would deny images
 * that are there and take new ones where nobody finds them; it is to say so and not to start.
 *
 * The folder carries an id in `.zone`, and the zone's row names it. The first VStation writes both, the file first: of two with different
 * folders that start together the one that wrote its row later finds the other's id there.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { randomUUID } from "node:crypto";
import { createDurably } from "../../lib/durable.ts";
import { readIfThere } from "../../lib/files.ts";
import type { Store } from "../store/database.ts";
import { zoneImageFolder, zoneImageFolderEnsure } from "../store/zone.ts";

export async function imageHome(store: Store, zone: string, directory: string): Promise<void> {
  const file = join(directory, ".zone");
  const known = await zoneImageFolder(store, zone);
  const found = (await read(file)) ?? (known === undefined ? await mark(directory, file) : undefined);
  if (found !== undefined && (await zoneImageFolderEnsure(store, zone, found)) === found) return;
  throw new Error(
    `imageDir ${directory} is not the folder of images of zone ${zone}: ` +
      (found === undefined ? "it has no file .zone" : "its file .zone is another folder's") +
      ". Replicas share one folder: is it mounted? Where it is lost for good, `update zone set image_folder = null` takes a new one",
  );
}

async function mark(directory: string, file: string): Promise<string | undefined> {
  await mkdir(directory, { recursive: true, mode: 0o755 });
  // Of two that begin with the same folder one wins, and both read what it wrote.
  await createDurably(file, `${randomUUID()}\n`, 0o644);
  return read(file);
}

async function read(file: string): Promise<string | undefined> {
  return (await readIfThere(file))?.trim();
}
