/**
 * Moves of running guests between hosts: rows that VStation's reconciler of migrations writes, but for what each half says of itself
 * (guest-migration-halves.ts). Locked after their instance and its disks, before VPCs, the zone and hosts; see instances.ts.
 */
import { sql } from "kysely";
import {
  newId,
  type AccountId,
  type HostId,
  type InstanceId,
  type MigrationId,
  type OperationId,
} from "../../lib/ids.ts";
import type { MigrationQuery } from "../cloud/migrations.ts";
import { hostGenerationBump, type Reader, type Tx } from "./database.ts";
import { hostSilenceSeconds } from "./instances.ts";
import { anyOf, listPage, ownedBy, type Slice } from "./listing.ts";
import { networkHoldOf } from "./network-hosts.ts";
import type { OperationRow } from "./schema.ts";
import type { MigrationRequestRow, MigrationRow } from "./schema-migration.ts";

/** One that waits in the queue has neither target nor operation. */
export interface MigrationRead extends Omit<MigrationRow, "target_host" | "operation_id" | "deadline"> {
  target_host: HostId | null;
  operation_id: OperationId | null;
  deadline: Date | null;
  account_id: AccountId;
  operation_state: OperationRow["state"] | null;
  error_code: string | null;
  error_message: string | null;
  /** Null: it was begun before there were requests. */
  request:
    | (Pick<MigrationRequestRow, "attempt" | "tries" | "asked_by" | "migration_id" | "code" | "message"> & {
        not_before: string;
        /** The try after this one, whatever became of it. */
        next_id: MigrationId | null;
      })
    | null;
}

/** Tries that wait to begin, or were given up before they did, as rows like the others: those alone that are asked for, by their indexes. */
const neverBegun = ({ ids, instanceIds }: MigrationQuery) => sql`
  select (jsonb_populate_record(null::migration, jsonb_build_object(
    'id', r.migration_id, 'zone', r.zone, 'instance_id', r.instance_id, 'source_host', r.source_host,
    'target_host', r.to_host, 'policy', r.policy, 'ceiling_ms', r.ceiling_ms, 'wish', 'go', 'moved', false, 'created_at', r.queued_at, 'ended_at', r.ended_at,
    'request_id', r.id, 'attempt', r.attempt))).*
  from migration_request r where not exists (select from migration b where b.id = r.migration_id)
    ${ids === undefined ? sql`` : sql`and r.migration_id = any(${ids})`}
    ${instanceIds === undefined ? sql`` : sql`and r.instance_id = any(${instanceIds})`}`;

/** Newest first. */
export async function migrationList(
  db: Reader,
  accountId: AccountId | "any",
  query: MigrationQuery,
  page: Slice | null,
): Promise<{ total: number; items: MigrationRead[] }> {
  const { ids, instanceIds, hostIds, open } = query;
  const onHosts =
    hostIds === undefined ? [] : [sql`(m.source_host = any(${hostIds}) or m.target_host = any(${hostIds}))`];
  return listPage(
    db,
    {
      columns: sql<MigrationRead>`m.*, i.account_id, o.state as operation_state, o.error_code, o.error_message,
        case when r.id is not null then to_jsonb(r) || jsonb_build_object('next_id', coalesce(
          (select n.id from migration n where n.request_id = r.id and n.attempt = m.attempt + 1),
          case when r.attempt = m.attempt + 1 then r.migration_id end)) end as request`,
      from: sql`(select * from migration union all ${neverBegun(query)}) m join instance i on i.id = m.instance_id
        left join operation o on o.id = m.operation_id left join migration_request r on r.id = m.request_id`,
      where: [
        ...ownedBy("i", accountId),
        ...anyOf([
          ["m.id", ids],
          ["m.instance_id", instanceIds],
        ]),
        ...onHosts,
        ...(open === undefined ? [] : [sql`(m.ended_at is null) = ${open}`]),
      ],
      order: sql`m.created_at desc, m.id`,
    },
    page,
  );
}

/** The move of an instance that is not over at both hosts; there is one at most. */
export async function migrationOf(db: Reader, instanceId: InstanceId): Promise<MigrationRow | undefined> {
  return db
    .selectFrom("migration")
    .selectAll()
    .where("instance_id", "=", instanceId)
    .where("ended_at", "is", null)
    .executeTakeFirst();
}

export async function migrationsOpen(db: Reader, zone: string): Promise<{ id: MigrationId; instanceId: InstanceId }[]> {
  return db
    .selectFrom("migration")
    .select(["id", "instance_id as instanceId"])
    .where("zone", "=", zone)
    .where("ended_at", "is", null)
    .orderBy("id")
    .execute();
}

/**
 * Where moving instances take room beside the host that they are placed on: at the target before they are the target's, and then at
 * the source until it has said that they left. A target that is done with one that stays has nothing of it. One that was ended at the target since still counts at the source.
 */
export const roomMeanwhile = sql`
  select id as migration_id, instance_id, case when moved then source_host else target_host end as host_id, zone
  from migration where ended_at is null and (moved or not target_over)`;

export interface LockedMigration {
  row: MigrationRow;
  sourceConnected: boolean;
  /** Milliseconds since 1970; 0: never. */
  sourceSeenAt: number;
  targetConnected: boolean;
}

/** Its instance must be locked before. Undefined: there is none, or it is over. */
export async function migrationLock(tx: Tx, id: MigrationId): Promise<LockedMigration | undefined> {
  const row = await tx.db
    .selectFrom("migration")
    .selectAll()
    .where("id", "=", id)
    .where("ended_at", "is", null)
    .forUpdate()
    .executeTakeFirst();
  if (row === undefined) return undefined;
  const { rows } = await sql<{ id: HostId; seen_at: Date | null; connected: boolean }>`
    select id, seen_at,
      coalesce(session is not null and seen_at > now() - make_interval(secs => ${hostSilenceSeconds}), false) as connected
    from host where id = any(${[row.source_host, row.target_host]})`.execute(tx.db);
  const [source, target] = [row.source_host, row.target_host].map((hostId) => rows.find((host) => host.id === hostId));
  return {
    row,
    sourceConnected: source?.connected ?? false,
    sourceSeenAt: source?.seen_at?.getTime() ?? 0,
    targetConnected: target?.connected ?? false,
  };
}

export type NewMigration = Pick<
  MigrationRow,
  | "zone"
  | "instance_id"
  | "operation_id"
  | "source_host"
  | "target_host"
  | "epoch"
  | "incarnation"
  | "resets"
  | "policy"
  | "ceiling_ms"
  | "request_id"
  | "attempt"
> & { id?: MigrationId; deadline: Date };

/** Both hosts are told of their halves. The unique index refuses a second one of the instance. */
export async function migrationInsert(tx: Tx, { id = newId("migration"), ...row }: NewMigration): Promise<void> {
  const generations = await hostGenerationBump(tx, [row.source_host, row.target_host]);
  await tx.db
    .insertInto("migration")
    .values({
      ...row,
      id,
      source_generation: generations.get(row.source_host) ?? 0,
      target_generation: generations.get(row.target_host) ?? 0,
      seen_source: null,
      seen_target: null,
      last_progress: null,
    })
    .execute();
  tx.wake.migrations = true;
  tx.wake.event("migration", id);
}

/** What its hosts are told, beside that it is there. */
export type MigrationTold = Pick<MigrationRow, "wish" | "port" | "fate" | "source_over" | "target_over">;

/** Its hosts hear of it, but for one that was taken out as dead. Over at both, it has ended. */
export async function migrationTell(tx: Tx, row: MigrationRow, told: MigrationTold): Promise<void> {
  const hosts = await tx.db
    .selectFrom("host")
    .select("id")
    .where("id", "in", [row.source_host, row.target_host])
    .where("removed_at", "is", null)
    .execute();
  const generations = await hostGenerationBump(
    tx,
    hosts.map(({ id }) => id),
  );
  const ended = told.source_over && told.target_over;
  await tx.db
    .updateTable("migration")
    .set({
      ...told,
      source_generation: generations.get(row.source_host) ?? row.source_generation,
      target_generation: generations.get(row.target_host) ?? row.target_generation,
      ...(ended ? { ended_at: sql<Date>`clock_timestamp()` } : {}),
    })
    .where("id", "=", row.id)
    .execute();
  tx.wake.event("migration", row.id);
}

/**
 * The instance is the target's: its host, its epoch, and where its addresses are found. What the source said last of the guest holds
 * until the target says something: it is the same guest. Must come before {@link migrationTell}, by the order of locks.
 */
export async function migrationMove(tx: Tx, row: MigrationRow): Promise<void> {
  const { id, instance_id: instanceId, source_host: sourceId, target_host: hostId } = row;
  await networkHoldOf(tx, [instanceId]);
  await sql`
    with z as (update zone set peer_generation = peer_generation + 1 where name = ${row.zone} returning peer_generation)
    update address a set host_id = h.id, vtep = h.underlay_address, peer_generation = z.peer_generation
    from z, host h where h.id = ${hostId} and a.instance_id = ${instanceId} and a.released_at is null
      and a.held_as = 'own'`.execute(tx.db);
  const generations = await hostGenerationBump(tx, [sourceId, hostId]);
  await sql`
    update instance set host_id = ${hostId}, epoch = ${row.epoch}, generation = ${generations.get(hostId)},
      seen_epoch = case when seen_epoch = epoch then ${row.epoch} else seen_epoch end, seen_generation = 0
    where id = ${instanceId}`.execute(tx.db);
  // Its system disk lies where it is; data disks on the host's own storage have come with it.
  await sql`
    update disk set host_id = ${hostId}
    where instance_id = ${instanceId} and usage = 'DATA_DISK' and driver = 'local' and deleted_at is null`.execute(
    tx.db,
  );
  await tx.db.updateTable("migration").set({ moved: true }).where("id", "=", id).execute();
  tx.wake.peers = true;
  tx.wake.capacity = true;
  tx.wake.instance(instanceId);
  tx.wake.event("instance", instanceId);
}

/** Somebody called it off: both hosts are told. */
export async function migrationCancel(tx: Tx, row: MigrationRow): Promise<void> {
  const { port, fate, source_over, target_over } = row;
  await migrationTell(tx, row, { wish: "cancel", port, fate, source_over, target_over });
  tx.wake.migrations = true;
}
