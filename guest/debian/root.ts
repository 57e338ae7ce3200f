/**
 * The root file system of `debian-12`: Debian's own packages by mmdebstrap and a handful of settings, each with its reason. What is
 * not here is Debian's default, so that it behaves as Debian's cloud images do: login as `debian` by key, sudo without a password.
 */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { run, show } from "../run.ts";
import { grubMenu, loaderPackages, rootLabel } from "./loader.ts";

export const suite = "bookworm";

const packages = [
  "systemd-sysv",
  "systemd-resolved",
  "systemd-timesyncd",
  "udev",
  "dbus",
  "linux-image-cloud-amd64",
  "initramfs-tools",
  "e2fsprogs",
  "cloud-init",
  "cloud-guest-utils", // growpart
  "netplan.io",
  "openssh-server",
  "qemu-guest-agent",
  "sudo",
  "ca-certificates",
  "curl",
  "iproute2",
  "iputils-ping",
  "less",
  "mokutil",
  "vim-tiny",
];

const files: Readonly<Record<string, string>> = {
  "boot/grub/grub.cfg": grubMenu,
  "etc/fstab": `LABEL=${rootLabel} / ext4 discard,errors=remount-ro 0 1\n`,
  "etc/hostname": "debian\n",
  // Empty: each machine gets its own at its first start.
  "etc/machine-id": "",
  "etc/cloud/cloud.cfg.d/90_vstation.cfg": `# The seed is a disk labelled "cidata"; nothing is asked over the network, so nothing waits for it.
datasource_list: [NoCloud, None]
# An RSA key takes seconds on an emulated processor, and every client of today takes these.
ssh_genkeytypes: [ed25519, ecdsa]
# The C.UTF-8 of the image.
locale: false
`,
  "etc/default/locale": "LANG=C.UTF-8\n",
};

/** What is of no use in a machine that is replaced rather than tended, or costs seconds of each start. */
const disabled = ["apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "e2scrub_reap.service"];
const enabled = ["systemd-networkd.service", "serial-getty@ttyS0.service"];

/** Makes the file system's tree in `root` and the loaders' files in `loader`; returns the versions that were installed. */
export async function makeRoot(root: string, loader: string): Promise<Record<string, string>> {
  const debs = join(root, "loader");
  const option = (name: string, value: string): string => `--${name}=${value}`;
  const args = [
    "--mode=root",
    "--variant=minbase",
    // The tree lies where only root may go.
    option("aptopt", 'APT::Sandbox::User "root"'),
    option("aptopt", 'Acquire::Languages "none"'),
    option("dpkgopt", "path-exclude=/usr/share/man/*"),
    option("dpkgopt", "path-exclude=/usr/share/locale/*"),
    option("dpkgopt", "path-exclude=/usr/share/doc/*"),
    option("dpkgopt", "path-include=/usr/share/doc/*/copyright"),
    option("include", packages.join(",")),
    // Of the same suite as the kernel: shim, GRUB and kernel vouch for each other by Debian's signatures.
    option(
      "customize-hook",
      `mkdir "$1/loader" && cd "$1/loader" && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -q download ${loaderPackages.join(" ")}`,
    ),
    suite,
    root,
  ];
  // It names each of its steps, and at a terminal draws how far it is.
  await show("mmdebstrap", args, { deadline: 1_200_000, env: { SOURCE_DATE_EPOCH: undefined } });
  await mkdir(loader, { recursive: true });
  await run("sh", ["-c", 'for deb in "$1"/*.deb; do dpkg-deb -x "$deb" "$2" || exit; done', "sh", debs, loader]);
  await rm(debs, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), content);
  }
  // Each machine makes its own.
  await run("sh", ["-c", 'rm -f "$1"/etc/ssh/ssh_host_*', "sh", root]);
  await run("chroot", [root, "systemctl", "--quiet", "enable", ...enabled]);
  await run("chroot", [root, "systemctl", "--quiet", "disable", ...disabled]);
  return installed(root);
}

async function installed(root: string): Promise<Record<string, string>> {
  const query = ["--admindir", join(root, "var/lib/dpkg"), "-W", "-f", "${Package} ${Version}\\n"];
  const lines = (await run("dpkg-query", query)).toString().trim().split("\n");
  const named = ["cloud-init", "openssh-server", "systemd"];
  const shown = lines
    .map((line) => line.split(" "))
    .filter(([name = ""]) => named.includes(name) || /^linux-image-\d/.test(name));
  return Object.fromEntries(shown.map(([name = "", version = ""]) => [name, version]));
}
