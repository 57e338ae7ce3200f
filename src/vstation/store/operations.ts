/** Reading operations; they are written in instances.ts, under their instance's row lock, and never removed. */
import { sql, type RawBuilder } from "kysely";
import type { OperationState } from "../../core/instance.ts";
import type { AccountId, InstanceId, OperationId } from "../../lib/ids.ts";
import type { Reader } from "./database.ts";
import type { OperationRow } from "./schema.ts";

export interface OperationRead {
  row: OperationRow;
  steps: { at: Date; name: string; note: string | null }[];
}

export interface OperationFilter {
  ids?: readonly OperationId[];
  instanceIds?: readonly InstanceId[];
  states?: readonly OperationState[];
  accountId?: AccountId;
}

const stepsOf = sql`
  coalesce((select jsonb_agg(jsonb_build_object('at', s.at, 'name', s.name, 'note', s.note) order by s.id)
    from operation_step s where s.operation_id = o.id), '[]') as steps`;

type Raw = OperationRow & { steps: { at: string; name: string; note: string | null }[] };

/** Newest first. */
export async function operationList(
  db: Reader,
  filter: OperationFilter,
  page: { offset: number; limit: number },
): Promise<{ total: number; items: OperationRead[] }> {
  const where = conditionsOf(filter);
  const count = await sql<{ total: number }>`select count(*)::int as total from operation o where ${where}`.execute(db);
  const { rows } = await sql<Raw>`
    select o.*, ${stepsOf} from operation o where ${where}
    order by o.created_at desc, o.id offset ${page.offset} limit ${page.limit}`.execute(db);
  return { total: count.rows[0]?.total ?? 0, items: rows.map(operationRead) };
}

/** The newest operation of each instance, as its owner knows of them (moves to another host are the operator's), or of all. */
export async function operationLatest(
  db: Reader,
  instanceIds: readonly InstanceId[],
  of: "owner" | "all",
): Promise<Map<InstanceId, OperationRead>> {
  const { rows } = await sql<Raw>`
    select o.*, ${stepsOf}
    from unnest(${[...instanceIds]}::text[]) wanted(id)
    cross join lateral (
      select * from operation where instance_id = wanted.id and (kind <> 'instance.migrate' or ${of === "all"}) order by created_at desc, state, id limit 1) o`.execute(
    db,
  );
  return new Map(rows.map((row) => [row.instance_id, operationRead(row)]));
}

function operationRead({ steps, ...row }: Raw): OperationRead {
  return { row, steps: steps.map(({ at, name, note }) => ({ at: new Date(at), name, note })) };
}

function conditionsOf(filter: OperationFilter): RawBuilder<unknown> {
  const conditions: RawBuilder<unknown>[] = [sql`true`];
  if (filter.ids !== undefined) conditions.push(sql`o.id = any(${[...filter.ids]})`);
  if (filter.instanceIds !== undefined) conditions.push(sql`o.instance_id = any(${[...filter.instanceIds]})`);
  if (filter.states !== undefined) conditions.push(sql`o.state = any(${[...filter.states]})`);
  if (filter.accountId !== undefined) conditions.push(sql`o.account_id = ${filter.accountId}`);
  return sql.join(conditions, sql` and `);
}
