/**
 * Images that tenants own. Those that we build are no rows: their folder says all of them. `account_id` null: an operator brought it
 * for everybody. A deleted one stays as a row until no instance uses it any more; its files go with it (`swept_at`).
 * `step` is set exactly while work is under way; `request` is what the work was asked for, `manifest` what came of it.
 */
import { sql, type Kysely } from "kysely";

const statements = [
  `create table image (
     id text primary key,
     account_id text references account,
     name text not null,
     description text not null default '',
     state text not null check (state in ('CREATING', 'NORMAL', 'CREATEFAILED', 'IMPORTING', 'IMPORTFAILED')),
     source text not null check (source in ('CREATE_IMAGE', 'EXTERNAL_IMPORT')),
     step text,
     progress integer not null default 0,
     failure jsonb,
     request jsonb not null,
     manifest jsonb,
     size_bytes bigint not null default 0,
     created_at timestamptz not null default now(),
     deadline timestamptz,
     deleted_at timestamptz,
     swept_at timestamptz,
     check ((state in ('CREATING', 'IMPORTING')) = (step is not null)),
     check ((state in ('CREATEFAILED', 'IMPORTFAILED')) = (failure is not null)),
     check ((state = 'NORMAL') = (manifest is not null)))`,
  `create unique index image_name_once on image (coalesce(account_id, ''), name) where deleted_at is null`,
  `create index image_by_account on image (account_id, created_at) where deleted_at is null`,
  `create index image_open on image (created_at) where step is not null and deleted_at is null`,
  `create index image_unswept on image (deleted_at) where deleted_at is not null and swept_at is null`,
  `create index instance_by_image on instance (image_id) where deleted_at is null`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
