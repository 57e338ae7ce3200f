/**
 * Builds the image `tiny`: Debian's cloud kernel, an initramfs of busybox and the probe, and a base disk with an empty file system.
 *
 *   node guest/build.ts DIR     writes DIR/img-tiny0001/{manifest.json,vmlinux,initrd,disk.qcow2}
 *
 * Needs apt's package lists, gcc with libc6-dev, qemu-utils and e2fsprogs; not root; nothing gets installed.
 *
 * It stays as it is while the recipe (the files named below) stays, and a rebuild for another recipe carries the old disk over: its
 * bytes under one id never change (another disk would need another id). How it comes to its place stands in place.ts.
 */
import { createHash } from "node:crypto";
import { copyFile, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { ImageManifest } from "../src/core/image-manifest.ts";
import { formatError, wrap } from "../src/lib/errors.ts";
import { parseId } from "../src/lib/ids.ts";
import { cpio, type CpioEntry } from "./cpio.ts";
import { kernelPackage, ModuleTree, readKernel, resolveKernel, type KernelModule } from "./kernel.ts";
import { buildImage, recipeKey, type BuildOptions } from "./place.ts";
import { run } from "./run.ts";

export const tinyImageId = parseId("image", "img-tiny0001") ?? fail();
const recipe = ["build.ts", "cpio.ts", "kernel.ts", "init", "dhcp", "probe.c", "load.c", "probe.h"];

// Without these the kernel spends a quarter of its boot under TCG on tests of ciphers and on keys that nothing here asks for.
const quick = "cryptomgr.notests initcall_blacklist=load_system_certificate_list,jent_mod_init";
const cmdline = `console=ttyS0 quiet panic=1 ${quick}`;

const bootModules = ["virtio_pci", "virtio_net", "virtio_blk", "isofs", "button", "evdev"];
const lateModules = ["virtio_balloon", "virtio_rng", "pvpanic_mmio"];
const vfatModules = ["vfat", "nls_cp437", "nls_ascii", "nls_utf8"];

/** Makes sure that the image stands in `targetDir` and returns its manifest; at once if it was built there from the same recipe. */
export async function buildTiny(targetDir: string, options: BuildOptions = {}): Promise<ImageManifest> {
  const say = options.onProgress ?? (() => {});
  const key = await recipeKey(import.meta.dirname, recipe);
  return buildImage(targetDir, {
    id: tinyImageId,
    key,
    make: async (image, work, before) => {
      const oldDisk = before === undefined ? undefined : join(before, "disk.qcow2");
      return buildInto(image, work, key, oldDisk, say);
    },
  });
}

async function buildInto(
  image: string,
  work: string,
  key: string,
  oldDisk: string | undefined,
  say: (step: string) => void,
): Promise<ImageManifest> {
  say("looking for the kernel package");
  const kernel = await resolveKernel();
  say(`downloading ${kernel.name} and busybox-static`);
  const packages = [`${kernel.name}=${kernel.version}`, "busybox-static"];
  const sandbox = process.getuid?.() === 0 ? ["-o", "APT::Sandbox::User=root"] : [];
  await run("apt-get", [...sandbox, "-q", "download", ...packages], { cwd: work, deadline: 300_000 });
  say("unpacking");
  const root = join(work, "root");
  for (const file of (await readdir(work)).filter((name) => name.endsWith(".deb"))) {
    await run("dpkg-deb", ["-x", join(work, file), root]);
  }
  const busyboxFile = (await run("find", [root, "-path", "*bin/busybox"])).toString().trim();
  const { file: kernelFile, content: kernelContent } = await readKernel(root);
  const tree = await ModuleTree.open(root, async (file) => await run(busyboxFile, ["xzcat", file]));
  const modules = {
    boot: await tree.take(bootModules),
    late: await tree.take(lateModules),
    vfat: await tree.take(vfatModules),
  };
  say("compiling the probe");
  const probe = await compileProbe(work);
  say("writing the image");
  const files = new Map([
    [kernelFile, kernelContent],
    [
      "initrd",
      initramfs(await readFile(busyboxFile), probe, modules, await readSource("init"), await readSource("dhcp")),
    ],
  ]);
  for (const [name, content] of files) await writeFile(join(image, name), content);
  const disk = join(image, "disk.qcow2");
  if (oldDisk === undefined) await makeDisk(disk, work);
  else await copyFile(oldDisk, disk);
  files.set("disk.qcow2", await readFile(disk));

  return {
    id: tinyImageId,
    name: "tiny",
    format: 1,
    architecture: "x86_64",
    boot: { kind: "direct", kernel: kernelFile, initrd: "initrd", cmdline },
    disk: { file: "disk.qcow2", format: "qcow2", virtualSizeGiB: 1 },
    minMemoryMiB: 128,
    osName: "Tiny Linux (Debian kernel)",
    platform: "Linux",
    sha256: Object.fromEntries([...files].map(([name, content]) => [name, sha256(content)])),
    built: { key, packages: { [kernelPackage]: `${kernel.name} ${kernel.version}` } },
  };
}

async function compileProbe(work: string): Promise<Buffer> {
  const out = join(work, "probe");
  const sources = ["probe.c", "load.c"].map((name) => join(import.meta.dirname, name));
  const flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-static", "-s", "-pthread"];
  try {
    await run("gcc", [...flags, "-o", out, ...sources]);
  } catch (error) {
    throw wrap("compiling the guest probe (it needs the packages gcc and libc6-dev)", error);
  }
  return await readFile(out);
}

function initramfs(
  busybox: Buffer,
  probe: Buffer,
  modules: Record<"boot" | "late" | "vfat", KernelModule[]>,
  init: Buffer,
  dhcp: Buffer,
): Buffer {
  const directories = ["bin", "dev", "disk", "etc", "lib", "proc", "root", "root/.ssh", "run", "seed", "sys", "tmp"];
  const entries: CpioEntry[] = directories.map((path) => ({ kind: "directory", path }));
  const file = (path: string, content: Buffer | string, mode = 0o644) =>
    entries.push({ kind: "file", path, mode, content: Buffer.from(content) });
  file("init", init, 0o755);
  file("bin/busybox", busybox, 0o755);
  file("bin/probe", probe, 0o755);
  entries.push({ kind: "link", path: "bin/sh", target: "busybox" });
  file("lib/dhcp", dhcp, 0o755);
  file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
  file("etc/profile", "export PATH=/bin\nPS1='\\h:\\w\\$ '\n");
  for (const [when, list] of Object.entries(modules)) {
    file(`lib/modules.${when}`, list.map(({ name }) => `${name}\n`).join(""));
    for (const { name, content } of list) file(`lib/${name}`, content);
  }
  return cpio(entries);
}

/** An ext4 of 1 GiB that the guest grows to its disk at start (room for the growth is in its group descriptors). */
async function makeDisk(file: string, work: string): Promise<void> {
  const raw = join(work, "disk.raw");
  await run("qemu-img", ["create", "-q", "-f", "raw", raw, "1G"]);
  const id = "7669b5f2-0000-4000-8000-000000000001";
  const extended = `resize=268435456,hash_seed=${id},lazy_itable_init=0,lazy_journal_init=0,nodiscard`;
  const args = [
    "-q",
    "-F",
    "-t",
    "ext4",
    "-b",
    "4096",
    "-N",
    "8192",
    "-J",
    "size=4",
    "-U",
    id,
    "-L",
    "tiny",
    "-E",
    extended,
    raw,
  ];
  await run("mke2fs", args, { env: { E2FSPROGS_FAKE_TIME: "1700000000" } });
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, file]);
}

async function readSource(name: string): Promise<Buffer> {
  return await readFile(join(import.meta.dirname, name));
}

function sha256(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}

function fail(): never {
  throw new Error("the image's id has not the form of one");
}

if (import.meta.main) {
  const target = process.argv[2];
  if (target === undefined) {
    process.stderr.write(`usage: node ${basename(import.meta.filename)} DIR\n`);
    process.exitCode = 2;
  } else {
    try {
      const manifest = await buildTiny(target, { onProgress: (step) => process.stderr.write(`${step}\n`) });
      process.stdout.write(`${join(target, manifest.id)}\n`);
    } catch (error) {
      process.stderr.write(`${formatError(error)}\n`);
      process.exitCode = 1;
    }
  }
}
