/**
 * From a file that somebody brought to an image's disk: examined by its declared format, converted by qemu-img under confinement, and
 * looked at again. Nothing outside `work` is touched, and everything may be done again from the source.
 *
 * A small file may unpack to a huge one. Two bounds hold: the disk that a guest sees (`maxVirtualBytes`), and what is really written,
 * which may be so many times the source and no more: an honest compressed image gains a factor of ten.
 */
import { open, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { inspectDisk } from "../../core/disk-image/inspect.ts";
import { endOfPartitions, noPartitionTable, tableBytes } from "../../core/disk-image/partition-table.ts";
import { ImportRefusal, type DiskFormat } from "../../core/image.ts";
import { lend, runConfined, takeBack, type Limits, type Outcome } from "./confined.ts";

export interface Conversion {
  readonly format: DiskFormat;
  /** Holds `source`; the disk is made beside it. */
  readonly work: string;
  /** Name of the disk: of this attempt alone, so that one that hung and woke up again cannot meet the next one's file. */
  readonly diskName: string;
  readonly maxVirtualBytes: number;
  readonly maxMs: number;
  /** What is written may be so many times the source, and `free` bytes in any case. */
  readonly growth: { readonly times: number; readonly free: number };
  /** The disk starts by itself, so it must have a partition table. */
  readonly partitioned: boolean;
  readonly signal: AbortSignal;
  /** From 0 to 1. */
  readonly onProgress: (share: number) => void;
}

export const sourceName = "source";
/** The beginning of the disk as a guest sees it. */
const headName = "head";

const gib = 2 ** 30;
/** An honest compressed image gains a factor of ten; an empty disk of many GiB is all zeros, which are not written. */
export const honestGrowth = { times: 50, free: 2 * gib };
const memoryBytes = 3 * gib;
const quickMs = 60_000;

/** QEMU's names of the formats. */
const driver: Readonly<Record<DiskFormat, string>> = { qcow2: "qcow2", raw: "raw", vmdk: "vmdk", vhd: "vpc" };

/** Returns the size that a guest sees; throws an {@link ImportRefusal}. */
export async function convertDisk(it: Conversion): Promise<{ virtualBytes: number }> {
  const source = join(it.work, sourceName);
  const disk = join(it.work, it.diskName);
  const { size } = await stat(source);
  const { virtualBytes } = await inspectFile(it.format, source, size);
  if (virtualBytes > it.maxVirtualBytes) {
    throw new ImportRefusal(
      "TooLarge",
      `its disk has ${gibOf(virtualBytes)} GiB, and ${gibOf(it.maxVirtualBytes)} GiB is the most that is taken`,
    );
  }
  if (virtualBytes < 512) throw new ImportRefusal("Damaged", "its disk has no sector");
  const room = await statfs(it.work);
  const fileBytes = Math.min(virtualBytes + gib, Math.max(it.growth.free, size * it.growth.times));
  await lend(it.work, sourceName, [it.diskName, headName]);
  const limits = { ms: it.maxMs, cpuSeconds: Math.ceil(it.maxMs / 1000), memoryBytes, fileBytes };
  await checkTables(it, limits);
  if (room.bavail * room.bsize < Math.min(size, virtualBytes)) throw outOfSpace();
  const outcome = await qemuImg(it, limits, [
    ...["convert", "-p", "-f", driver[it.format], "-O", "qcow2", "-o", "compat=1.1"],
    ...["-t", "writeback", "-T", "writeback", sourceName, it.diskName],
  ]);
  judge(outcome, it, fileBytes, size);
  if (it.partitioned) await checkTable(it, limits);
  await takeBack(disk);
  return { virtualBytes };
}

async function inspectFile(format: DiskFormat, file: string, size: number): Promise<{ virtualBytes: number }> {
  const handle = await open(file, "r");
  try {
    return await inspectDisk(format, {
      size,
      read: async (offset, length) => {
        const buffer = Buffer.alloc(length);
        const { bytesRead } = await handle.read(buffer, 0, length, offset);
        return buffer.subarray(0, bytesRead);
      },
    });
  } finally {
    await handle.close();
  }
}

/** What lies behind the end of a file reads as zeros, so a cut one would convert without a word: its own tables tell. */
async function checkTables(it: Conversion, limits: Limits): Promise<void> {
  if (it.format === "raw" || it.format === "vhd") return;
  const { code, said, late } = await qemuImg(it, limits, ["check", "-f", driver[it.format], sourceName]);
  if (late) throw tookTooLong(it);
  // 0 whole, 3 only room that nobody uses, 63 a form of the format that has no check.
  if (code === 0 || code === 3 || code === 63) return;
  const cut = /exceeding the end|beyond|past the end|end of (the )?(image|file)/i.test(said);
  throw new ImportRefusal(
    cut ? "Truncated" : "Damaged",
    cut
      ? "the file ends before its data does: it was cut off on its way"
      : `its tables do not hold together: ${lastLine(said)}`,
  );
}

/** Of the disk as a guest will see it, whatever it came in. */
async function checkTable(it: Conversion, limits: Limits): Promise<void> {
  const args = ["dd", "-f", "qcow2", "-O", "raw", `bs=${tableBytes}`, "count=1", `if=${it.diskName}`, `of=${headName}`];
  const { code, said } = await qemuImg(it, { ...limits, ms: quickMs }, args);
  if (code !== 0) throw new ImportRefusal("ConversionFailed", `the converted disk cannot be read: ${lastLine(said)}`);
  const handle = await open(join(it.work, headName), "r");
  try {
    const buffer = Buffer.alloc(tableBytes);
    await handle.read(buffer, 0, tableBytes, 0);
    if (endOfPartitions(buffer) === undefined) throw noPartitionTable();
  } finally {
    await handle.close();
    await rm(join(it.work, headName), { force: true });
  }
}

function qemuImg(it: Conversion, limits: Limits, args: readonly string[]): Promise<Outcome> {
  return runConfined({
    program: "qemu-img",
    args,
    directory: it.work,
    limits,
    signal: it.signal,
    onOutput: (text) => {
      const percent = [...text.matchAll(/\((\d+\.\d+)\/100%\)/g)].at(-1)?.[1];
      if (percent !== undefined) it.onProgress(Number(percent) / 100);
    },
  });
}

function judge({ code, killedBy, said, late }: Outcome, it: Conversion, fileBytes: number, size: number): void {
  if (code === 0) return;
  it.signal.throwIfAborted();
  if (late || killedBy === "SIGXCPU") throw tookTooLong(it);
  if (killedBy === "SIGXFSZ" || /File too large/i.test(said)) {
    throw new ImportRefusal(
      "TooLarge",
      `it unpacks to more than ${gibOf(fileBytes)} GiB, and its file has only ${gibOf(size)} GiB: no honest image does`,
    );
  }
  if (/No space left/i.test(said)) throw outOfSpace();
  throw new ImportRefusal("ConversionFailed", `qemu-img could not convert it: ${lastLine(said) || (killedBy ?? "")}`);
}

function tookTooLong(it: Conversion): ImportRefusal {
  return new ImportRefusal("TookTooLong", `its conversion took longer than ${Math.round(it.maxMs / 60_000)} minutes`);
}

function outOfSpace(): ImportRefusal {
  return new ImportRefusal(
    "OutOfSpace",
    "the folder of images has no room for it: free some, or give VStation a larger one",
  );
}

function gibOf(bytes: number): string {
  return (bytes / gib).toFixed(bytes < gib ? 3 : 0);
}

function lastLine(said: string): string {
  return (said.split(/[\r\n]+/).at(-1) ?? "").replace(/^qemu-img: /, "").slice(0, 300);
}
