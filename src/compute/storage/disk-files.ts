/**
 * Where disks and snapshots lie, and how their files come to be as wanted: made when missing (and only then), and grown.
 *
 * Every file of ours is a qcow2 that is made under a temporary name and renamed. A data disk's first file is empty; once it has been
 * in a machine (`made`) a missing file is a loss to report. Growing is done here only while nothing has the file open.
 */
import { rename, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { DiskRef, SnapshotRef, StorageDriver } from "../../api/agent-storage.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { makeDurableDirectory, syncDirectory, temporaryName } from "../../lib/durable.ts";
import { Failure, wrap } from "../../lib/errors.ts";
import { exists } from "../../lib/files.ts";
import type { DiskId } from "../../lib/ids.ts";
import { diskFile, type Paths } from "../paths.ts";
import { run } from "../process.ts";
import { qcow2Size, writeOverlay, type Overlay } from "./qcow2.ts";

/** Lies in the shared folder itself, so that an empty mount point is not taken for it: disks made there would lie on one host only. */
export const sharedMark = "vstation-shared";

const gib = 2 ** 30;
const resizeMs = 60_000;

export class DiskFiles {
  readonly #paths: Paths;
  readonly #sharedDir: string | null;

  constructor(paths: Paths, sharedDir: string | null) {
    this.#paths = paths;
    this.#sharedDir = sharedDir;
  }

  disk(ref: Pick<DiskRef, "id" | "driver" | "usage" | "instanceId">): string {
    if (ref.driver === "local" && ref.usage === "system") {
      if (ref.instanceId === null) throw new Error(`a system disk without an instance: ${ref.id}`);
      return diskFile(this.#paths, ref.instanceId, ref.id);
    }
    return join(this.#folder(ref.driver, "disks"), `${ref.id}.qcow2`);
  }

  snapshot(ref: SnapshotRef): string {
    return join(this.#folder(ref.driver, "snapshots"), `${ref.id}.qcow2`);
  }

  /** Throws unless what is of this driver can be reached now. */
  async reach(driver: StorageDriver): Promise<void> {
    if (driver === "local" || (this.#sharedDir !== null && (await exists(join(this.#sharedDir, sharedMark))))) return;
    const message =
      this.#sharedDir === null
        ? "this host has no shared folder; set sharedDir in its configuration and mount it there"
        : `the zone's shared folder is not mounted on this host (it would hold a file ${sharedMark}); mount it`;
    throw new Failure("unavailable", "SharedFolderMissing", message);
  }

  /** By what the shared folder is told from another one, the same on every host that mounts it; null: it is not there. */
  async sharedIdentity(): Promise<string | null> {
    if (this.#sharedDir === null || !(await exists(join(this.#sharedDir, sharedMark)))) return null;
    const { mtimeMs, size } = await stat(join(this.#sharedDir, sharedMark));
    return `made ${new Date(mtimeMs).toISOString()}, ${size} bytes`;
  }

  /** What the guest sees of a disk, in bytes; null: its file is not there. */
  async size(ref: Pick<DiskRef, "id" | "driver" | "usage" | "instanceId">): Promise<number | null> {
    const file = this.disk(ref);
    return (await exists(file)) ? await qcow2Size(file) : null;
  }

  /** Makes the file of a data disk if it is missing and may be made, and grows it; nothing may have it open. */
  async ensureData(ref: DiskRef): Promise<string> {
    await this.reach(ref.driver);
    const file = this.disk(ref);
    if (!(await exists(file))) {
      if (ref.made) throw diskMissing(ref.id, file);
      await this.make(file, { size: ref.sizeGiB * gib, backing: null });
    }
    await grow(file, ref.sizeGiB);
    return file;
  }

  /** What the shared folder's file system has, and what is free of it; null when it is not there. */
  async shared(): Promise<{ totalGiB: number; freeGiB: number } | null> {
    if (this.#sharedDir === null || !(await exists(join(this.#sharedDir, sharedMark)))) return null;
    const { blocks, bavail, bsize } = await statfs(this.#sharedDir);
    return { totalGiB: Math.floor((blocks * bsize) / gib), freeGiB: Math.floor((bavail * bsize) / gib) };
  }

  #folder(driver: StorageDriver, kind: "disks" | "snapshots"): string {
    if (driver === "local") return this.#paths[kind];
    if (this.#sharedDir !== null) return join(this.#sharedDir, kind);
    throw new Failure("unavailable", "SharedFolderMissing", "this host has no shared folder");
  }

  /** An empty disk, or one that stands on another, under a name that nothing has. */
  async make(file: string, overlay: Overlay): Promise<void> {
    const temporary = temporaryName(file);
    try {
      await makeDurableDirectory(dirname(file));
      await writeOverlay(temporary, overlay);
      crashPoint("disk.make.written");
      await rename(temporary, file);
      crashPoint("disk.make.renamed");
      await syncDirectory(dirname(file));
    } catch (error) {
      await rm(temporary, { force: true });
      throw wrap("making an empty disk", error);
    }
  }
}

/** Grows a disk's file that nothing has open; a smaller wish leaves it as it is. */
export async function grow(file: string, sizeGiB: number): Promise<void> {
  if ((await qcow2Size(file)) >= sizeGiB * gib) return;
  await run("qemu-img", ["resize", "-q", "-f", "qcow2", file, `${sizeGiB}G`], { deadlineMs: resizeMs });
  crashPoint("disk.grow.done");
}

export function diskMissing(id: DiskId, file: string): Failure {
  const message = `the disk ${id} was here and is not any more; restore it on the host, or terminate it`;
  return new Failure("conflict", "DiskMissing", message, { detail: { file } });
}
