/**
 * What is asked of the moves of running guests: by an operator for one guest, or by a drain for each guest of a host. A request is there
 * until its guest has moved or it is given up; each try of it is a migration of its own. `migration_id` is that of the present try, and
 * while there is no migration of that id the try waits to begin.
 */
import { sql, type Kysely } from "kysely";

const statements = [
  `create table migration_request (
     id text primary key,
     zone text not null references zone,
     instance_id text not null references instance,
     asked_by text not null check (asked_by in ('operator', 'drain')),
     source_host text not null references host,
     to_host text references host,
     policy text not null check (policy in ('gentle', 'throttle', 'postcopy', 'finish')),
     ceiling_ms integer not null,
     tries integer not null,
     attempt integer not null default 1,
     migration_id text not null unique,
     strikes integer not null default 0,
     not_before timestamptz not null default clock_timestamp(),
     code text,
     message text,
     caller_request text not null,
     created_at timestamptz not null default clock_timestamp(),
     queued_at timestamptz not null default clock_timestamp(),
     ended_at timestamptz,
     moved boolean not null default false)`,
  `create unique index migration_request_one_open on migration_request (instance_id) where ended_at is null`,
  `create index migration_request_open on migration_request (zone) where ended_at is null`,
  `create index migration_request_of_instance on migration_request (instance_id, created_at)`,
  `create index migration_request_of_drain on migration_request (source_host, created_at) where asked_by = 'drain'`,
  `alter table migration
     add column request_id text references migration_request,
     add column attempt integer not null default 1,
     add column last_progress jsonb`,
  `create index migration_by_request on migration (request_id)`,
  `alter table host add column drain_began timestamptz`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
