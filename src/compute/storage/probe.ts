/**
 * How QEMU may reach the files of this host, tried once with QEMU's own tools: direct I/O, which not every file system has (tmpfs
 * before Linux 6.6, 9p), and io_uring, which a kernel or its operator may refuse.
 */
import { open, rm, truncate } from "node:fs/promises";
import { constants } from "node:fs";
import { join } from "node:path";
import type { DiskIo } from "../vm/domain-xml/disks.ts";
import { run } from "../process.ts";

export interface DiskAccess {
  readonly cache: "none" | "writeback";
  readonly io: DiskIo;
}

/** `wish`: what the operator has decided; it is taken as it is. */
export async function probeDisk(directory: string, wish: DiskIo | "auto"): Promise<DiskAccess> {
  const file = join(directory, ".direct-io");
  try {
    const cache = await probeCache(file);
    if (wish !== "auto") return { cache, io: wish };
    await truncate(file, 65_536);
    if (await canBench(file, cache, "io_uring")) return { cache, io: "io_uring" };
    const native = cache === "none" && (await canBench(file, cache, "native"));
    return { cache, io: native ? "native" : "threads" };
  } finally {
    await rm(file, { force: true });
  }
}

async function probeCache(file: string): Promise<DiskAccess["cache"]> {
  try {
    const handle = await open(file, constants.O_CREAT | constants.O_RDWR | constants.O_DIRECT, 0o600);
    await handle.close();
    return "none";
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EINVAL") return "writeback";
    throw error;
  }
}

/** One read by this way; whatever goes wrong with it is a reason not to go it. */
async function canBench(file: string, cache: DiskAccess["cache"], aio: "io_uring" | "native"): Promise<boolean> {
  const args = ["bench", "-c", "1", "-d", "1", "-s", "4096", "-f", "raw", "-t", cache, "-i", aio, file];
  return await run("qemu-img", args).then(
    () => true,
    () => false,
  );
}
