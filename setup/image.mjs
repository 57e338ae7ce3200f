/** The tiny guest image: built from guest/ into a cache, again only when its sources are others. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { passThrough } from "./process.mjs";
import { imageCache, node, root } from "./root.mjs";
import { Stop } from "./say.mjs";

const stamp = `${imageCache}.stamp`;

function sourceHash() {
  const hash = createHash("sha256");
  /** @param {string} dir */
  const walk = (dir) => {
    for (const entry of readdirSync(dir, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = join(dir, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (entry.isFile() && !entry.name.endsWith(".test.ts")) hash.update(entry.name).update(readFileSync(path));
    }
  };
  walk(join(root, "guest"));
  return hash.digest("hex");
}

export function imageMissing() {
  if (!existsSync(join(root, "guest/build.ts"))) return false;
  return !existsSync(stamp) || readFileSync(stamp, "utf8") !== sourceHash();
}

export async function makeImage() {
  // Under another name until it is whole; one of its own, because two set-ups may run at a time.
  const fresh = `${imageCache}.${process.pid}`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  try {
    const code = await passThrough(node, [join(root, "guest/build.ts"), fresh], { stdio: ["ignore", 2, 2] });
    if (code !== 0) throw new Stop(`building the guest image ended with status ${code}; see above`);
    rmSync(imageCache, { recursive: true, force: true });
    renameSync(fresh, imageCache);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  writeFileSync(stamp, sourceHash());
}
