/** Where things lie under `stateDir` and `runDir`: the only place that joins these names. */
import { join } from "node:path";
import type { DiskId, InstanceId, JobId, MigrationId } from "../lib/ids.ts";

export interface Paths {
  readonly stateDir: string;
  readonly runDir: string;
  readonly identity: string;
  readonly wanted: string;
  readonly instances: string;
  readonly disks: string;
  readonly snapshots: string;
  readonly jobs: string;
  readonly migrations: string;
  /** What guests' pauses took that have left this host (migration/pauses.ts). */
  readonly pauses: string;
  readonly reserve: string;
  readonly network: string;
  readonly consoles: string;
}

export function pathsOf(config: { stateDir: string; runDir: string }): Paths {
  const { stateDir, runDir } = config;
  return {
    stateDir,
    runDir,
    identity: join(stateDir, "identity"),
    wanted: join(stateDir, "wanted"),
    instances: join(stateDir, "instances"),
    disks: join(stateDir, "disks"),
    snapshots: join(stateDir, "snapshots"),
    jobs: join(stateDir, "jobs"),
    migrations: join(stateDir, "migrations"),
    pauses: join(stateDir, "pauses.json"),
    reserve: join(stateDir, "reserve"),
    network: join(runDir, "network"),
    consoles: join(runDir, "consoles"),
  };
}

/** The one folder of an instance: nothing of it lies elsewhere, so removing it leaves nothing. */
export function instanceDirectory(paths: Paths, id: InstanceId): string {
  return join(paths.instances, id);
}

export function recordFile(paths: Paths, id: InstanceId): string {
  return join(paths.instances, id, "record.json");
}

/** While it comes by a live migration: what there is of it here was made for that (migration/local-disks.ts). */
export function arrivingFile(paths: Paths, id: InstanceId): string {
  return join(paths.instances, id, "arriving.json");
}

/** What it owns of the host's processors and pages (machine/allotments.ts). */
export function allotmentFile(paths: Paths, id: InstanceId): string {
  return join(paths.instances, id, "allotment.json");
}

export function diskFile(paths: Paths, id: InstanceId, disk: DiskId): string {
  return join(paths.instances, id, `${disk}.qcow2`);
}

/** What a job makes that has no other place. */
export function jobDiskFile(paths: Paths, id: JobId): string {
  return join(paths.jobs, `${id}.qcow2`);
}

export function jobFile(paths: Paths, id: JobId): string {
  return join(paths.jobs, `${id}.json`);
}

export function migrationFile(paths: Paths, id: MigrationId): string {
  return join(paths.migrations, `${id}.json`);
}

/** The story of a migration at its source. Not a name that a record has: `load` of the runner leaves it alone. */
export function storyFile(paths: Paths, id: MigrationId): string {
  return join(paths.migrations, `${id}.story`);
}

/** The firmware's variables of an instance that starts by UEFI: made from a template at its first start, and kept. */
export function nvramFile(paths: Paths, id: InstanceId): string {
  return join(paths.instances, id, "nvram.fd");
}

/** The state of an instance's TPM. */
export function tpmDirectory(paths: Paths, id: InstanceId): string {
  return join(paths.instances, id, "tpm");
}

export function seedFile(paths: Paths, id: InstanceId): string {
  return join(paths.instances, id, "seed.img");
}

export function consoleLogFile(paths: Paths, id: InstanceId, incarnation: number): string {
  return join(paths.instances, id, `console-${incarnation}.log`);
}

/** Where QEMU listens for who uses the serial console. Under runDir, because a socket's path has 107 bytes. */
export function consoleSocket(paths: Paths, id: InstanceId): string {
  return join(paths.consoles, `${id}.sock`);
}
