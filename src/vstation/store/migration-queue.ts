/**
 * Requests for moves of running guests (migrations/0013-migration-request.ts). Who writes them: the use cases insert and call off, the
 * reconciler of migrations tells how a try ended in the transaction that ends it, the queue holds back what cannot begin yet. A request is
 * locked after its instance, as migrations are.
 */
import { sql } from "kysely";
import type { QueuedMove, Flight } from "../../core/migration/queue.ts";
import type { Tried } from "../../core/migration/retry.ts";
import { newId, type HostId, type InstanceId, type MigrationId } from "../../lib/ids.ts";
import type { Reader, Tx } from "./database.ts";
import { toJson } from "./json.ts";
import type { MigrationRequestRow } from "./schema-migration.ts";

/** Its present try has not begun. */
const waits = sql`r.ended_at is null and not exists (select from migration b where b.id = r.migration_id)`;

export interface QueuedRequest {
  row: MigrationRequestRow;
  move: QueuedMove;
}

/** All that wait, in no order; see core/migration/queue.ts. */
export async function requestsWaiting(db: Reader, zone: string): Promise<QueuedRequest[]> {
  const { rows } = await sql<
    MigrationRequestRow & {
      memory_mib: number;
      host_id: HostId | null;
      dirty: number | null;
      sent: number | null;
    }
  >`
    select r.*, i.memory_mib, i.host_id,
      (p.last_progress ->> 'dirtyBytesPerSecond')::float8 as dirty, (p.last_progress ->> 'bytesPerSecond')::float8 as sent
    from migration_request r join instance i on i.id = r.instance_id
    left join lateral (
      select last_progress from migration m where m.instance_id = r.instance_id and m.last_progress is not null
      order by m.created_at desc limit 1) p on true
    where r.zone = ${zone} and ${waits}`.execute(db);
  return rows.map(({ memory_mib, host_id, dirty, sent, ...row }) => ({
    row,
    move: {
      id: row.migration_id,
      source: host_id ?? row.source_host,
      to: row.to_host,
      by: row.asked_by,
      memoryMiB: memory_mib,
      observed: dirty === null || sent === null ? null : { dirty, sent },
      strikes: row.strikes,
      notBefore: row.not_before.getTime(),
      askedAt: row.created_at.getTime(),
    },
  }));
}

/** Copies that take of the budgets: all that are neither decided nor given up at either end. */
export async function flightsOpen(db: Reader, zone: string): Promise<Flight[]> {
  const { rows } = await sql<Flight>`
    select m.source_host as source, m.target_host as target, i.memory_mib as "memoryMiB"
    from migration m join instance i on i.id = m.instance_id
    where m.zone = ${zone} and m.ended_at is null and not m.moved
      and m.seen_source ->> 'is' is distinct from 'stayed'
      and m.seen_target ->> 'is' is distinct from 'dropped'`.execute(db);
  return rows;
}

export interface OpenRequest extends MigrationRequestRow {
  /** Its present try has. */
  begun: boolean;
}

export async function requestOpen(db: Reader, instanceId: InstanceId): Promise<OpenRequest | undefined> {
  const { rows } = await sql<OpenRequest>`
    select r.*, not (${waits}) as begun from migration_request r
    where instance_id = ${instanceId} and ended_at is null`.execute(db);
  return rows[0];
}

/** As {@link requestOpen}, locked; its instance must be locked before. */
export async function requestLock(tx: Tx, instanceId: InstanceId): Promise<OpenRequest | undefined> {
  await sql`select from migration_request where instance_id = ${instanceId} and ended_at is null for update`.execute(
    tx.db,
  );
  // What held the lock may have begun it: asked anew, now that nobody can.
  return requestOpen(tx.db, instanceId);
}

export type NewRequest = Pick<
  MigrationRequestRow,
  | "zone"
  | "instance_id"
  | "asked_by"
  | "source_host"
  | "to_host"
  | "policy"
  | "ceiling_ms"
  | "tries"
  | "caller_request"
  | "migration_id"
>;

export async function requestInsert(tx: Tx, rows: readonly NewRequest[]): Promise<void> {
  if (rows.length === 0) return;
  // Nobody has two open ones: what came between the look and here stands, and counts.
  const { rows: made } = await sql<{ id: MigrationId }>`
    insert into migration_request (id, zone, instance_id, asked_by, source_host, to_host, policy, ceiling_ms, tries, caller_request, migration_id)
    select migration_id, zone, instance_id, asked_by, source_host, to_host, policy, ceiling_ms, tries, caller_request, migration_id
    from jsonb_to_recordset(${toJson(rows)}::jsonb) as v(zone text, instance_id text, asked_by text, source_host text,
      to_host text, policy text, ceiling_ms integer, tries integer, caller_request text, migration_id text)
    on conflict (instance_id) where ended_at is null do nothing
    returning id`.execute(tx.db);
  for (const { id } of made) tx.wake.event("migration", id);
  tx.wake.migrations = true;
}

/** An operator asks for what waits already, on whoever's behalf: it is the operator's from now on, and does not wait for its time. */
export async function requestTakeOver(
  tx: Tx,
  { id, migration_id, attempt }: MigrationRequestRow,
  { tries, ...asked }: Pick<MigrationRequestRow, "to_host" | "policy" | "ceiling_ms" | "tries" | "caller_request">,
): Promise<void> {
  await tx.db
    .updateTable("migration_request")
    .set({
      // Those that have ended were another's.
      tries: attempt - 1 + tries,
      ...{ ...asked, asked_by: "operator", code: null, message: null, refused_at: null },
      ...{ not_before: sql<Date>`clock_timestamp()`, queued_at: sql<Date>`clock_timestamp()` },
    })
    .where("id", "=", id)
    .execute();
  tx.wake.migrations = true;
  tx.wake.event("migration", migration_id);
}

/** What stands in its way, since when without a break, and when it is looked at again. */
export async function requestHold(
  tx: Tx,
  { id, migration_id, code, message }: MigrationRequestRow,
  why: { code: string; message: string; since: Date; afterMs: number },
): Promise<void> {
  await tx.db
    .updateTable("migration_request")
    .set({ code: why.code, message: why.message, refused_at: why.since, not_before: after(why.afterMs) })
    .where("id", "=", id)
    .execute();
  if (code !== why.code || message !== why.message) tx.wake.event("migration", migration_id);
}

/** Its try came to nothing, and another one follows. */
export async function requestAgain(
  tx: Tx,
  row: MigrationRequestRow,
  next: { code: string; message: string; afterMs: number; strike: boolean },
): Promise<void> {
  const id = newId("migration");
  await tx.db
    .updateTable("migration_request")
    .set({
      migration_id: id,
      attempt: row.attempt + 1,
      strikes: row.strikes + (next.strike ? 1 : 0),
      code: next.code,
      message: next.message,
      not_before: after(next.afterMs),
      refused_at: null,
      queued_at: sql<Date>`clock_timestamp()`,
    })
    .where("id", "=", row.id)
    .execute();
  tx.wake.migrations = true;
  tx.wake.event("migration", id);
}

/** However the present try ends, no other follows. */
export async function requestLast(tx: Tx, { id, attempt }: MigrationRequestRow): Promise<void> {
  await tx.db.updateTable("migration_request").set({ tries: attempt }).where("id", "=", id).execute();
}

/** `why` null: its guest has moved. */
export async function requestEnd(
  tx: Tx,
  { id, migration_id }: MigrationRequestRow,
  why: { code: string; message: string } | null,
): Promise<void> {
  await tx.db
    .updateTable("migration_request")
    .set({
      ended_at: sql<Date>`clock_timestamp()`,
      moved: why === null,
      code: why?.code ?? null,
      message: why?.message ?? null,
    })
    .where("id", "=", id)
    .execute();
  tx.wake.migrations = true;
  tx.wake.event("migration", migration_id);
}

/** Its tries that have begun, in order. */
export async function triesOf(db: Reader, requestId: MigrationId): Promise<Tried[]> {
  return await db
    .selectFrom("migration as m")
    .innerJoin("operation as o", "o.id", "m.operation_id")
    .select(["m.target_host as at", "o.error_code as code"])
    .where("m.request_id", "=", requestId)
    .orderBy("m.attempt")
    .execute();
}

function after(ms: number) {
  return sql<Date>`clock_timestamp() + make_interval(secs => ${ms / 1000})`;
}
