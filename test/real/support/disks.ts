/** Disk files for tests of images: small ones that are what they should be, and some that are not. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

const mib = 1 << 20;

/** A raw disk with one partition over all of it, and random bytes in the first part of that. */
export function rawDisk(file: string, sizeMiB: number, randomMiB: number): string {
  const head = Buffer.alloc(mib);
  head[446 + 4] = 0x83;
  head.writeUInt32LE(2048, 446 + 8);
  head.writeUInt32LE((sizeMiB - 1) * 2048, 446 + 12);
  head.writeUInt16LE(0xaa55, 510);
  const handle = openSync(file, "w");
  writeSync(handle, head);
  for (let i = 0; i < randomMiB; i++) writeSync(handle, randomBytes(mib));
  writeSync(handle, Buffer.alloc(1), 0, 1, sizeMiB * mib - 1);
  closeSync(handle);
  return file;
}

const secret = ["--object", "secret,id=s,data=abc"];

/** Files that must be refused, each by its name, with the format to declare and the code that is answered. */
export function badDisks(
  directory: string,
): { file: string; format: "qcow2" | "raw" | "vmdk" | "vhd"; code: string }[] {
  const at = (name: string): string => join(directory, name);
  const img = (...args: string[]): void => void execFileSync("qemu-img", args, { stdio: "ignore" });
  const disk = rawDisk(at("base.raw"), 8, 4);
  img("convert", "-f", "raw", "-O", "qcow2", disk, at("base.qcow2"));
  img("create", "-f", "qcow2", "-b", at("base.qcow2"), "-F", "qcow2", at("overlay.qcow2"));
  img("create", "-f", "qcow2", "-o", `data_file=${at("data.raw")}`, at("external.qcow2"), "8M");
  img("create", "-f", "qcow2", ...secret, "-o", "encrypt.format=luks,encrypt.key-secret=s", at("locked.qcow2"), "8M");
  img("create", "-f", "qcow2", at("huge.qcow2"), "100T");
  img("convert", "-f", "raw", "-O", "vpc", disk, at("disk.vhd"));
  img("create", "-f", "vmdk", "-o", "subformat=monolithicFlat", at("flat.vmdk"), "8M");
  img("create", "-f", "qcow2", at("empty.qcow2"), "8M");
  writeFileSync(at("noise.raw"), randomBytes(mib));
  execFileSync("cp", [at("base.qcow2"), at("cut.qcow2")]);
  execFileSync("truncate", ["-s", "-1M", at("cut.qcow2")]);
  return [
    { file: at("overlay.qcow2"), format: "qcow2", code: "BackingFile" },
    { file: at("external.qcow2"), format: "qcow2", code: "ExternalData" },
    { file: at("locked.qcow2"), format: "qcow2", code: "Encrypted" },
    { file: at("huge.qcow2"), format: "qcow2", code: "TooLarge" },
    { file: at("cut.qcow2"), format: "qcow2", code: "Truncated" },
    { file: at("empty.qcow2"), format: "qcow2", code: "NoPartitionTable" },
    { file: at("disk.vhd"), format: "qcow2", code: "WrongFormat" },
    { file: at("base.qcow2"), format: "raw", code: "WrongFormat" },
    { file: at("noise.raw"), format: "raw", code: "NoPartitionTable" },
    { file: at("flat.vmdk"), format: "vmdk", code: "ExternalData" },
  ];
}
