/**
 * The first tables. What makes a double impossible is a unique index here, not a check in code:
 * one live holder per address and per MAC, one open operation per instance, one live instance per id, one answer per client token.
 */
import { sql, type Kysely } from "kysely";

const statements = [
  `create table account (
     id text primary key,
     name text not null unique,
     instance_quota integer not null,
     created_at timestamptz not null default now())`,

  `create table access_key (
     secret_id text primary key,
     secret_key text not null,
     account_id text not null references account,
     created_at timestamptz not null default now())`,

  `create table operator_token (
     name text primary key,
     token text not null,
     created_at timestamptz not null default now())`,

  // peer_generation counts committed changes of where addresses live. The lease: who places here, and its fencing number.
  `create table zone (
     name text primary key,
     peer_generation bigint not null default 0,
     lease_holder text,
     lease_epoch bigint not null default 0,
     lease_expires_at timestamptz)`,

  `create table host (
     id text primary key,
     zone text not null references zone,
     name text not null,
     certificate_serial text not null,
     joined_at timestamptz not null default now(),
     wanted_generation bigint not null default 0,
     session text,
     replica text,
     boot_id text,
     underlay_address text,
     inventory jsonb,
     readiness jsonb,
     overcommit_cpu double precision,
     overcommit_memory double precision,
     seen_at timestamptz,
     unique (zone, name))`,

  `create table join_token (
     hash text primary key,
     name text not null,
     expires_at timestamptz not null,
     created_at timestamptz not null default now(),
     used_at timestamptz,
     used_by_key text,
     host_id text references host)`,

  `create table key_pair (
     id text primary key,
     account_id text not null references account,
     name text not null,
     public_key text not null,
     created_at timestamptz not null default now(),
     unique (account_id, name))`,

  `create table disaster_recover_group (
     id text primary key,
     account_id text not null references account,
     name text not null,
     type text not null,
     affinity integer not null,
     created_at timestamptz not null default now())`,

  `create table instance (
     id text primary key,
     account_id text not null references account,
     uuid text not null unique,
     zone text not null references zone,
     name text not null,
     hostname text not null,
     instance_type text not null,
     vcpus integer not null,
     memory_mib integer not null,
     image_id text not null,
     disk_id text not null unique,
     disk_gib integer not null,
     subnet_id text not null,
     vpc_id text not null,
     ip text not null,
     mac text not null,
     group_id text references disaster_recover_group,
     user_data text,
     public_keys jsonb not null,
     restart_policy text not null,
     termination_protection boolean not null,
     tags jsonb not null,
     created_at timestamptz not null,
     deleted_at timestamptz,

     host_id text references host,
     epoch integer not null,
     generation bigint not null,
     incarnation integer not null,
     resets integer not null default 0,
     power text not null check (power in ('running', 'stopped', 'gone')),
     stop_how text check ((power = 'stopped') = (stop_how is not null)),
     gone_for text check ((power = 'gone') = (gone_for is not null)),

     seen jsonb,
     seen_epoch integer not null default 0,
     seen_generation bigint not null default 0,
     seen_at timestamptz,

     launched boolean not null default false,
     running_since timestamptz,
     quick_ends integer not null default 0,
     not_before timestamptz,
     tried_hosts jsonb not null default '[]',
     failure jsonb,
     due_at timestamptz)`,

  `create index instance_by_account on instance (account_id, created_at) where deleted_at is null`,
  `create index instance_by_host on instance (host_id, generation) where deleted_at is null`,
  `create index instance_by_group on instance (group_id) where deleted_at is null and group_id is not null`,
  `create index instance_due on instance (due_at) where deleted_at is null and due_at is not null`,

  `create table instance_key (
     instance_id text not null references instance,
     key_id text not null references key_pair,
     position integer not null,
     primary key (instance_id, key_id))`,
  `create index instance_key_by_key on instance_key (key_id)`,

  `create table address (
     id bigserial primary key,
     subnet_id text not null,
     ip text not null,
     mac text not null,
     zone text not null references zone,
     instance_id text not null references instance,
     host_id text references host,
     vtep text,
     peer_generation bigint not null,
     created_at timestamptz not null default now(),
     released_at timestamptz)`,
  `create unique index address_once on address (subnet_id, ip) where released_at is null`,
  `create unique index address_mac_once on address (subnet_id, mac) where released_at is null`,
  `create index address_by_instance on address (instance_id) where released_at is null`,
  `create index address_by_host on address (host_id) where released_at is null`,
  `create index address_changed on address (zone, peer_generation)`,

  `create table operation (
     id text primary key,
     kind text not null,
     instance_id text not null references instance,
     account_id text not null,
     request_id text not null,
     state text not null check (state in ('PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED')),
     how text,
     deadline timestamptz not null,
     error_code text,
     error_message text,
     created_at timestamptz not null default clock_timestamp(),
     ended_at timestamptz,
     check ((state = 'FAILED') = (error_code is not null)),
     check ((state in ('SUCCEEDED', 'FAILED')) = (ended_at is not null)))`,
  `create unique index operation_open_once on operation (instance_id) where state in ('PENDING', 'RUNNING')`,
  `create index operation_by_instance on operation (instance_id, created_at desc)`,
  `create index operation_by_account on operation (account_id, created_at desc)`,

  `create table operation_step (
     id bigserial primary key,
     operation_id text not null references operation,
     at timestamptz not null,
     name text not null,
     note text)`,
  `create index operation_step_by_operation on operation_step (operation_id, id)`,

  `create table client_token (
     account_id text not null references account,
     action text not null,
     token text not null,
     request_hash text not null,
     answer jsonb not null,
     created_at timestamptz not null default now(),
     primary key (account_id, action, token))`,

  `create table event (
     id bigserial primary key,
     at timestamptz not null default clock_timestamp(),
     subject text not null,
     subject_id text not null)`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
