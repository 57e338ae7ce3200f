/** The steps that end things: taking an instance off this host, and clearing the trace of a start that was refused. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Mark } from "../../core/ensure.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { namesIn } from "../../lib/files.ts";
import type { InstanceId } from "../../lib/ids.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import { isLibvirtError } from "../../libvirt/errors.ts";
import { arrivingFile, consoleSocket, consoleLogFile, instanceDirectory, recordFile } from "../paths.ts";
import { syncDirectory } from "../../lib/durable.ts";
import type { Context } from "./context.ts";
import { markElement, markPrefix, markUri } from "./mark.ts";

/**
 * Removes everything of an instance that is off: the definition, then disk, seed and logs, then the record, so that whoever comes
 * back after a crash in between still knows that something is left to remove.
 */
export async function eraseInstance(context: Context, id: InstanceId, domain: DomainRef | null): Promise<void> {
  if (domain !== null) {
    try {
      await context.libvirt.domainUndefine(domain, { nvram: "remove" });
    } catch (error) {
      if (!isLibvirtError(error, "NoDomain")) throw error;
    }
  }
  crashPoint("vm.erase.undefined");
  await rm(consoleSocket(context.paths, id), { force: true });
  const directory = instanceDirectory(context.paths, id);
  // What tells that something of it is here.
  const last = [recordFile(context.paths, id), arrivingFile(context.paths, id)];
  for (const name of await namesIn(directory)) {
    const file = join(directory, name);
    if (!last.includes(file)) await rm(file, { recursive: true, force: true });
  }
  crashPoint("vm.erase.files-removed");
  for (const file of last) await rm(file, { force: true });
  await rm(directory, { recursive: true, force: true });
  crashPoint("vm.erase.directory-removed");
  await syncDirectory(context.paths.instances);
}

/** libvirt refused the start for certain: what it left of the attempt must not be taken for a guest that ran. */
export async function forgetTrace(context: Context, id: InstanceId, incarnation: number): Promise<void> {
  await rm(consoleLogFile(context.paths, id, incarnation), { force: true });
}

/** Writes the mark into the running domain and its definition; of use only to who has lost the record, so failing is no harm. */
export async function tellMark(context: Context, domain: DomainRef, mark: Mark): Promise<void> {
  try {
    await context.libvirt.domainMetadataSet(
      domain,
      { uri: markUri, prefix: markPrefix, xml: markElement(mark) },
      "both",
    );
  } catch (error) {
    context.log.warn({ err: error, domain: domain.name }, "could not write the mark into the domain");
  }
}
