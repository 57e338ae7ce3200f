/**
 * Everything that a guest needs which comes while it runs: as prepare.ts makes it for a start, but no disk that the source has open is made or
 * changed here; those on the hosts' own storage are made empty, for the copy. What is missing is a reason to refuse, and the guest goes on where it is.
 */
import { localDisksOf } from "../../api/agent-migration.ts";
import type { InstanceSpec } from "../../api/agent.ts";
import type { Mark } from "../../core/ensure.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { makeDurableDirectory } from "../../lib/durable.ts";
import { Failure } from "../../lib/errors.ts";
import { exists } from "../../lib/files.ts";
import type { InstanceId } from "../../lib/ids.ts";
import { makeArriving } from "../migration/local-disks.ts";
import { instanceDirectory } from "../paths.ts";
import { diskMissing } from "../storage/disk-files.ts";
import type { Image } from "../storage/images.ts";
import type { Context } from "./context.ts";
import { refOf } from "./live-disks.ts";
import { definition, ensureMachine, ensureSeed, networkPart, systemDiskFile } from "./prepare.ts";

const gib = 2 ** 30;

export interface Arrival {
  readonly id: InstanceId;
  readonly spec: InstanceSpec;
  readonly mark: Mark;
}

/** Makes the machine ready and returns its definition. The image is on this host. */
export async function prepareArrival(context: Context, it: Arrival): Promise<string> {
  const image = await context.images.find(it.spec.imageId);
  refuseLocalState(image);
  await checkDisks(context, it);
  await makeDurableDirectory(instanceDirectory(context.paths, it.id));
  await makeLocal(context, it, image);
  const [machine, ...others] = await Promise.allSettled([
    ensureMachine(context, it),
    ensureSeed(context, it),
    // Not only the rules: the router must know an elastic address before the guest's first packet.
    networkPart(context.network.changed()),
  ]);
  crashPoint("vm.arrival.made");
  // All parts have ended before one's failure is told: what was made is removed then.
  for (const part of others) if (part.status === "rejected") throw part.reason;
  if (machine.status === "rejected") throw machine.reason;
  return definition(context, it, image, machine.value);
}

/** What lies in the instance's folder at the source would not come along. */
function refuseLocalState(image: Image): void {
  const what = localState(image);
  if (what !== null) throw new Failure("unsupported", "NotMovable", `${what} and cannot be moved with it yet`);
}

/** In words; null: nothing. */
export function localState({ boot, tpm }: Pick<Image, "boot" | "tpm">): string | null {
  if (tpm) return "the state of its TPM lies on its host";
  return boot.kind === "disk" && boot.firmware === "uefi" ? "its firmware's variables lie on its host" : null;
}

/** What is copied with the memory has a place to be copied to. */
async function makeLocal(context: Context, it: Arrival, { base }: Image): Promise<void> {
  const { system, data } = localDisksOf(it.spec);
  const backing = { file: base.file, format: base.format };
  const overlay = { size: it.spec.systemDisk.sizeGiB * gib, backing };
  await makeArriving(context, it.id, {
    system: system ? { file: systemDiskFile(context, it), overlay } : null,
    data,
  });
}

async function checkDisks(context: Context, it: Arrival): Promise<void> {
  const { systemDisk, dataDisks } = it.spec;
  const system = { id: systemDisk.id, driver: systemDisk.driver, file: systemDiskFile(context, it) };
  const data = dataDisks.map((disk) => ({ ...disk, file: context.disks.disk(refOf(disk, it.id)) }));
  const shared = [system, ...data].filter(({ driver }) => driver === "shared");
  if (shared.length > 0) await context.disks.reach("shared");
  for (const { id, file } of shared) if (!(await exists(file))) throw diskMissing(id, file);
}
