/** The disks that RunInstances makes with an instance: where each lies, what that takes of the host's own room, and their rows. */
import { diskWorkMs, driverOf, type DiskType } from "../../core/disk.ts";
import { newId, type DiskId, type InstanceId } from "../../lib/ids.ts";
import type { VStationConfig } from "../config.ts";
import type { InstanceRunRequest } from "../cloud.ts";
import type { NewDisk } from "../store/disks.ts";
import type { NewInstance } from "../store/instance-insert.ts";

/** What a system disk is made of when nobody says: the host's own storage, which every zone has. */
const defaultSystemDisk: DiskType = "LOCAL_BASIC";

type Disks = Pick<InstanceRunRequest, "systemDiskType" | "dataDisks">;
type Zone = Pick<VStationConfig, "sharedDir">;

/** GiB of the host's own storage that the system disk takes; data disks are counted by themselves. */
export function localSystemGiB(zone: Zone, { systemDiskType }: Disks, sizeGiB: number): number {
  return driverOf(systemDiskType ?? defaultSystemDisk, zone.sharedDir !== undefined) === "local" ? sizeGiB : 0;
}

export function localDataGiB(zone: Zone, { dataDisks }: Disks): number {
  const local = dataDisks.filter(({ type }) => driverOf(type, zone.sharedDir !== undefined) === "local");
  return local.reduce((sum, { sizeGiB }) => sum + sizeGiB, 0);
}

export function disksOfRun(
  zone: Zone,
  request: Disks,
  instance: NewInstance["row"],
  system: { id: DiskId; sizeGiB: number },
): NewDisk[] {
  const zoneHasShared = zone.sharedDir !== undefined;
  const systemType = request.systemDiskType ?? defaultSystemDisk;
  const common = commonOf(instance);
  return [
    {
      ...common,
      id: system.id,
      name: `${instance.name}-system`,
      usage: "SYSTEM_DISK",
      disk_type: systemType,
      driver: driverOf(systemType, zoneHasShared),
      size_gib: system.sizeGiB,
      limit_bytes: null,
      limit_iops: null,
      slot: null,
      delete_with_instance: true,
      host_id: null,
      work: null,
      due_at: null,
    },
    ...request.dataDisks.map((disk, slot): NewDisk => {
      const driver = driverOf(disk.type, zoneHasShared);
      return {
        ...common,
        id: newId("disk"),
        name: disk.name ?? `${instance.name}-data-${slot + 1}`,
        usage: "DATA_DISK",
        disk_type: disk.type,
        driver,
        size_gib: disk.sizeGiB,
        limit_bytes: disk.limits.bytes,
        limit_iops: disk.limits.iops,
        slot,
        delete_with_instance: disk.deleteWithInstance,
        host_id: driver === "local" ? instance.host_id : null,
        // The instance's own start has longer; a disk that is late after that says so.
        work: { is: "attach" },
        due_at: new Date((instance.due_at?.getTime() ?? Date.now()) + diskWorkMs),
      };
    }),
  ];
}

function commonOf(
  instance: NewInstance["row"],
): Pick<NewDisk, "account_id" | "zone" | "snapshot_id" | "tags" | "created_at"> & { instance_id: InstanceId } {
  const { id, account_id, zone, created_at } = instance;
  return { account_id, zone, instance_id: id, snapshot_id: null, tags: {}, created_at };
}
