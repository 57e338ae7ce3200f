/**
 * What is looked at in a disk file that somebody brings, before any program reads it as what it is declared to be.
 *
 * The danger is not the guest's content but the container: QEMU follows a name that stands in a file (a backing file, an external
 * data file, a descriptor's extents) to any file of the machine it runs on, and believes sizes that it is told. So each format's
 * header is read here by its specification, only its plain form is accepted, and everything that points elsewhere is refused
 * with the reason. Whoever converts the file afterwards does so unprivileged and without a network all the same.
 *
 * Pure: bytes come through `read`, which returns fewer of them at the end of the file.
 */
import { unreachable } from "../../lib/errors.ts";
import { ImportRefusal, type DiskFormat } from "../image.ts";
import { inspectQcow2 } from "./qcow2.ts";
import { inspectRaw } from "./partition-table.ts";
import { inspectVhd } from "./vhd.ts";
import { inspectVmdk } from "./vmdk.ts";

export interface DiskFile {
  readonly size: number;
  read(offset: number, length: number): Promise<Buffer>;
}

/** Bytes of the disk that a guest would see; throws an {@link ImportRefusal}. */
export async function inspectDisk(format: DiskFormat, file: DiskFile): Promise<{ virtualBytes: number }> {
  if (file.size === 0) throw new ImportRefusal("Truncated", "the file is empty");
  const head = await file.read(0, 512);
  const looksLike = formatOf(head);
  if (looksLike !== undefined && !accepted[format].includes(looksLike)) {
    throw new ImportRefusal("WrongFormat", `it was declared as ${format}, and the file is ${looksLike}`);
  }
  switch (format) {
    case "qcow2":
      return inspectQcow2(file);
    case "raw":
      return inspectRaw(file);
    case "vmdk":
      return inspectVmdk(file);
    case "vhd":
      return inspectVhd(file);
    default:
      return unreachable(format);
  }
}

const accepted: Readonly<Record<DiskFormat, readonly string[]>> = {
  qcow2: ["qcow2"],
  raw: [],
  vmdk: ["vmdk", "a VMDK descriptor without its data"],
  vhd: ["vhd"],
};

/** What a file's first bytes say, to tell a mistake by its name. */
function formatOf(head: Buffer): string | undefined {
  const starts = (text: string): boolean => head.toString("latin1", 0, text.length) === text;
  if (starts("QFI\xfb")) return "qcow2";
  if (starts("KDMV") || starts("COWD")) return "vmdk";
  if (starts("# Disk DescriptorFile")) return "a VMDK descriptor without its data";
  if (starts("conectix")) return "vhd";
  if (starts("vhdxfile")) return "vhdx, which is not taken: convert it to vhd or qcow2";
  if (starts("\x1f\x8b") || starts("\xfd7zXZ") || starts("BZh") || starts("PK\x03\x04") || starts("\x28\xb5\x2f\xfd")) {
    return "compressed: unpack it first";
  }
  return undefined;
}
