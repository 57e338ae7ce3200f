/**
 * Partition tables, as far as "is there something that firmware could start" goes: an MBR with a partition in it, or a GPT (UEFI
 * specification, chapter 5). A disk without one is a file system, an archive or noise, and no machine would boot from it.
 */
import { ImportRefusal } from "../image.ts";
import type { DiskFile } from "./inspect.ts";

const sector = 512;

/** Enough of a disk's beginning for {@link hasPartitionTable}. */
export const tableBytes = 8192;

export async function inspectRaw(file: DiskFile): Promise<{ virtualBytes: number }> {
  if (file.size % sector !== 0) {
    throw new ImportRefusal(
      "Truncated",
      `a raw disk is whole sectors of 512 bytes, and this file has ${file.size} bytes`,
    );
  }
  const end = endOfPartitions(await file.read(0, tableBytes));
  if (end === undefined) throw noPartitionTable();
  if (end > file.size) throw new ImportRefusal("Truncated", "its partitions end behind the end of the file");
  return { virtualBytes: file.size };
}

export function noPartitionTable(): ImportRefusal {
  return new ImportRefusal(
    "NoPartitionTable",
    "it has no partition table, so no machine could start from it: bring a whole disk, not a file system",
  );
}

/** Where the last partition ends, in bytes (for a GPT the end of what it may use); undefined without a table. */
export function endOfPartitions(head: Buffer): number | undefined {
  for (const size of [sector, 4096]) {
    if (head.length >= size + 92 && head.toString("latin1", size, size + 8) === "EFI PART") {
      // "Last usable LBA".
      return Number(head.readBigUInt64LE(size + 48) + 1n) * size;
    }
  }
  if (head.length < sector || head.readUInt16LE(510) !== 0xaa55) return undefined;
  let end: number | undefined;
  for (let entry = 446; entry < 510; entry += 16) {
    const status = head[entry];
    // A file system's boot sector has the same signature; what it has here is code, and no entry's first byte.
    if (status !== 0 && status !== 0x80) return undefined;
    const [type, start, count] = [head[entry + 4], head.readUInt32LE(entry + 8), head.readUInt32LE(entry + 12)];
    if (type === 0 || start === 0 || count === 0) continue;
    // A protective entry may say more than the disk has.
    end = Math.max(end ?? 0, type === 0xee ? 0 : (start + count) * sector);
  }
  return end;
}
