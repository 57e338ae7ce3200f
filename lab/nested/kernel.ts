/**
 * The kernel of nested hosts: Debian's generic one of trixie-backports, unpacked into the cache and never installed. The cloud
 * flavour lacks 9p and the drivers of a physical host; the newest series is taken because it has what a host is tested with beyond
 * KVM (hwpoison-inject, sched_ext), on Debian 12 as on 13. apt runs on lists and a source of its own: this machine's are not touched.
 *
 * Who else touches it: nested hosts read the modules at any time, so the folder is built beside its place, renamed into it whole,
 * and never changed. Two builds at once: the later one finds the first one's and drops its own.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cpio, type CpioEntry } from "../../guest/cpio.ts";
import { ModuleTree } from "../../guest/kernel.ts";
import { run as runBinary } from "../../guest/run.ts";
import { wrap } from "../../src/lib/errors.ts";

export interface NestedKernel {
  /** Holds `lib/modules/RELEASE` with the modules and their index. */
  readonly folder: string;
  readonly image: string;
  /** As `uname -r` tells it. */
  readonly release: string;
}

const suite = "trixie-backports";
const mirror = "http://deb.debian.org/debian";
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
const metapackage = "linux-image-amd64";

/** What the first moments need: the way to the root file system and to the host's own folder and disk. */
const bootModules = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_blk", "ext4"];

/** Makes it at the first need; some 120 MB are downloaded then. */
export async function nestedKernel(cache: string, progress: (line: string) => void): Promise<NestedKernel> {
  const place = join(cache, "nested-kernel");
  if (!existsSync(place)) {
    progress("downloading a kernel for nested hosts");
    const work = `${place}.${process.pid}`;
    rmSync(work, { recursive: true, force: true });
    mkdirSync(join(work, "lists/partial"), { recursive: true });
    try {
      renameSync(await unpack(work), place);
    } catch (error) {
      // Another lab may have been quicker.
      if (!existsSync(place)) throw wrap("making the kernel of nested hosts", error);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  const [release] = readdirSync(join(place, "lib/modules"));
  if (release === undefined) throw new Error(`${place} holds no modules: delete it and start again`);
  return { folder: place, image: join(place, "lib/modules", release, "vmlinuz"), release };
}

async function unpack(work: string): Promise<string> {
  const source = join(work, "debian.sources");
  const lines = ["Types: deb", `URIs: ${mirror}`, `Suites: ${suite}`, "Components: main", `Signed-By: ${keyring}`];
  writeFileSync(source, `${lines.join("\n")}\n`);
  const options = [
    ...["-o", "APT::Sandbox::User=root"],
    ...["-o", `Dir::Etc::SourceList=${source}`, "-o", "Dir::Etc::SourceParts=-"],
    ...["-o", `Dir::State::Lists=${join(work, "lists")}`],
    ...["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="],
  ];
  const apt = async (program: string, ...args: string[]): Promise<string> =>
    (await runBinary(program, [...options, "-q", ...args], { cwd: work, deadline: 600_000 })).toString();
  await apt("apt-get", "update");
  const image = dependency(await apt("apt-cache", "show", metapackage), /\blinux-image-\d[^\s,]*/);
  const shown = await apt("apt-cache", "show", image);
  const packages = ["base", "binary", "modules"].map((part) =>
    dependency(shown, new RegExp(`\\blinux-${part}-\\d[^\\s,]*`)),
  );
  await apt("apt-get", "download", ...packages);
  const root = join(work, "root");
  for (const file of readdirSync(work).filter((name) => name.endsWith(".deb"))) {
    await runBinary("dpkg-deb", ["-x", join(work, file), root], { deadline: 300_000 });
  }
  const modules = ["usr/lib/modules", "lib/modules"].map((each) => join(root, each)).find((each) => existsSync(each));
  const release = modules === undefined ? undefined : readdirSync(modules)[0];
  if (modules === undefined || release === undefined || !existsSync(join(modules, release, "vmlinuz"))) {
    throw new Error(`${packages.join(" and ")} hold no kernel`);
  }
  const made = join(work, "made");
  mkdirSync(join(made, "lib"), { recursive: true });
  renameSync(modules, join(made, "lib/modules"));
  await runBinary("depmod", ["-b", made, release], { deadline: 120_000 });
  return made;
}

function dependency(shown: string, pattern: RegExp): string {
  const found = pattern.exec(/^Depends: (.*)$/m.exec(shown)?.[1] ?? "")?.[0];
  if (found === undefined) throw new Error(`no dependency like ${pattern.source} in: ${shown.slice(0, 500)}`);
  return found;
}

/** Busybox, the first modules and `init`, which mounts this machine's own root read-only as the nested host's. */
export async function nestedInitramfs(kernel: NestedKernel): Promise<Buffer> {
  const tree = await ModuleTree.open(kernel.folder, (file) => runBinary("xz", ["-dc", file]));
  const modules = await tree.take(bootModules);
  const entries: CpioEntry[] = ["bin", "dev", "proc", "sys", "lib", "mnt", "outer", "root", "top"].map((path) => ({
    kind: "directory",
    path,
  }));
  const file = (path: string, content: Buffer | string, mode: number): void => {
    entries.push({ kind: "file", path, mode, content: Buffer.from(content) });
  };
  file("init", readFileSync(join(import.meta.dirname, "init")), 0o755);
  file("bin/busybox", readFileSync("/bin/busybox"), 0o755);
  entries.push({ kind: "link", path: "bin/sh", target: "busybox" });
  file("lib/modules", modules.map(({ name }) => `${name}\n`).join(""), 0o644);
  for (const { name, content } of modules) file(`lib/${name}.ko`, content, 0o644);
  return cpio(entries);
}
