/** Finds everything that is missing, says it in one list, checks that it may be installed at all, and then installs it. */
import { join } from "node:path";
import { backportsSource, hasBackports, sourceFile } from "./backports.mjs";
import { imageMissing, makeImage } from "./image.mjs";
import { installModules, missingModules } from "./modules.mjs";
import { debian, missingPackages } from "./packages.mjs";
import { passThrough } from "./process.mjs";
import { agree, rootPrefix } from "./rights.mjs";
import { root } from "./root.mjs";
import { say, step, Stop } from "./say.mjs";

/** @param {{ repeat: string, lab: boolean, images?: boolean, yes: boolean }} wanted `lab`: more than the npm modules, and root;
 * `images`: debian-12 too; `repeat`: the command to give again with --yes */
export async function provide({ repeat, lab, images = false, yes }) {
  const modules = missingModules();
  const packages = lab ? missingPackages(images ? "images" : "lab") : [];
  const release = packages.length > 0 ? debian() : undefined;
  const source =
    release?.version === "12" && packages.some((each) => each.backports) && !hasBackports(release.codename);
  /** @type {readonly import("./image.mjs").ImageName[]} */
  const wanted = images ? ["tiny", "debian-12"] : ["tiny"];
  const missing = lab ? wanted.filter(imageMissing) : [];
  if (modules === undefined && packages.length === 0 && missing.length === 0) return;

  say("VStation needs, and this machine lacks:");
  if (modules !== undefined) say(`  - ${modules}`);
  if (source) say(`  - the apt source ${release.codename}-backports`);
  if (packages.length > 0) say(`  - Debian packages: ${packages.map((each) => each.name).join(" ")}`);
  for (const name of missing) say(`  - the image ${name}${name === "debian-12" ? " (one to two minutes)" : ""}`);

  const flags = [...(source ? ["--source"] : []), ...(images ? ["--images"] : [])];
  const installer = ["node", join(root, "setup/install.mjs"), ...flags];
  const prefix =
    packages.length === 0
      ? []
      : rootPrefix("Installing Debian packages", installer.join(" "), ", then repeat the command");
  // Asked for again when the lab is started; here, so that nothing is installed for somebody who cannot use it.
  if (lab) rootPrefix("Running lab hosts", repeat);
  if (source) {
    const text = backportsSource(release.codename).split("\n").slice(1, -1).join("; ");
    await agree(`May ${sourceFile} be written (${text})? Only QEMU and libvirt are taken from it.`, yes, repeat);
  }

  if (modules !== undefined) await installModules();
  if (packages.length > 0) {
    await step(`installing ${packages.length} Debian packages`, async () => {
      const command = [...prefix, process.execPath, ...installer.slice(1)];
      const code = await passThrough(command[0] ?? "", command.slice(1));
      if (code !== 0) throw new Stop("the packages were not installed; see above");
    });
  }
  for (const name of missing) await step(`building the image ${name}`, () => makeImage(name));
}
