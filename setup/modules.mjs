/** The npm modules: installed exactly as the lock file says, again only when the lock file is another one. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { output, passThrough } from "./process.mjs";
import { root, node } from "./root.mjs";
import { say, step, Stop } from "./say.mjs";

const stamp = join(root, "node_modules/.vstation-stamp");

function lockHash() {
  return createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex");
}

/** What is missing, as a line for the list; undefined when nothing is. */
export function missingModules() {
  if (!existsSync(stamp)) return "npm modules";
  return readFileSync(stamp, "utf8") === lockHash() ? undefined : "npm modules (package-lock.json has changed)";
}

export async function installModules() {
  await step("npm ci", async () => {
    const npm = process.env["npm_execpath"];
    const args = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
    const code =
      npm === undefined
        ? await passThrough("npm", args, { cwd: root })
        : await passThrough(process.execPath, [npm, ...args], { cwd: root });
    if (code !== 0) throw new Stop(`npm ci ended with status ${code}; nothing else was changed`);
  });
  const version = output(node, ["--version"])?.trim();
  if (version === undefined || !version.startsWith("v24.")) {
    throw new Stop(
      `${node} should be Node 24 but ${version === undefined ? "does not run" : `is ${version}`}: is \`ignore-scripts\` set in an npmrc? Unset it and run again.`,
    );
  }
  writeFileSync(stamp, lockHash());
  say(`  Node ${version} for everything that follows`);
}
