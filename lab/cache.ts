/**
 * What labs on one machine share, so that a new home is quick: ready images, and what libvirt found out about QEMU (it runs
 * QEMU twice for that, seconds per host). libvirt checks by itself that its findings still fit the programs and the kernel.
 */
import {
  constants,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";

/** Never replaces one: instances' disks are overlays of what lies in the home, whatever the cache holds by now. */
export function takeImages(cache: string, imageDir: string): void {
  const images = join(cache, "images");
  for (const name of existsSync(images) ? readdirSync(images) : []) {
    placeWhole(join(imageDir, name), (partial) => shareFolder(join(images, name), partial));
  }
}

const largeBytes = 1 << 20;

/** Large files by another name where both lie on one file system: an image's are never written to, and one may have a GiB. */
function shareFolder(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) {
    const source = join(from, name);
    const { dev, size } = statSync(source);
    if (size >= largeBytes && dev === statSync(to).dev) linkSync(source, join(to, name));
    else cpSync(source, join(to, name), { preserveTimestamps: true });
  }
}

export function takeCapabilities(cache: string, hostDir: string): void {
  const kept = join(cache, "capabilities");
  if (existsSync(kept)) copyWhole(kept, capabilitiesOf(hostDir));
}

/** Called when a host is ready: by then libvirt has written them. The newest findings are kept: a program may have changed. */
export function keepCapabilities(cache: string, hostDir: string): void {
  const found = capabilitiesOf(hostDir);
  if (!existsSync(found) || readdirSync(found).length === 0 || sameFiles(found, join(cache, "capabilities"))) return;
  rmSync(join(cache, "capabilities"), { recursive: true, force: true });
  copyWhole(found, join(cache, "capabilities"));
}

/** The host's /var/cache/libvirt/qemu/capabilities. */
function capabilitiesOf(hostDir: string): string {
  return join(hostDir, "var/cache/qemu/capabilities");
}

function sameFiles(a: string, b: string): boolean {
  const names = readdirSync(a);
  return names.every(
    (name) => existsSync(join(b, name)) && readFileSync(join(a, name)).equals(readFileSync(join(b, name))),
  );
}

function copyWhole(from: string, to: string): void {
  if (!existsSync(from)) return;
  placeWhole(to, (partial) => cpSync(from, partial, { recursive: true, mode: constants.COPYFILE_FICLONE }));
}

/** Makes a folder unless it is there already; whole or not at all, also when another lab does the same at this moment. */
function placeWhole(to: string, make: (partial: string) => void): void {
  if (existsSync(to)) return;
  const partial = join(dirname(to), `.${process.pid}.new`);
  mkdirSync(dirname(to), { recursive: true });
  try {
    make(partial);
    renameSync(partial, to);
  } catch (error) {
    // Somebody else was quicker to put it there.
    if (!existsSync(to)) throw error;
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}
