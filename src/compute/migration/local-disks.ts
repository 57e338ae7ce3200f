/**
 * Disks that lie on a host's own storage go with their guest: libvirt has QEMU mirror them to the target before and while the memory
 * goes over (`blockdev-mirror` to the target's NBD export, in the background: decision 23), and what stands on an image stands on the target's
 * own copy of it: only what the guest has written is sent.
 *
 * Which files they are, at each end. The source's stay whole and are its guest's until it has left; the target's are made empty before, noted
 * down before they are made, and are nobody's until it has arrived. So in whichever ending one of the two is thrown away, by the half that
 * says so, and only where it was made for this move or has been left.
 *
 * The note (`arriving.json` in the instance's folder) is there before anything else is, and goes last: a folder without it is not this move's.
 */
import { rm } from "node:fs/promises";
import { basename, dirname } from "node:path";
import * as z from "zod";
import type { LocalDisks } from "../../api/agent-migration.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { makeDurableDirectory, readDurable, syncDirectory } from "../../lib/durable.ts";
import { Failure } from "../../lib/errors.ts";
import { exists, namesIn } from "../../lib/files.ts";
import { idSchema, type DiskId, type InstanceId } from "../../lib/ids.ts";
import { arrivingFile, instanceDirectory } from "../paths.ts";
import type { DiskFiles } from "../storage/disk-files.ts";
import type { Overlay } from "../storage/qcow2.ts";
import { dataDiskTarget, systemDiskTarget } from "../vm/domain-xml/disks.ts";
import type { Context } from "../vm/context.ts";

const gib = 2 ** 30;
const noteSchema = z.strictObject({ version: z.literal(1), data: z.array(idSchema("disk")) });

/** As libvirt names them. */
export function targetsOf({ system, data }: LocalDisks): string[] {
  return [...(system ? [systemDiskTarget] : []), ...data.map(({ slot }) => dataDiskTarget(slot))];
}

/** Before anything is made here for an instance that comes. What lies here already is nobody's to overwrite, and nobody's to throw away. */
export async function beginArriving({ paths, write }: Pick<Context, "paths" | "write">, id: InstanceId): Promise<void> {
  const directory = instanceDirectory(paths, id);
  if ((await namesIn(directory)).length > 0) throw inTheWay(`something in the folder ${directory}`);
  await makeDurableDirectory(directory);
  await write(arrivingFile(paths, id), noteOf([]));
}

/** What is here of it was made for it: there is the note, or nothing, as before the first and after the last thing that is made. */
export async function isArriving({ paths }: Pick<Context, "paths">, id: InstanceId): Promise<boolean> {
  const there = await namesIn(instanceDirectory(paths, id));
  return there.length === 0 || there.includes(basename(arrivingFile(paths, id)));
}

/** Makes what the copy goes into. `system`: the file of a system disk that comes along, and what it is to be. */
export async function makeArriving(
  { disks, paths, write }: Pick<Context, "disks" | "paths" | "write">,
  id: InstanceId,
  { system, data }: { system: { file: string; overlay: Overlay } | null; data: LocalDisks["data"] },
): Promise<void> {
  const made = data.map((disk) => ({ disk, file: fileOf(disks, disk.id) }));
  for (const file of [...(system === null ? [] : [system.file]), ...made.map((one) => one.file)]) {
    if (await exists(file)) throw inTheWay(file);
  }
  await write(arrivingFile(paths, id), noteOf(data.map((disk) => disk.id)));
  crashPoint("migration.disks.noted");
  if (system !== null) await disks.make(system.file, system.overlay);
  for (const { disk, file } of made) await disks.make(file, { size: disk.sizeGiB * gib, backing: null });
  crashPoint("migration.disks.made");
}

/** Of a guest that has not come. What lies in its folder goes with that. */
export async function removeArriving(
  { disks, paths }: Pick<Context, "disks" | "paths">,
  id: InstanceId,
): Promise<void> {
  const note = await readDurable(arrivingFile(paths, id), noteSchema);
  await removeData(disks, note?.data ?? []);
}

/** It has arrived: from now on they are its disks like any other. */
export async function keepArriving({ paths }: Pick<Context, "paths">, id: InstanceId): Promise<void> {
  await rm(arrivingFile(paths, id), { force: true });
}

/** Of a guest that has left. */
export async function removeLeft({ disks }: Pick<Context, "disks">, { data }: LocalDisks): Promise<void> {
  await removeData(
    disks,
    data.map((disk) => disk.id),
  );
}

async function removeData(disks: DiskFiles, ids: readonly DiskId[]): Promise<void> {
  for (const id of ids) {
    const file = fileOf(disks, id);
    await rm(file, { force: true });
    await syncDirectory(dirname(file));
  }
}

function fileOf(disks: DiskFiles, id: DiskId): string {
  return disks.disk({ id, driver: "local", usage: "data", instanceId: null });
}

function noteOf(data: readonly DiskId[]): string {
  return `${JSON.stringify({ version: 1, data })}\n`;
}

function inTheWay(what: string): Failure {
  const message = `${what} is there already: nobody knows what it holds. Look at it, and move it away`;
  return new Failure("conflict", "InstanceInTheWay", message);
}
