/**
 * Quotas where they are kept: the account's row and the rows that count against it.
 *
 * {@link quotaTake} belongs into the transaction that makes the thing, before the thing is made. It locks the account's row until
 * the commit, so that two requests of one account cannot both pass the last place; requests of other accounts do not wait. In
 * the order of locks (instances.ts) the account comes after instances and disks and before everything else.
 * Instances, vCPUs and memory are checked by the placer, which is the zone's only writer of them and knows them without a query.
 */
import { sql, type RawBuilder } from "kysely";
import { failure } from "../../core/failure-codes.ts";
import {
  exceeded,
  exceededText,
  limitsOf,
  quotaNames,
  type Amounts,
  type Limits,
  type QuotaName,
} from "../../core/quotas.ts";
import type { AccountId } from "../../lib/ids.ts";
import type { Reader, Tx } from "./database.ts";

/** How much of each an account has, as a scalar in SQL. A new kind of thing gets its line here, and nowhere else. */
const inUse: Readonly<Partial<Record<QuotaName, (account: AccountId) => RawBuilder<number>>>> = {
  instances: (account) => sql`select count(*) from instance where account_id = ${account} and deleted_at is null`,
  vcpus: (account) => sql`select sum(vcpus) from instance where account_id = ${account} and deleted_at is null`,
  memoryGiB: (account) =>
    sql`select ceil(sum(memory_mib) / 1024.0) from instance where account_id = ${account} and deleted_at is null`,
  images: (account) => sql`select count(*) from image where account_id = ${account} and deleted_at is null`,
  keys: (account) => sql`select count(*) from key_pair where account_id = ${account}`,
  groups: (account) => sql`select count(*) from disaster_recover_group where account_id = ${account}`,
  vpcs: (account) => sql`select count(*) from vpc where account_id = ${account}`,
  subnets: (account) => sql`select count(*) from subnet where account_id = ${account}`,
  securityGroups: (account) => sql`select count(*) from security_group where account_id = ${account}`,
  elasticAddresses: (account) =>
    sql`select count(*) from elastic_address where account_id = ${account} and kind = 'eip'`,
  disks: (account) => sql`
    select count(*) from disk where account_id = ${account} and usage = 'DATA_DISK' and deleted_at is null`,
  diskGiB: (account) => sql`
    select sum(size_gib) from disk where account_id = ${account} and usage = 'DATA_DISK' and deleted_at is null`,
  snapshots: (account) => sql`select count(*) from snapshot where account_id = ${account} and deleted_at is null`,
  accessKeys: (account) => sql`select count(*) from access_key where account_id = ${account}`,
};

/** What the account has of these; what nothing counts against yet is 0. */
export async function quotaUsed(
  db: Reader,
  account: AccountId,
  names: readonly QuotaName[] = quotaNames,
): Promise<Amounts> {
  const columns = names.map((name) => {
    const used = inUse[name]?.(account);
    return sql`${used === undefined ? sql`0` : sql`coalesce((${used}), 0)::float8`} as ${sql.ref(name)}`;
  });
  if (columns.length === 0) return {};
  const { rows } = await sql<Record<QuotaName, number>>`select ${sql.join(columns)}`.execute(db);
  return rows[0] ?? {};
}

/** The account's limits; undefined when there is no such account (any more). */
export async function quotaLimits(db: Reader, account: AccountId): Promise<Limits | undefined> {
  const row = await db
    .selectFrom("account")
    .select("quotas")
    .where("id", "=", account)
    .where("deleted_at", "is", null)
    .executeTakeFirst();
  return row && limitsOf(row.quotas);
}

/**
 * Makes sure that the account may have so much more, until the end of the transaction. Throws QuotaExceeded, which names the
 * quota, or AccountNotFound for an account that was deleted meanwhile.
 */
export async function quotaTake(tx: Tx, account: AccountId, asked: Amounts): Promise<void> {
  const row = await tx.db
    .selectFrom("account")
    .select("quotas")
    .where("id", "=", account)
    .where("deleted_at", "is", null)
    .forNoKeyUpdate()
    .executeTakeFirst();
  if (row === undefined) throw failure("AccountNotFound", "the account was deleted");
  const names = quotaNames.filter((name) => (asked[name] ?? 0) > 0);
  // A statement of its own: it sees what the last holder of the lock committed.
  const over = exceeded(limitsOf(row.quotas), await quotaUsed(tx.db, account, names), asked);
  if (over !== undefined) throw failure("QuotaExceeded", exceededText(over), { detail: { ...over } });
}
