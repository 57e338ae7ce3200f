/** Lists with conditions, a page and a total, as every Describe needs them; tags as conditions and as a column. */
import { sql, type RawBuilder } from "kysely";
import type { AccountId } from "../../lib/ids.ts";
import type { TagQuery } from "../cloud/network.ts";
import type { Reader } from "./database.ts";

export interface Slice {
  offset: number;
  limit: number;
}

/** `from` ends where the conditions begin; `page` null = everything. */
export async function listPage<T>(
  db: Reader,
  parts: {
    /** Typed as the rows that they make. */
    columns: RawBuilder<T>;
    from: RawBuilder<unknown>;
    where: readonly RawBuilder<unknown>[];
    order: RawBuilder<unknown>;
  },
  page: Slice | null,
): Promise<{ total: number; items: T[] }> {
  const { columns, from, order } = parts;
  const where = parts.where.length === 0 ? sql`true` : sql.join(parts.where, sql` and `);
  const slice = page === null ? sql`` : sql`offset ${page.offset} limit ${page.limit}`;
  const { rows } = await sql<T>`select ${columns} from ${from} where ${where} order by ${order} ${slice}`.execute(db);
  // Most answers hold the whole selection; only a full page leaves something to count.
  if (page === null || (page.offset === 0 && rows.length < page.limit)) return { total: rows.length, items: rows };
  const count = await sql<{ total: number }>`select count(*)::int as total from ${from} where ${where}`.execute(db);
  return { total: count.rows[0]?.total ?? 0, items: rows };
}

/** Rows of this account; all for the operator. */
export function ownedBy(table: string, accountId: AccountId | "any"): RawBuilder<unknown>[] {
  return accountId === "any" ? [] : [sql`${sql.ref(`${table}.account_id`)} = ${accountId}`];
}

/** Conditions for the lists that are given: the column has one of the values. */
export function anyOf(given: readonly (readonly [string, readonly string[] | undefined])[]): RawBuilder<unknown>[] {
  return given.flatMap(([column, values]) =>
    values === undefined ? [] : [sql`${sql.ref(column)} = any(${[...values]})`],
  );
}

/** The text has one of these in it, whatever else. */
export function containsAny(column: string, parts: readonly string[] | undefined): RawBuilder<unknown>[] {
  if (parts === undefined) return [];
  const any = parts.map((part) => sql`position(${part} in ${sql.ref(column)}) > 0`);
  return [sql`(${sql.join(any, sql` or `)})`];
}

export function tagConditions(table: string, { tags = {}, tagKeys }: TagQuery): RawBuilder<unknown>[] {
  const id = sql.ref(`${table}.id`);
  const conditions = Object.entries(tags).map(
    ([key, values]) =>
      sql`exists (select from tag t where t.resource_id = ${id} and t.key = ${key} and t.value = any(${values}))`,
  );
  if (tagKeys !== undefined) {
    conditions.push(sql`exists (select from tag t where t.resource_id = ${id} and t.key = any(${[...tagKeys]}))`);
  }
  return conditions;
}

/** A column `tags`: an object of all tags of the row. */
export function tagColumn(table: string): RawBuilder<unknown> {
  return sql`coalesce((select jsonb_object_agg(t.key, t.value) from tag t
    where t.resource_id = ${sql.ref(`${table}.id`)}), '{}') as tags`;
}
