/**
 * What the placement projection is rebuilt from: hosts with their capacity, live instances with their room, what those that move take beside
 * that, addresses in use.
 */
import { sql } from "kysely";
import { plainPromise, type Promised } from "../../core/machine.ts";
import { roomOf, type Room } from "../../core/placement.ts";
import type { AccountId, GroupId, HostId, InstanceId, MigrationId, SubnetId } from "../../lib/ids.ts";
import type { Reader } from "./database.ts";
import { roomMeanwhile } from "./guest-migrations.ts";

export interface PlacedRow {
  id: InstanceId;
  accountId: AccountId;
  /** null: it takes no room anywhere now. */
  hostId: HostId | null;
  groupId: GroupId | null;
  room: Room;
}

export async function placedLoad(db: Reader, zone: string): Promise<PlacedRow[]> {
  const { rows } = await sql<Omit<PlacedRow, "room"> & Size & { machine: Promised | null }>`
    select id, account_id as "accountId", host_id as "hostId", group_id as "groupId", vcpus,
      memory_mib as "memoryMiB", disk_gib as "diskGiB", machine
    from instance where zone = ${zone} and deleted_at is null`.execute(db);
  return rows.map(({ vcpus, memoryMiB, diskGiB, machine, ...row }) => ({
    ...row,
    room: roomOf({ vcpus, memoryMiB, diskGiB }, machine ?? plainPromise),
  }));
}

export interface MeanwhileRow {
  id: MigrationId;
  instanceId: InstanceId;
  hostId: HostId;
  groupId: GroupId | null;
  room: Room;
}

/** Of instances on their way between two hosts: what they take at the one that they are not placed on. */
export async function meanwhileLoad(db: Reader, zone: string): Promise<MeanwhileRow[]> {
  const { rows } = await sql<Omit<MeanwhileRow, "room"> & Size & { machine: Promised | null }>`
    select m.migration_id as id, m.instance_id as "instanceId", m.host_id as "hostId", i.group_id as "groupId", i.vcpus,
      i.memory_mib as "memoryMiB", i.disk_gib as "diskGiB", i.machine
    from (${roomMeanwhile}) m join instance i on i.id = m.instance_id where m.zone = ${zone}`.execute(db);
  return rows.map(({ vcpus, memoryMiB, diskGiB, machine, ...row }) => ({
    ...row,
    room: roomOf({ vcpus, memoryMiB, diskGiB }, machine ?? plainPromise),
  }));
}

type Size = Parameters<typeof roomOf>[0];

export async function addressesInUse(db: Reader, zone: string): Promise<{ subnetId: SubnetId; ip: string }[]> {
  const rows = await db
    .selectFrom("address")
    .select(["subnet_id as subnetId", "ip"])
    .where("zone", "=", zone)
    .where("released_at", "is", null)
    .execute();
  return rows;
}
