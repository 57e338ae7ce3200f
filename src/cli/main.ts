/**
 * The `vstation` command. Half of a short run is Node turning sources into code, so what it made is kept for the next run: inside
 * the package, because whoever can write there can change the sources as well. Where it cannot be written, nothing is kept.
 */
import { enableCompileCache } from "node:module";
import { join } from "node:path";

enableCompileCache(join(import.meta.dirname, "../../node_modules/.cache/vstation-cli"));
await import("./process.ts");
