/**
 * Accounts of their own: quotas, names that come free again, API keys that can be switched off, and the log of calls.
 *
 * An account that is gone stays as a row, since instances that were its stay as history. `account.instance_quota` is what the
 * release before reads; it is filled from here on by its default and goes in a later one.
 * `audit` refers to nothing: it outlives what it tells of.
 */
import { sql, type Kysely } from "kysely";

const statements = [
  `alter table account
     add column quotas jsonb not null default '{}',
     add column deleted_at timestamptz,
     alter column instance_quota set default 10000`,
  `update account set quotas = jsonb_build_object('instances', instance_quota) where instance_quota <> 10000`,

  `alter table access_key
     add column name text not null default '',
     add column enabled boolean not null default true,
     add column last_used_at timestamptz`,
  `create index access_key_by_account on access_key (account_id)`,

  `alter table key_pair add column description text not null default ''`,

  // outcome: a CVM or native code, 'ok', or null while the call is under way or where its end was never written.
  `create table audit (
     id bigserial primary key,
     at timestamptz not null,
     edge text not null check (edge in ('cvm', 'native')),
     action text not null,
     changes boolean not null,
     account_id text,
     actor text,
     resource_ids jsonb not null,
     source text not null,
     agent text,
     request_id text not null,
     outcome text,
     duration_ms double precision)`,
  `create index audit_by_account on audit (account_id, id)`,
  `create index audit_by_time on audit (at)`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
