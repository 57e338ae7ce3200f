/**
 * CreateImage: an image from an instance's system disk, running or stopped. One transaction writes the image down and orders the copy
 * from the instance's host (job `image.create`); the host sends it, and the importer makes the image of it like one from outside.
 *
 * A running guest's disk is copied as it is at one moment, as a power cut would leave it. How the new image starts, and what its
 * guests expect of their machine, is as with the image that the instance stands on.
 */
import { failure } from "../../core/failure-codes.ts";
import { plainMachine } from "../../core/image.ts";
import { newId, type ImageId } from "../../lib/ids.ts";
import type { Caller } from "../cloud.ts";
import type { ImageCreateRequest } from "../cloud/images.ts";
import type { Tx } from "../store/database.ts";
import { diskLock, diskRef, disksOf } from "../store/disks.ts";
import { imageInsert } from "../store/images.ts";
import { jobBegin } from "../store/jobs.ts";
import { quotaTake } from "../store/quotas.ts";
import type { ImageRequest } from "../store/schema.ts";
import type { AppContext } from "./context.ts";
import { refuseBusy } from "./disk-checks.ts";
import { lockAll, refuseMoving, stateOf } from "./instance-power.ts";

/** In the caller's transaction; returns the image's id. */
export async function imageCreate(
  tx: Tx,
  { folder, config }: Pick<AppContext, "folder" | "config">,
  caller: Caller,
  { instanceId, name, description }: ImageCreateRequest,
): Promise<ImageId> {
  const [instance] = await lockAll(tx, caller, [instanceId]);
  if (instance === undefined) throw new Error("a locked instance is not there");
  refuseMoving(instance);
  const { row } = instance;
  const state = stateOf(instance);
  if (state !== "RUNNING" && state !== "STOPPED") {
    throw failure("WrongState", `instance ${row.id} is ${state}: an image is made of one that runs or is stopped`, {
      detail: { state, action: "createImage", instanceId },
    });
  }
  if (row.host_id === null) throw failure("HostUnreachable", `instance ${row.id} is on no host now`);
  const system = (await disksOf(tx.db, [row.id])).find(({ usage }) => usage === "SYSTEM_DISK");
  const [disk] = system === undefined ? [] : await diskLock(tx, [system.id]);
  if (disk === undefined) throw failure("DiskNotFound", `instance ${row.id} has no system disk`);
  await refuseBusy(tx, disk, "copied");
  await quotaTake(tx, caller.accountId, { images: 1 });
  const id = newId("image");
  const base = await folder.find(row.image_id);
  if (base === undefined)
    throw failure("ImageNotFound", `the image ${row.image_id} that ${row.id} stands on is not here`);
  const { boot, machine, osName, platform, minMemoryMiB } = base.manifest;
  const secureBoot = boot.kind === "disk" && boot.firmware === "uefi" && boot.secureBoot;
  const request: ImageRequest = {
    format: "qcow2",
    bootMode: boot.kind === "disk" ? boot.firmware : "bios",
    osName,
    platform,
    minMemoryMiB,
    machine: { ...plainMachine, ...machine, secureBoot },
    from: { instance: row.id, ...(boot.kind === "direct" ? { kernelOf: base.id } : {}) },
  };
  const deadline = new Date(Date.now() + config.imports.maxMinutes * 60_000);
  const owner = { accountId: row.account_id, name, description, request, deadline };
  await imageInsert(tx, { id, state: "CREATING", source: "CREATE_IMAGE", step: "receive", ...owner });
  const spec = { kind: "image.create" as const, disk: diskRef(disk), imageId: id };
  await jobBegin(tx, { zone: row.zone, hostId: row.host_id, subject: id, spec });
  return id;
}
