/**
 * Disks of their own, snapshots, and jobs on hosts. Every instance that is there has a system disk by then; instance.disk_id goes on
 * naming it, and instance.disk_gib is from here on what it takes of its host's own room (0 for one in the shared folder).
 *
 * What makes a double impossible is a unique index: one disk per slot of a machine, one system disk per instance.
 */
import { sql, type Kysely } from "kysely";

const statements = [
  // work: the one thing that is under way (core/disk.ts); generation: of the host, at the last order about this disk.
  // host_id: where the file of a local data disk lies, null while it lies nowhere (a system disk lies where its instance is); made: its file has been seen in a machine.
  `create table disk (
     id text primary key,
     account_id text not null references account,
     zone text not null references zone,
     name text not null,
     usage text not null check (usage in ('SYSTEM_DISK', 'DATA_DISK')),
     disk_type text not null,
     driver text not null check (driver in ('local', 'shared')),
     size_gib integer not null,
     limit_bytes bigint,
     limit_iops integer,
     instance_id text references instance,
     slot integer check (slot between 0 and 20),
     delete_with_instance boolean not null,
     host_id text references host,
     made boolean not null default false,
     work jsonb,
     generation bigint not null default 0,
     due_at timestamptz,
     problem text,
     snapshot_id text,
     tags jsonb not null default '{}',
     created_at timestamptz not null,
     deleted_at timestamptz,
     check (slot is null or instance_id is not null))`,
  `create unique index disk_slot_once on disk (instance_id, slot) where deleted_at is null and slot is not null`,
  `create unique index disk_system_once on disk (instance_id) where deleted_at is null and usage = 'SYSTEM_DISK'`,
  `create index disk_by_instance on disk (instance_id) where deleted_at is null and instance_id is not null`,
  `create index disk_by_account on disk (account_id, created_at) where deleted_at is null`,
  `create index disk_by_host on disk (host_id) where deleted_at is null and host_id is not null`,
  `create index disk_unsettled on disk (zone) where work is not null and deleted_at is null`,

  `create table snapshot (
     id text primary key,
     account_id text not null references account,
     zone text not null references zone,
     name text not null,
     disk_id text not null references disk,
     disk_usage text not null,
     size_gib integer not null,
     driver text not null check (driver in ('local', 'shared')),
     host_id text references host,
     state text not null check (state in ('CREATING', 'NORMAL', 'FAILED')),
     percent integer not null default 0,
     bytes bigint,
     job_id text,
     problem text,
     tags jsonb not null default '{}',
     created_at timestamptz not null,
     deleted_at timestamptz)`,
  `create index snapshot_by_account on snapshot (account_id, created_at) where deleted_at is null`,
  `create index snapshot_by_disk on snapshot (disk_id) where deleted_at is null`,
  `create index snapshot_unsettled on snapshot (zone) where state = 'CREATING' and deleted_at is null`,

  // seen: what the host last said; a job that has ended (ended_at) is told to its host once more, as gone, and then forgotten.
  `create table host_job (
     id text primary key,
     zone text not null references zone,
     host_id text not null references host,
     generation bigint not null,
     subject text not null,
     spec jsonb not null,
     seen jsonb,
     created_at timestamptz not null default clock_timestamp(),
     ended_at timestamptz)`,
  `create index host_job_by_host on host_job (host_id, generation)`,
  `create index host_job_open on host_job (zone) where ended_at is null`,
  `create index host_job_by_subject on host_job (subject) where ended_at is null`,

  `alter table instance add column seen_disks jsonb`,

  `insert into disk (id, account_id, zone, name, usage, disk_type, driver, size_gib, instance_id, delete_with_instance,
       made, created_at, deleted_at)
     select disk_id, account_id, zone, name, 'SYSTEM_DISK', 'LOCAL_BASIC', 'local', disk_gib, id, true,
       launched, created_at, deleted_at from instance`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
