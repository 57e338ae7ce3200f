/**
 * What each kind of job does on this host. Whatever a job makes is made beside its place, under a name that carries the job's id, and
 * renamed into it: before the rename nothing has happened, after it everything has. Whoever comes back finds which.
 *
 * What can race. A guest starts while its disk is copied at rest: held off from before the copy looks until it is over. A guest starts
 * while a snapshot is put into its disk: held off from before this process lets any guest start until the job has ended, because
 * a job whose end was not written down is done again, and must not be done over what a guest has written since. A guest ends while QEMU copies its disk: the copy fails, and the next attempt is made at rest.
 */
import { chown, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { DiskRef, JobSpec, SnapshotRef, StorageDriver } from "../../api/agent-storage.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { makeDurableDirectory, syncDirectory, temporaryEnding } from "../../lib/durable.ts";
import { Failure, unreachable } from "../../lib/errors.ts";
import { exists } from "../../lib/files.ts";
import type { ImageId, InstanceId, JobId } from "../../lib/ids.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import type { Hypervisor } from "../hypervisor.ts";
import { diskMissing, grow, type DiskFiles } from "../storage/disk-files.ts";
import { readOverlay, writeOverlay } from "../storage/qcow2.ts";
import { copyDisk, syncFile } from "./copy.ts";
import { backUp, endBackup } from "./live-backup.ts";
import { jobMustWait, type JobTools, type JobWork } from "./runner.ts";

export interface WorkOptions {
  readonly disks: DiskFiles;
  readonly libvirt: Hypervisor;
  readonly instances: {
    /** Keeps an instance off for as long as it is off. */
    hold(id: InstanceId, why: string): () => void;
    atRest(id: InstanceId): Promise<DomainRef | "off" | null>;
  };
  /** Where the copy for an image lies until it is sent. */
  readonly copyFor: (id: JobId) => string;
  /** Sends a file to VStation as an image's, from where it was; returns its size. */
  readonly sendImage: (id: ImageId, file: string, tools: JobTools) => Promise<number>;
}

const gib = 2 ** 30;
/** What an instance that waits for it says. */
const beingCopied = "a copy of its disk is made";

export function jobWork({ disks, libvirt, instances, copyFor, sendImage }: WorkOptions): JobWork {
  const placeOf = (spec: JobSpec, id: JobId): string => {
    if (spec.kind === "image.create") return copyFor(id);
    return "snapshot" in spec && spec.kind !== "snapshot.apply" ? disks.snapshot(spec.snapshot) : disks.disk(spec.disk);
  };

  const rest = async (disk: DiskRef): Promise<DomainRef | "off"> => {
    if (disk.instanceId === null) return "off";
    const found = await instances.atRest(disk.instanceId);
    if (found === null) throw jobMustWait("whether its instance runs is not known now");
    return found;
  };

  /** A copy of the disk as it is at one moment, whole under its name. */
  const copyTo = async (place: string, id: JobId, disk: DiskRef, tools: JobTools): Promise<void> => {
    if (!(await exists(place))) {
      await makeDurableDirectory(dirname(place));
      const temporary = temporaryOf(place, id);
      await rm(temporary, { force: true });
      const letGo = disk.instanceId === null ? () => undefined : instances.hold(disk.instanceId, beingCopied);
      try {
        const state = await rest(disk);
        tools.progress(0);
        if (state === "off") await copyAtRest(disk, temporary, tools);
        else {
          // A guest that runs may end and start as it likes.
          letGo();
          await copyRunning(id, disk, state, temporary, tools);
        }
      } finally {
        letGo();
      }
      crashPoint("job.snapshot.written");
      tools.signal.throwIfAborted();
      await putInPlace(temporary, place);
    }
  };

  const createSnapshot = async (id: JobId, disk: DiskRef, snapshot: SnapshotRef, tools: JobTools) => {
    const place = disks.snapshot(snapshot);
    await copyTo(place, id, disk, tools);
    return { bytes: await takenBy(place) };
  };

  const createImage = async (id: JobId, disk: DiskRef, imageId: ImageId, tools: JobTools) => {
    const place = copyFor(id);
    await copyTo(place, id, disk, { ...tools, progress: (percent) => tools.progress(percent / 2) });
    const bytes = await sendImage(imageId, place, {
      ...tools,
      progress: (percent) => tools.progress(50 + percent / 2),
    });
    await rm(place, { force: true });
    return { bytes };
  };

  const copyRunning = async (id: JobId, disk: DiskRef, domain: DomainRef, to: string, tools: JobTools) => {
    await endBackup(libvirt, domain, id);
    const source = disks.disk(disk);
    const overlay = await readOverlay(source);
    const copy = overlay.backing === null ? to : topOf(to);
    await rm(copy, { force: true });
    await writeOverlay(copy, overlay);
    // QEMU writes it, perhaps as a user of its own: the one whom libvirt has given the disk to.
    const { uid, gid } = await stat(source);
    await chown(copy, uid, gid);
    const half = (from: number): JobTools =>
      overlay.backing === null ? tools : { ...tools, progress: (percent) => tools.progress(from + percent / 2) };
    const work = { job: id, disk: disk.id, isSystem: disk.usage === "system", to: copy };
    await backUp(libvirt, domain, work, half(0));
    if (overlay.backing === null) return;
    await copyDisk(copy, to, half(50));
    await rm(copy);
  };

  const copyAtRest = async (disk: DiskRef, to: string, tools: JobTools): Promise<void> => {
    const file = disks.disk(disk);
    if (await exists(file)) return await copyDisk(file, to, tools);
    // A data disk that was never in a machine has no file yet: it is empty.
    if (disk.made || disk.usage === "system") throw diskMissing(disk.id, file);
    await writeOverlay(to, { size: disk.sizeGiB * gib, backing: null });
  };

  const applySnapshot = async (id: JobId, disk: DiskRef, snapshot: SnapshotRef, tools: JobTools) => {
    const [from, place] = [disks.snapshot(snapshot), disks.disk(disk)];
    if (!(await exists(from))) {
      const message = `the snapshot ${snapshot.id} is not here any more`;
      throw new Failure("not_found", "SnapshotMissing", message, { detail: { file: from } });
    }
    await makeDurableDirectory(dirname(place));
    const temporary = temporaryOf(place, id);
    await rm(temporary, { force: true });
    if ((await rest(disk)) !== "off") throw jobMustWait("its instance runs");
    tools.progress(0);
    await copyDisk(from, temporary, tools);
    await grow(temporary, disk.sizeGiB);
    await syncFile(temporary);
    crashPoint("job.apply.written");
    tools.signal.throwIfAborted();
    await putInPlace(temporary, place);
    return {};
  };

  const remove = async (file: string): Promise<Record<string, number>> => {
    await rm(file, { force: true });
    crashPoint("job.delete.removed");
    if (await exists(dirname(file))) await syncDirectory(dirname(file));
    return {};
  };

  return {
    hold(spec) {
      if (spec.kind !== "snapshot.apply" || spec.disk.instanceId === null) return () => undefined;
      return instances.hold(spec.disk.instanceId, "a snapshot is put into its disk");
    },

    async run(id, spec, tools) {
      for (const driver of driversOf(spec)) await disks.reach(driver);
      switch (spec.kind) {
        case "snapshot.create":
          return await createSnapshot(id, spec.disk, spec.snapshot, tools);
        case "image.create":
          return await createImage(id, spec.disk, spec.imageId, tools);
        case "snapshot.apply":
          return await applySnapshot(id, spec.disk, spec.snapshot, tools);
        case "snapshot.delete":
          return await remove(disks.snapshot(spec.snapshot));
        case "disk.delete":
          return await remove(disks.disk(spec.disk));
        default:
          return unreachable(spec);
      }
    },

    async clean(id, spec) {
      const copies = spec.kind === "snapshot.create" || spec.kind === "image.create";
      if (copies && spec.disk.instanceId !== null) {
        const state = await instances.atRest(spec.disk.instanceId);
        if (state === null) throw jobMustWait("whether its instance runs is not known now");
        if (state !== "off") await endBackup(libvirt, state, id);
      }
      const temporary = temporaryOf(placeOf(spec, id), id);
      for (const file of [temporary, topOf(temporary)]) await rm(file, { force: true });
      if (spec.kind === "image.create") await rm(copyFor(id), { force: true });
    },
  };
}

function driversOf(spec: JobSpec): StorageDriver[] {
  return [...("disk" in spec ? [spec.disk.driver] : []), ...("snapshot" in spec ? [spec.snapshot.driver] : [])];
}

function temporaryOf(place: string, id: JobId): string {
  return `${place}.${id}${temporaryEnding}`;
}

/** Where a running disk's own content lies before it is laid over what the disk stands on. */
function topOf(temporary: string): string {
  return `${temporary}.top`;
}

async function putInPlace(temporary: string, place: string): Promise<void> {
  await rename(temporary, place);
  crashPoint("job.place.renamed");
  await syncDirectory(dirname(place));
}

/** What a file takes of the storage. */
async function takenBy(file: string): Promise<number> {
  return (await stat(file)).blocks * 512;
}
