/** `node lab/images.ts --cache DIR [--home DIR]`: gives the images of the cache to a lab, also while it runs. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { takeImages } from "./cache.ts";
import { Home } from "./home.ts";

const { values } = parseArgs({
  options: { cache: { type: "string" }, home: { type: "string", default: ".vstation" } },
});
if (values.cache === undefined) throw new Error("usage: images.ts --cache DIR [--home DIR]");
if (existsSync(resolve(values.home, "lab.json"))) {
  const home = new Home(values.home);
  takeImages(values.cache, home.imageDir);
  process.stdout.write(`the lab in ${home.path} has it; ./vstation image list shows it\n`);
} else {
  process.stdout.write("built; every lab that is started from now on has it\n");
}
