/**
 * Installs Debian packages and nothing else: no service of theirs is started or enabled, no database cluster is made, no other
 * package is upgraded. Runs as root, as a program of its own (`node setup/install.mjs [--source] [--host | --images]`), so that an
 * ordinary user's set-up can call it through sudo. What it puts aside for the time of the installation it puts back, also when it fails.
 */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { backportsSource, hasBackports, sourceFile } from "./backports.mjs";
import { debian, fromBackports, missingPackages } from "./packages.mjs";
import { say, Stop } from "./say.mjs";

/** @param {string} program @param {readonly string[]} args */
function must(program, args) {
  const result = spawnSync(program, args, {
    stdio: ["ignore", 2, 2],
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive", NEEDRESTART_MODE: "l", APT_LISTCHANGES_FRONTEND: "none" },
  });
  if (result.status !== 0) throw new Stop(`${program} ${args.join(" ")} ended with status ${result.status}`);
}

/** Symbolic links under these folders are what "enabled" means, for systemd and for System V. */
function enabled() {
  /** @type {Set<string>} */
  const links = new Set();
  /** @param {string} dir @param {number} depth */
  const walk = (dir, depth) => {
    for (const name of existsSync(dir) ? readdirSync(dir) : []) {
      const path = join(dir, name);
      const stat = lstatSync(path);
      if (stat.isSymbolicLink()) links.add(path);
      else if (stat.isDirectory() && depth > 0) walk(path, depth - 1);
    }
  };
  walk("/etc/systemd/system", 2);
  walk("/etc/systemd/user", 2);
  for (const level of [2, 3, 4, 5]) walk(`/etc/rc${level}.d`, 0);
  return links;
}

/** A file that says no to every start of a service, in the place of whatever was there. Returns how to put that back. */
function forbidStarts() {
  const file = "/usr/sbin/policy-rc.d";
  const aside = `${file}.before-vstation`;
  // An aside from a set-up that was killed is the machine's true file; ours must not become it.
  if (existsSync(file) && !existsSync(aside)) renameSync(file, aside);
  writeFileSync(file, "#!/bin/sh\n# VStation's set-up is installing packages: nothing starts meanwhile.\nexit 101\n", {
    mode: 0o755,
  });
  return () => {
    rmSync(file, { force: true });
    if (existsSync(aside)) renameSync(aside, file);
  };
}

/** Keeps postgresql-common from making a cluster of its own. Returns how to put the setting back. */
function forbidCluster() {
  const file = "/etc/postgresql-common/createcluster.d/vstation-setup.conf";
  const made = [dirname(file), dirname(dirname(file))].filter((dir) => !existsSync(dir));
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, "create_main_cluster = false\n");
  return () => {
    rmSync(file, { force: true });
    for (const dir of made) if (existsSync(dir) && readdirSync(dir).length === 0) rmSync(dir, { recursive: true });
  };
}

/** @param {boolean} maySource @param {import("./packages.mjs").Purpose} purpose */
function install(maySource, purpose) {
  const { version, codename } = debian();
  const missing = missingPackages(purpose);
  if (missing.length === 0) return;
  const backports = version === "12" && missing.some((each) => each.backports);
  if (backports && !hasBackports(codename)) {
    if (!maySource) throw new Stop("the apt source for backports is missing and --source was not given");
    writeFileSync(sourceFile, backportsSource(codename), { mode: 0o644 });
    say(`  wrote ${sourceFile}`);
  }

  const temporary = mkdtempSync(join(tmpdir(), "vstation-setup-"));
  const preferences = join(temporary, "preferences");
  // Only these may come from backports, and they do so by plain version order; `-t` would lift every dependency with them.
  writeFileSync(
    preferences,
    `Package: ${fromBackports.join(" ")}\nPin: release n=${codename}-backports\nPin-Priority: 500\n`,
  );
  const options = backports ? ["-o", `Dir::Etc::Preferences=${preferences}`] : [];
  const before = enabled();
  const undo = [() => rmSync(temporary, { recursive: true, force: true }), forbidStarts(), forbidCluster()];
  try {
    must("apt-get", ["-q", "update"]);
    must("apt-get", [
      "-q",
      "-y",
      ...options,
      "-o",
      "Dpkg::Options::=--force-confold",
      "-o",
      "Dpkg::Use-Pty=0",
      "-o",
      "DPkg::Lock::Timeout=300",
      "install",
      "--no-install-recommends",
      "--no-remove",
      ...missing.map((each) => each.name),
    ]);
  } finally {
    for (const each of undo.reverse()) each();
    for (const link of enabled()) if (!before.has(link)) unlinkSync(link);
    if (existsSync("/run/systemd/system")) spawnSync("systemctl", ["daemon-reload"], { stdio: "ignore" });
  }
}

try {
  const purpose = process.argv.includes("--host") ? "host" : process.argv.includes("--images") ? "images" : "lab";
  install(process.argv.includes("--source"), purpose);
  const still = missingPackages(purpose).map((each) => each.name);
  if (still.length > 0)
    throw new Stop(`apt-get ended well, but these are still missing or too old: ${still.join(", ")}`);
} catch (error) {
  if (!(error instanceof Stop)) throw error;
  say(error.message);
  process.exitCode = 1;
}
