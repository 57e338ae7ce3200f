/** Where things are in this repository. */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** The Node that everything but set-up itself runs on: an npm module of this package. */
export const node = join(root, "node_modules/.bin/node");
export const bin = join(root, "node_modules/.bin");
/** What every lab would otherwise make anew. */
export const cache = join(root, ".vstation/cache");
/** The tiny guest image, made once from guest/ and copied into each lab. */
export const imageCache = join(cache, "images");
