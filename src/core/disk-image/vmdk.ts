/**
 * VMDK: only the two forms that are one file, `monolithicSparse` and `streamOptimized` (VMware's "Virtual Disk Format 5.0"). Each
 * embeds a text descriptor, and QEMU follows the file names in one: so that text is read here too, and a parent or a second
 * extent is refused. A header without a capacity makes QEMU take the file for a descriptor alone; it is refused as well.
 */
import { ImportRefusal } from "../image.ts";
import type { DiskFile } from "./inspect.ts";

const sector = 512;
const oneFile = new Set(["monolithicsparse", "streamoptimized"]);
const largestDescriptor = 1 << 20;

export async function inspectVmdk(file: DiskFile): Promise<{ virtualBytes: number }> {
  const head = await file.read(0, sector);
  const magic = head.toString("latin1", 0, 4);
  if (magic !== "KDMV") {
    const lone = head.toString("latin1", 0, 21) === "# Disk DescriptorFile";
    throw lone
      ? new ImportRefusal(
          "ExternalData",
          "it is a VMDK descriptor whose data lies in other files: export it as one file",
        )
      : new ImportRefusal("WrongFormat", "the file is no VMDK of one file (monolithicSparse or streamOptimized)");
  }
  if (head.length < sector) throw new ImportRefusal("Truncated", "the file ends within the VMDK header");
  const capacity = head.readBigUInt64LE(12);
  const descriptorAt = head.readBigUInt64LE(28) * BigInt(sector);
  const descriptorSize = head.readBigUInt64LE(36) * BigInt(sector);
  if (capacity === 0n) throw new ImportRefusal("ExternalData", "its header names no capacity: export it as one file");
  if (descriptorAt === 0n || descriptorSize === 0n || descriptorSize > BigInt(largestDescriptor)) {
    throw new ImportRefusal("Damaged", "its descriptor is not where the header says");
  }
  // The same place that QEMU reads, and the one where older writers put it.
  for (const at of new Set([Number(descriptorAt), sector])) {
    checkDescriptor((await file.read(at, Number(descriptorSize))).toString("latin1"), at === Number(descriptorAt));
  }
  return { virtualBytes: Number(capacity) * sector };
}

function checkDescriptor(text: string, must: boolean): void {
  const content = text.split("\0", 1)[0] ?? "";
  const type = /^\s*createType\s*=\s*"([^"]*)"/im.exec(content)?.[1]?.toLowerCase();
  if (type === undefined) {
    if (must) throw new ImportRefusal("Damaged", "its descriptor cannot be read");
    return;
  }
  if (!oneFile.has(type))
    throw new ImportRefusal("ExternalData", `a VMDK of type ${type} lies in several files: export it as one`);
  const parent = /^\s*parentCID\s*=\s*(\S+)/im.exec(content)?.[1]?.toLowerCase();
  if (/^\s*parentFileNameHint\s*=/im.test(content) || (parent !== undefined && parent !== "ffffffff")) {
    throw new ImportRefusal("BackingFile", "it is a snapshot that stands on another file: consolidate it first");
  }
  const extents = [...content.matchAll(/^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+(\S+)/gim)].map((match) =>
    match[1]?.toUpperCase(),
  );
  if (extents.length !== 1 || extents[0] !== "SPARSE") {
    throw new ImportRefusal(
      "ExternalData",
      "its descriptor names other extents than the file itself: export it as one file",
    );
  }
}
