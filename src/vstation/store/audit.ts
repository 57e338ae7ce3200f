/**
 * The log of calls. Rows are written by one statement that holds a lock of the whole database until its commit, so that ids become
 * visible in their order: whoever follows the log by the last id that was read misses nothing.
 */
import { sql } from "kysely";
import { auditCounted } from "../../api/native/tenancy.ts";
import type { Listed } from "../cloud.ts";
import type { AuditQuery, AuditView, Edge } from "../cloud-tenancy.ts";
import type { Reader, Store } from "./database.ts";
import { toJson } from "./json.ts";

export interface AuditRow {
  at: string;
  edge: Edge;
  action: string;
  changes: boolean;
  account_id: string | null;
  actor: string | null;
  resource_ids: readonly string[];
  source: string;
  agent: string | null;
  request_id: string;
  outcome: string | null;
  duration_ms: number | null;
}

/** Any number that nothing else locks. */
const lock = 7_007;

/** Ids in the order of the rows. */
export async function auditInsert(store: Store, rows: readonly AuditRow[]): Promise<string[]> {
  const { rows: written } = await store.read((db) =>
    sql<{ id: string }>`
      with locked as materialized (select pg_advisory_xact_lock(${lock})),
        made as (
          insert into audit (at, edge, action, changes, account_id, actor, resource_ids, source, agent, request_id, outcome,
            duration_ms)
          select v.at, v.edge, v.action, v.changes, v.account_id, v.actor, v.resource_ids, v.source, v.agent, v.request_id,
            v.outcome, v.duration_ms
          from locked, rows from (jsonb_to_recordset(${toJson(rows)}) as (at timestamptz, edge text, action text,
            changes boolean, account_id text, actor text, resource_ids jsonb, source text, agent text, request_id text,
            outcome text, duration_ms double precision)) with ordinality v
          order by v.ordinality
          returning id)
      select id::text from made order by made.id`.execute(db),
  );
  return written.map(({ id }) => id);
}

export interface AuditEnd {
  id: string;
  resource_ids: readonly string[];
  outcome: string;
  duration_ms: number;
}

/** How calls ended that were written down when they began. */
export async function auditEnd(store: Store, ends: readonly AuditEnd[]): Promise<void> {
  await store.read((db) =>
    sql`
      update audit a set outcome = v.outcome, duration_ms = v.duration_ms, resource_ids = v.resource_ids
      from jsonb_populate_recordset(null::audit, ${toJson(ends)}) v where a.id = v.id`.execute(db),
  );
}

type Raw = Omit<AuditRow, "at"> & { id: string; at: Date; total: number };

export async function auditList(db: Reader, query: AuditQuery, limit: number): Promise<Listed<AuditView>> {
  const conditions = [sql`true`];
  if (query.accountId !== undefined) conditions.push(sql`account_id = ${query.accountId}`);
  if (query.actions !== undefined) conditions.push(sql`action = any(${query.actions})`);
  if (query.actor !== undefined) conditions.push(sql`actor = ${query.actor}`);
  if (query.resourceId !== undefined) conditions.push(sql`resource_ids ? ${query.resourceId}`);
  if (query.requestId !== undefined) conditions.push(sql`request_id = ${query.requestId}`);
  if (query.changes !== undefined) conditions.push(sql`changes = ${query.changes}`);
  if (query.failed !== undefined) conditions.push(query.failed ? sql`outcome <> 'ok'` : sql`outcome = 'ok'`);
  if (query.since !== undefined) conditions.push(sql`at >= ${query.since}`);
  if (query.until !== undefined) conditions.push(sql`at < ${query.until}`);
  if (query.after !== undefined) conditions.push(sql`id > ${query.after.toString()}::bigint`);
  if (query.before !== undefined) conditions.push(sql`id < ${query.before.toString()}::bigint`);
  const order = query.after === undefined ? sql`desc` : sql`asc`;
  const { rows } = await sql<Raw>`
    select id::text, at, edge, action, changes, account_id, actor, resource_ids, source, agent, request_id, outcome,
      duration_ms, (count(*) over ())::int as total
    from (
      select * from audit where ${sql.join(conditions, sql` and `)} order by audit.id ${order} limit ${auditCounted}) found
    order by found.id ${order} limit ${limit}`.execute(db);
  const items = rows.map((row) => ({
    id: BigInt(row.id),
    at: row.at,
    edge: row.edge,
    action: row.action,
    changes: row.changes,
    accountId: row.account_id,
    actor: row.actor,
    resourceIds: [...row.resource_ids],
    source: row.source,
    agent: row.agent,
    requestId: row.request_id,
    outcome: row.outcome,
    durationMs: row.duration_ms,
  }));
  return { total: rows[0]?.total ?? 0, items };
}

const forgetRows = 5_000;

/** Forgets what is older than its kind is kept, some thousand rows per statement, so that none of them holds others up. */
export async function auditForget(store: Store, keepDays: { changes: number; reads: number }): Promise<void> {
  for (const [changes, days] of [
    [true, keepDays.changes],
    [false, keepDays.reads],
  ] as const) {
    for (let gone = forgetRows; gone === forgetRows;) {
      const { numAffectedRows } = await store.read((db) =>
        sql`
          delete from audit where id in (
            select id from audit where changes = ${changes}
              and at < clock_timestamp() - make_interval(days => ${days}) order by at limit ${forgetRows})`.execute(db),
      );
      gone = Number(numAffectedRows ?? 0n);
    }
  }
}
