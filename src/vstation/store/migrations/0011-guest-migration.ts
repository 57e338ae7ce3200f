/**
 * Moves of running guests between hosts. Each host has its half, told and seen like a job; a half that is over (`..._over`) is told to its
 * host once more, as gone. Until both are, the move is open: it takes room at both hosts, and the instance has no second one.
 */
import { sql, type Kysely } from "kysely";

const statements = [
  `create table migration (
     id text primary key,
     zone text not null references zone,
     instance_id text not null references instance,
     operation_id text not null references operation,
     source_host text not null references host,
     target_host text not null references host,
     epoch integer not null,
     incarnation integer not null,
     resets integer not null,
     wish text not null default 'go' check (wish in ('go', 'cancel')),
     moved boolean not null default false,
     source_generation bigint not null,
     target_generation bigint not null,
     port integer,
     fate text check (fate in ('arrived', 'dropped')),
     source_over boolean not null default false,
     target_over boolean not null default false,
     seen_source jsonb,
     seen_target jsonb,
     seen_source_at timestamptz,
     deadline timestamptz not null,
     created_at timestamptz not null default clock_timestamp(),
     ended_at timestamptz,
     check (source_host <> target_host),
     check ((ended_at is not null) = (source_over and target_over)))`,
  `create unique index migration_one_open on migration (instance_id) where ended_at is null`,
  `create index migration_open on migration (zone) where ended_at is null`,
  `create index migration_by_source on migration (source_host, source_generation)`,
  `create index migration_by_target on migration (target_host, target_generation)`,
  `create index migration_by_instance on migration (instance_id, created_at)`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
