/**
 * A disk that starts by BIOS and by UEFI, secure boot on or off, put together in plain files: no loop device, no mount, no device
 * map, so it is made wherever files can be written.
 *
 *   LBA 0      protective MBR, with GRUB's boot.img in its first 440 bytes        BIOS starts here
 *   1 MiB      partition 1, "BIOS boot": GRUB's core.img, all it needs inside
 *   2 MiB      partition 2, EFI system partition (FAT): shim, signed GRUB         UEFI starts here
 *   34 MiB     partition 3, the root file system, last so that it can grow
 *
 * Both loaders end in one menu, /boot/grub/grub.cfg on the root file system, which names /vmlinuz and /initrd.img: links that
 * Debian's kernel packages keep at the newest kernel. So an upgrade inside the guest needs no tool that knows of this disk.
 *
 * What `grub-bios-setup` would do on a device is three numbers: boot.img holds the sector of core.img (at 0x5c), and core.img's first
 * sector holds where its rest lies (at 0x1f4: first sector, count, segment). They are the same in GRUB 2.02 to 2.12
 * (include/grub/i386/pc/boot.h: GRUB_BOOT_MACHINE_KERNEL_SECTOR; kernel.h: struct grub_pc_bios_boot_blocklist).
 */
import { open, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../run.ts";

const sector = 512;
const mib = 1 << 20;
const biosBoot = { start: 1 * mib, size: 1 * mib };
const esp = { start: 2 * mib, size: 32 * mib };
const root = { start: 34 * mib };

/** The label by which both loaders and the kernel find the root file system. */
export const rootLabel = "root";

/** What the BIOS loader must have inside, as it has no place to load it from. */
const grubModules = ["biosdisk", "part_gpt", "ext2", "search_label", "configfile", "normal", "linux", "serial", "echo"];

const findMenu = `search --no-floppy --label ${rootLabel} --set=root
set prefix=($root)/boot/grub
configfile ($root)/boot/grub/grub.cfg
`;

/** The menu on the root file system. The serial line is where a cloud's guest is looked at. */
export const grubMenu = `serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=0
menuentry "Debian" {
  linux /vmlinuz root=LABEL=${rootLabel} ro console=tty0 console=ttyS0,115200
  initrd /initrd.img
}
menuentry "Debian, the kernel before" {
  linux /vmlinuz.old root=LABEL=${rootLabel} ro console=tty0 console=ttyS0,115200
  initrd /initrd.img.old
}
`;

/** Packages whose files the loaders are taken from; none of them gets installed anywhere. */
export const loaderPackages = ["grub-common", "grub-pc-bin", "grub-efi-amd64-signed", "shim-signed"];

export interface DiskParts {
  /** The loader packages, unpacked. */
  readonly loader: string;
  /** An image of the root file system, a whole number of MiB. */
  readonly rootImage: string;
  readonly work: string;
  readonly uuids: { readonly disk: string; readonly bios: string; readonly esp: string; readonly root: string };
}

/** Writes the raw disk `file`. */
export async function writeDisk(file: string, parts: DiskParts): Promise<void> {
  const rootSize = (await stat(parts.rootImage)).size;
  await writeFile(file, "");
  // One MiB behind the last partition holds the second partition table.
  await truncate(file, root.start + rootSize + mib);
  await partition(file, parts, rootSize);
  await writeBiosLoader(file, parts);
  const espImage = join(parts.work, "esp.img");
  await writeEsp(espImage, parts);
  await run("dd", [`if=${espImage}`, `of=${file}`, "bs=1M", `seek=${esp.start / mib}`, "conv=notrunc,sparse"]);
  const seek = `seek=${root.start / mib}`;
  await run("dd", [`if=${parts.rootImage}`, `of=${file}`, "bs=1M", seek, "conv=notrunc,sparse"], { deadline: 300_000 });
}

async function partition(file: string, { uuids, work }: DiskParts, rootSize: number): Promise<void> {
  const line = (start: number, size: number, type: string, uuid: string, name: string): string =>
    `start=${start / sector}, size=${size / sector}, type=${type}, uuid=${uuid}, name="${name}"`;
  const script = [
    "label: gpt",
    `label-id: ${uuids.disk}`,
    line(biosBoot.start, biosBoot.size, "21686148-6449-6E6F-744E-656564454649", uuids.bios, "bios"),
    line(esp.start, esp.size, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", uuids.esp, "esp"),
    line(root.start, rootSize, "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", uuids.root, "root"),
    "",
  ].join("\n");
  const scriptFile = join(work, "partitions");
  await writeFile(scriptFile, script);
  await run("sh", ["-c", 'exec sfdisk --quiet --no-reread --no-tell-kernel "$1" <"$2"', "sh", file, scriptFile]);
}

async function writeBiosLoader(file: string, { loader, work }: DiskParts): Promise<void> {
  const modules = join(loader, "usr/lib/grub/i386-pc");
  const config = join(work, "bios.cfg");
  const coreFile = join(work, "core.img");
  await writeFile(config, findMenu);
  const target = ["--format=i386-pc", `--directory=${modules}`, `--config=${config}`, `--output=${coreFile}`];
  await run(join(loader, "usr/bin/grub-mkimage"), [...target, "--prefix=(hd0,gpt3)/boot/grub", ...grubModules]);
  const [boot, core] = await Promise.all([readFile(join(modules, "boot.img")), readFile(coreFile)]);
  const sectors = Math.ceil(core.length / sector);
  if (sectors * sector > biosBoot.size)
    throw new Error(`GRUB's core takes ${core.length} bytes and has ${biosBoot.size}`);
  const first = biosBoot.start / sector;
  boot.writeBigUInt64LE(BigInt(first), 0x5c);
  // Two bytes that let the drive which the firmware names be believed: `jmp` becomes two `nop`.
  boot.writeUInt16LE(0x9090, 0x66);
  core.writeBigUInt64LE(BigInt(first + 1), 0x1f4);
  core.writeUInt16LE(sectors - 1, 0x1fc);
  core.writeUInt16LE(0x820, 0x1fe);
  const disk = await open(file, "r+");
  try {
    await disk.write(boot, 0, 440, 0);
    await disk.write(core, 0, core.length, biosBoot.start);
  } finally {
    await disk.close();
  }
}

/** The fallback paths of the UEFI specification, so that a machine starts it which has never seen it. */
async function writeEsp(image: string, { loader, work }: DiskParts): Promise<void> {
  const config = join(work, "efi.cfg");
  await writeFile(config, findMenu);
  await writeFile(image, "");
  await truncate(image, esp.size);
  await run("mformat", ["-i", image, "-v", "ESP", "-T", String(esp.size / sector), "-h", "64", "-s", "32", "::"]);
  await run("mmd", ["-i", image, "::/EFI", "::/EFI/BOOT", "::/EFI/debian"]);
  const copies = [
    [join(loader, "usr/lib/shim/shimx64.efi.signed"), "::/EFI/BOOT/BOOTX64.EFI"],
    [join(loader, "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"), "::/EFI/BOOT/grubx64.efi"],
    // Where Debian's signed GRUB looks, whatever it was started as.
    [config, "::/EFI/debian/grub.cfg"],
  ] as const;
  for (const [from, to] of copies) await run("mcopy", ["-i", image, from, to]);
}
