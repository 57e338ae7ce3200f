/** The images that we build ourselves: each from its sources into a cache, again only when its sources are others. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { passThrough } from "./process.mjs";
import { rootPrefix } from "./rights.mjs";
import { imageCache, node, root } from "./root.mjs";
import { Stop } from "./say.mjs";

/** `sources`: files and folders below guest/ that decide what comes out. */
const images = {
  tiny: { program: "guest/build.ts", sources: ["."], without: "debian", asRoot: false },
  "debian-12": { program: "guest/debian/build.ts", sources: ["debian"], without: undefined, asRoot: true },
};

/** @typedef {keyof typeof images} ImageName */

/** @param {string} name @returns {name is ImageName} */
export function isImageName(name) {
  return Object.hasOwn(images, name);
}

/** @param {ImageName} name */
function stampOf(name) {
  return `${imageCache}.${name}.stamp`;
}

/** @param {ImageName} name */
function sourceHash(name) {
  const hash = createHash("sha256");
  const { sources, without } = images[name];
  /** @param {string} dir */
  const walk = (dir) => {
    for (const entry of readdirSync(dir, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = join(dir, entry.name);
      if (entry.isDirectory()) {
        if (entry.name !== without) walk(path);
      } else if (entry.isFile() && !entry.name.endsWith(".test.ts")) hash.update(entry.name).update(readFileSync(path));
    }
  };
  for (const source of sources) walk(join(root, "guest", source));
  return hash.digest("hex");
}

/** @param {ImageName} name */
export function imageMissing(name) {
  if (!existsSync(join(root, images[name].program))) return false;
  return !existsSync(stampOf(name)) || readFileSync(stampOf(name), "utf8") !== sourceHash(name);
}

/** @param {ImageName} name */
export async function makeImage(name) {
  const { program, asRoot } = images[name];
  // Beside the cache until it is whole; in a folder of its own, because two set-ups may run at a time.
  const fresh = `${imageCache}.${name}.${process.pid}`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  try {
    const command = [node, join(root, program), fresh];
    const prefix = asRoot ? rootPrefix(`Building the image ${name}`, command.join(" ")) : [];
    const [first = node, ...args] = [...prefix, ...command];
    const code = await passThrough(first, args, { stdio: ["ignore", 2, 2] });
    if (code !== 0) throw new Stop(`building the image ${name} ended with status ${code}; see above`);
    // A folder of root's cannot be moved by the ordinary user who asked: what was built becomes that user's first.
    const [sudo, ...more] = prefix;
    if (sudo !== undefined && (await passThrough(sudo, [...more, "chown", "-R", `--reference=${fresh}`, fresh])) !== 0)
      throw new Stop(`the image ${name} was built, but could not be given to you`);
    mkdirSync(imageCache, { recursive: true });
    for (const each of readdirSync(fresh)) {
      rmSync(join(imageCache, each), { recursive: true, force: true });
      renameSync(join(fresh, each), join(imageCache, each));
    }
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  writeFileSync(stampOf(name), sourceHash(name));
}
