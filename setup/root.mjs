/** Where things are in this repository. */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** The Node that everything but set-up itself runs on: an npm module of this package. */
export const node = join(root, "node_modules/.bin/node");
export const bin = join(root, "node_modules/.bin");
/** The tiny guest image, made once from guest/ and copied into each lab. */
export const imageCache = join(root, ".vstation/cache/images");
