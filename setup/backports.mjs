/** The one apt source that Debian 12 lacks: bookworm-backports, for QEMU >= 10 and libvirt >= 11.3. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { output } from "./process.mjs";

export const sourceFile = "/etc/apt/sources.list.d/vstation-backports.sources";

/** Is a source for it configured? Files are read rather than apt's cache, which is empty before the first update.
 * @param {string} codename */
export function hasBackports(codename) {
  return sources().some((text) => new RegExp(`^(?!\\s*#).*\\b${codename}-backports\\b`, "m").test(text));
}

function sources() {
  const parts = "/etc/apt/sources.list.d";
  const files = existsSync(parts)
    ? readdirSync(parts)
        .filter((name) => /\.(list|sources)$/.test(name))
        .map((name) => join(parts, name))
    : [];
  return ["/etc/apt/sources.list", ...files]
    .filter((file) => existsSync(file))
    .map((file) => readFileSync(file, "utf8"));
}

/** The text of the source file: the mirror that this machine already uses for the release itself.
 * @param {string} codename */
export function backportsSource(codename) {
  const uri =
    sources()
      .flatMap((text) => [...text.matchAll(/^(?:deb\s+(?:\[[^\]]*\]\s*)?|URIs:\s*)(\S+)(?:\s+(\S+))?/gm)])
      .map((match) => match[1] ?? "")
      .find((each) => /\/debian\/?$|\/archive\/debian\/\w+\/?$/.test(each)) ?? "http://deb.debian.org/debian";
  return `# Added by VStation's set-up: QEMU and libvirt newer than the release's. Remove with them.
Types: deb
URIs: ${uri}
Suites: ${codename}-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`;
}

/** Does apt know the suite (after an update)?
 * @param {string} codename */
export function backportsKnown(codename) {
  return output("apt-cache", ["policy"])?.includes(`n=${codename}-backports`) ?? false;
}
