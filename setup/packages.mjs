/** The Debian packages that a host and a lab need (and what more the image debian-12 takes), and which of them are missing or too old here. */
import { readFileSync } from "node:fs";
import { output } from "./process.mjs";
import { Stop } from "./say.mjs";

/** @typedef {{ name: string, atLeast?: string, backports?: boolean }} Package */

/** What a host of VStation needs, in a lab or by itself. `backports`: on Debian 12 the release's own version is too old, so it comes
 * from bookworm-backports.
 * @type {readonly Package[]} */
const neededByHosts = [
  { name: "qemu-system-x86", atLeast: "1:10.0", backports: true },
  { name: "qemu-utils", atLeast: "1:10.0", backports: true },
  { name: "seabios", backports: true },
  { name: "ipxe-qemu" },
  { name: "ovmf" },
  { name: "swtpm" },
  { name: "swtpm-tools" },
  { name: "libvirt-daemon", atLeast: "11.3", backports: true },
  { name: "libvirt-daemon-driver-qemu", atLeast: "11.3", backports: true },
  { name: "dnsmasq-base" },
  { name: "nftables" },
  { name: "conntrack" },
  { name: "iproute2" },
  { name: "procps" },
  { name: "util-linux" },
  { name: "kmod" },
  { name: "e2fsprogs" },
];

/** A machine that is a host by itself: libvirtd's units and its unprivileged user for QEMU.
 * @type {readonly Package[]} */
const neededByMachines = [{ name: "libvirt-daemon-system", atLeast: "11.3", backports: true }];

/** The lab itself, and the tiny image.
 * @type {readonly Package[]} */
const neededByLabs = [
  { name: "libvirt-clients", atLeast: "11.3", backports: true },
  { name: "tini" },
  // Machines that tests make begin with it.
  { name: "systemd" },
  { name: "busybox-static" },
  { name: "postgresql" },
  { name: "gcc" },
  { name: "libc6-dev" },
  { name: "cpio" },
  { name: "xz-utils" },
  { name: "zstd" },
];

/** Building debian-12, and logging in to it.
 * @type {readonly Package[]} */
const neededForImages = [
  { name: "mmdebstrap" },
  { name: "fdisk" },
  { name: "mtools" },
  // GRUB's own tools are taken out of their package and need it.
  { name: "libdevmapper1.02.1" },
  { name: "openssh-client" },
];

/** What of the above may come from backports; everything else stays at the release's version. */
export const fromBackports = ["qemu-*", "libvirt*", "seabios"];

/** The release this machine runs; stops on one where the packages above do not exist. */
export function debian() {
  /** @type {Record<string, string>} */
  const facts = {};
  for (const line of readOsRelease().split("\n")) {
    const match = /^(\w+)="?([^"]*)"?$/.exec(line);
    if (match?.[1] !== undefined) facts[match[1]] = match[2] ?? "";
  }
  const { ID: id, VERSION_ID: version, VERSION_CODENAME: codename, PRETTY_NAME: name } = facts;
  if (id === "debian" && (version === "12" || version === "13") && codename !== undefined) return { version, codename };
  throw new Stop(
    `Hosts and labs run on Debian 12 and 13; this is ${name ?? "something else"}. \`npm run check\` works everywhere.`,
  );
}

function readOsRelease() {
  try {
    return readFileSync("/etc/os-release", "utf8");
  } catch {
    return "";
  }
}

/** @typedef {"host" | "lab" | "images"} Purpose `host`: this machine alone; `images`: a lab, and building images */

/** @type {Readonly<Record<Purpose, readonly Package[]>>} */
const needed = {
  host: [...neededByHosts, ...neededByMachines],
  lab: [...neededByHosts, ...neededByLabs],
  images: [...neededByHosts, ...neededByLabs, ...neededForImages],
};

/** Those that are not installed in the version needed. Reads dpkg's own records; takes some milliseconds.
 * @param {Purpose} purpose */
export function missingPackages(purpose) {
  const text = output("dpkg-query", ["-W", "-f", "${Package}\\t${db:Status-Abbrev}\\t${Version}\\n"]) ?? "";
  const installed = new Map(
    text
      .split("\n")
      .map((line) => line.split("\t"))
      .filter((fields) => fields[1]?.startsWith("ii"))
      .map((fields) => [fields[0], fields[2] ?? ""]),
  );
  return needed[purpose].filter(({ name, atLeast }) => {
    const version = name === "postgresql" ? postgresServer(installed) : installed.get(name);
    if (version === undefined) return true;
    return atLeast !== undefined && output("dpkg", ["--compare-versions", version, "ge", atLeast]) === undefined;
  });
}

/** Any server from 15 on will do, whether the metapackage or the operator brought it.
 * @param {Map<string | undefined, string>} installed */
function postgresServer(installed) {
  for (const [name, version] of installed) {
    const major = /^postgresql-(\d+)$/.exec(name ?? "")?.[1];
    if (major !== undefined && Number(major) >= 15) return version;
  }
  return undefined;
}
