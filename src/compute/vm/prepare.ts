/**
 * Everything a start needs, made side by side: system disk, seed, network, and then the definition, which needs the network's names.
 *
 * Each part looks first and makes only what is missing, under a temporary name and a rename, so it may die anywhere and run again.
 * A disk is the one thing that must never be made twice: once the record says that it was made, a missing file is a loss to report
 * (`disk_missing`), and never an occasion to hand a tenant an empty disk. Disks grow here to what is wanted: nothing has them open.
 */
import { readdir, rename, rm } from "node:fs/promises";
import { basename, dirname } from "node:path";
import type { InstanceSpec, Login } from "../../api/agent.ts";
import type { Mark } from "../../core/ensure.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { Failure, isFailure, wrap } from "../../lib/errors.ts";
import { exists } from "../../lib/files.ts";
import type { DiskId, InstanceId } from "../../lib/ids.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import { consoleLogFile, consoleSocket, instanceDirectory, seedFile, nvramFile, tpmDirectory } from "../paths.ts";
import { makeDurableDirectory, syncDirectory, temporaryName } from "../../lib/durable.ts";
import type { Image } from "../storage/images.ts";
import { diskMissing, grow } from "../storage/disk-files.ts";
import { writeOverlay } from "../storage/qcow2.ts";
import type { Context } from "./context.ts";
import { domainXml } from "./domain-xml.ts";
import type { DomainBoot } from "./domain-xml/firmware.ts";
import type { DomainMachine } from "./domain-xml/machine.ts";
import type { DomainNic } from "./domain-xml/nics.ts";
import { refOf } from "./live-disks.ts";

export interface Seeds {
  /** Writes the NoCloud seed to `file`, which does not exist yet. */
  build(
    file: string,
    content: {
      instanceId: InstanceId;
      hostname: string;
      userData: Buffer | null;
      publicKeys: readonly string[];
      login: Login | null;
    },
  ): Promise<void>;
}

export interface Preparation {
  readonly id: InstanceId;
  readonly spec: InstanceSpec;
  readonly mark: Mark;
  /** The record says that its system disk was made before. */
  readonly diskMade: boolean;
}

const gib = 2 ** 30;

/** Brings disk, seed, network and definition to what the spec says; returns the defined domain. */
export async function prepareInstance(context: Context, it: Preparation): Promise<DomainRef> {
  const { id, spec } = it;
  const [image] = await Promise.all([
    context.images.find(spec.imageId),
    makeDurableDirectory(instanceDirectory(context.paths, id)),
  ]);
  crashPoint("vm.prepare.directory-made");
  const parts = await Promise.allSettled([
    ensureSystemDisk(context, it, image),
    ensureSeed(context, it),
    ensureMachine(context, it).then((made) => context.libvirt.domainDefine(definition(context, it, image, made))),
    ...spec.dataDisks.map((disk) => context.disks.ensureData(refOf(disk, id))),
    networkPart(context.network.guard()),
  ]);
  crashPoint("vm.prepare.defined");
  // All parts have ended before one's failure is told: nothing may be at work when the next try begins.
  for (const part of parts) if (part.status === "rejected") throw part.reason;
  const defined = parts[2];
  if (defined.status === "rejected") throw defined.reason;
  return defined.value;
}

/** The machine as libvirt is told it. */
export function definition(
  context: Context,
  it: Pick<Preparation, "id" | "spec" | "mark">,
  image: Image,
  { machine, nics }: { machine: DomainMachine; nics: readonly DomainNic[] },
): string {
  const { id, spec } = it;
  return domainXml({
    id,
    title: spec.name,
    mark: it.mark,
    accelerator: context.accelerator,
    dirtyRing: context.dirtyRing(),
    emulator: context.emulator,
    vcpus: spec.vcpus,
    machine,
    boot: bootOf(context, id, image),
    extras: { hyperv: image.hyperv, tpm: image.tpm ? tpmDirectory(context.paths, id) : null },
    systemDisk: {
      id: spec.systemDisk.id,
      file: systemDiskFile(context, it),
      cache: context.diskCache,
      io: context.diskIo,
      backing: { file: image.base.file, format: image.base.format },
      limits: spec.systemDisk.limits,
    },
    dataDisks: spec.dataDisks.map((disk) => ({
      ...disk,
      file: context.disks.disk(refOf(disk, id)),
      cache: context.diskCache,
      io: context.diskIo,
      backing: null,
    })),
    seedFile: seedFile(context.paths, id),
    nics,
    console: {
      log: consoleLogFile(context.paths, id, it.mark.incarnation),
      socket: consoleSocket(context.paths, id),
    },
  });
}

function bootOf(context: Context, id: InstanceId, { boot }: Image): DomainBoot {
  if (boot.kind === "direct" || boot.firmware === "bios") return boot;
  return { ...boot, nvram: nvramFile(context.paths, id) };
}

export function systemDiskFile(context: Context, { id, spec }: Pick<Preparation, "id" | "spec">): string {
  return context.disks.disk({ ...spec.systemDisk, usage: "system", instanceId: id });
}

async function ensureSystemDisk(context: Context, it: Preparation, image: Image): Promise<void> {
  const { id, sizeGiB, driver } = it.spec.systemDisk;
  await context.disks.reach(driver);
  const file = systemDiskFile(context, it);
  if (await exists(file)) return await grow(file, sizeGiB);
  if (it.diskMade) throw diskMissing(id, file);
  const size = sizeGiB * gib;
  if (size < image.base.size) {
    throw new Failure(
      "invalid",
      "DiskTooSmall",
      `the image needs a system disk of ${Math.ceil(image.base.size / gib)} GiB`,
    );
  }
  const temporary = temporaryName(file);
  try {
    if (driver === "shared") await makeDurableDirectory(dirname(file));
    const { file: base, format } = image.base;
    await writeOverlay(temporary, { size, backing: { file: base, format } });
    crashPoint("vm.disk.written");
    await rename(temporary, file);
    crashPoint("vm.disk.renamed");
    await syncDirectory(dirname(file));
  } catch (error) {
    await rm(temporary, { force: true });
    throw wrap(`making the system disk of ${it.id}`, error);
  }
}

/** An instance that was reinstalled has a new system disk: nothing is left of the former one once the new one is there. */
export async function removeFormerDisks(context: Context, id: InstanceId, systemDisk: DiskId): Promise<void> {
  const directory = instanceDirectory(context.paths, id);
  for (const name of await readdir(directory)) {
    const disk = /^(disk-[a-z0-9]{8})\.qcow2$/.exec(name)?.[1];
    if (disk !== undefined && disk !== systemDisk) await rm(`${directory}/${basename(name)}`, { force: true });
  }
}

/** Written anew for each start: it is cheap, and the spec may have changed. */
export async function ensureSeed(context: Context, it: Pick<Preparation, "id" | "spec">): Promise<void> {
  const { hostname, userData, publicKeys, login = null } = it.spec;
  const file = seedFile(context.paths, it.id);
  const temporary = temporaryName(file);
  try {
    await context.seeds.build(temporary, {
      instanceId: it.id,
      hostname,
      userData: userData === null ? null : Buffer.from(userData, "base64"),
      publicKeys,
      login,
    });
    crashPoint("vm.seed.written");
    await rename(temporary, file);
    crashPoint("vm.seed.renamed");
  } catch (error) {
    await rm(temporary, { force: true });
    throw wrap(`making the seed of ${it.id}`, error);
  }
}

/** One after the other: when this ends, in whatever way, nothing of it is at work. */
export async function ensureMachine(context: Context, it: Pick<Preparation, "id" | "spec">) {
  const machine = await context.machines.prepare(it.id, it.spec);
  return { machine, nics: await ensureNetwork(context, it) };
}

function ensureNetwork(
  context: Context,
  it: Pick<Preparation, "id" | "spec">,
): ReturnType<Context["network"]["ensureGuest"]> {
  return networkPart(context.network.ensureGuest(it.id, it.spec));
}

export async function networkPart<T>(part: Promise<T>): Promise<T> {
  try {
    return await part;
  } catch (error) {
    const message = isFailure(error) ? error.message : "the host's network could not be made ready";
    throw new Failure("unavailable", "NetworkFailed", message, { cause: error });
  }
}
