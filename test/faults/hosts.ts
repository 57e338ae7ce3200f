/** Hosts as a case wants them: the one that placement will choose, and some on which no instance can be made. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { hostOf } from "../../bench/delivery/guest.ts";
import type { LabHost, LabSession } from "../../bench/lab-session.ts";
import { removeSubject, runSubject } from "./requests.ts";

/** Hosts whose instances' folder is read-only while the work goes on, or until it mends them itself. */
export async function withoutDisk(
  hosts: readonly LabHost[],
  work: (mend: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const folderOf = (host: LabHost): string => join(host.dir, "state/instances");
  const mend = async (): Promise<void> => {
    for (const host of hosts) {
      const mounts = readFileSync(`/proc/${host.init}/mounts`, "utf8");
      if (mounts.includes(` ${folderOf(host)} `)) await host.run(["umount", folderOf(host)]);
    }
  };
  try {
    for (const host of hosts) {
      await host.run(["mount", "--bind", folderOf(host), folderOf(host)]);
      await host.run(["mount", "-o", "remount,bind,ro", folderOf(host)]);
    }
    await work(mend);
  } finally {
    await mend();
  }
}

/** Where the next instance would go: where the last one went, once that one is gone. */
export async function favouriteHost(lab: LabSession): Promise<LabHost> {
  const { id } = await runSubject(lab);
  const host = await hostOf(lab, await lab.cloud.instance(id));
  await removeSubject(lab, id);
  return host;
}
