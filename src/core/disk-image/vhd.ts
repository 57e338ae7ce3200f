/**
 * VHD, by Microsoft's "Virtual Hard Disk Image Format Specification": a footer of 512 bytes at the end (a dynamic disk has a copy of
 * it at the start), and for a dynamic disk a table of its blocks. A differencing disk names its parent and is refused. QEMU reads
 * what lies behind the end of a file as zeros, so a truncated one is told here: every block of the table must lie within the file.
 */
import { ImportRefusal } from "../image.ts";
import type { DiskFile } from "./inspect.ts";

const footerBytes = 512;
const fixed = 2;
const dynamic = 3;
const differencing = 4;
const unused = 0xffffffff;
/** 2 TiB in blocks of 2 MiB, the largest VHD, has four times as much. */
const largestTable = 16 << 20;

export async function inspectVhd(file: DiskFile): Promise<{ virtualBytes: number }> {
  const tail = await file.read(Math.max(0, file.size - footerBytes), footerBytes);
  const head = await file.read(0, footerBytes);
  const isFooter = (bytes: Buffer): boolean =>
    bytes.length === footerBytes && bytes.toString("latin1", 0, 8) === "conectix";
  if (!isFooter(tail)) {
    throw isFooter(head)
      ? new ImportRefusal("Truncated", "the file has a VHD's beginning and not its end")
      : new ImportRefusal("WrongFormat", "the file is no VHD: it has no footer");
  }
  const virtualBytes = Number(tail.readBigUInt64BE(48));
  const type = tail.readUInt32BE(60);
  if (type === fixed) {
    if (virtualBytes > file.size - footerBytes)
      throw new ImportRefusal("Truncated", "the file is shorter than its disk");
    return { virtualBytes };
  }
  if (type === differencing) {
    throw new ImportRefusal("BackingFile", "it is a differencing disk that stands on another file: merge it first");
  }
  if (type !== dynamic) throw new ImportRefusal("WrongFormat", `a VHD of type ${type} is not known`);
  await checkBlocks(file, Number(tail.readBigUInt64BE(16)), virtualBytes);
  return { virtualBytes };
}

async function checkBlocks(file: DiskFile, headerAt: number, virtualBytes: number): Promise<void> {
  const header = await file.read(headerAt, 1024);
  if (header.length < 1024 || header.toString("latin1", 0, 8) !== "cxsparse") {
    throw new ImportRefusal("Damaged", "its dynamic header is not where the footer says");
  }
  const tableAt = Number(header.readBigUInt64BE(16));
  const entries = header.readUInt32BE(28);
  const blockBytes = header.readUInt32BE(32);
  if (blockBytes < 512 || (blockBytes & (blockBytes - 1)) !== 0 || entries * 4 > largestTable) {
    throw new ImportRefusal("Damaged", "its block table is impossible");
  }
  if (entries * blockBytes < virtualBytes)
    throw new ImportRefusal("Damaged", "its block table is smaller than its disk");
  const table = await file.read(tableAt, entries * 4);
  if (table.length < entries * 4) throw new ImportRefusal("Truncated", "the file ends within its block table");
  // A block is its bitmap, rounded up to sectors, and its data.
  const whole = Math.ceil(blockBytes / 512 / 8 / 512) * 512 + blockBytes;
  for (let at = 0; at < table.length; at += 4) {
    const start = table.readUInt32BE(at);
    if (start !== unused && start * 512 + whole > file.size) {
      throw new ImportRefusal("Truncated", "the file ends before the last of its blocks");
    }
  }
}
