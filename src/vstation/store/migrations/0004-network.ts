/**
 * VPCs, subnets, route tables, security groups, elastic addresses, NAT gateways, and tags of anything.
 *
 * What must hold is an index or a reference here: one default VPC per account, one network id per subnet, one holder per elastic
 * address; nothing is deleted that something else uses. Who uses a subnet or a group holds it by a row of its own
 * (`instance_subnet`, `instance_security_group`), which goes when the instance ends, because ended instances stay as history.
 * That subnets of one VPC do not overlap is decided under the VPC's row lock.
 *
 * Tags move from the instance's column into rows. The column stays for the previous release and is empty from here on.
 */
import { sql, type Kysely } from "kysely";

const statements = [
  `create table vpc (
     id text primary key,
     account_id text not null references account,
     name text not null,
     cidr text not null,
     is_default boolean not null,
     created_at timestamptz not null default clock_timestamp())`,
  `create unique index vpc_default_once on vpc (account_id) where is_default`,
  `create index vpc_by_account on vpc (account_id, created_at)`,

  `create table route_table (
     id text primary key,
     account_id text not null references account,
     vpc_id text not null references vpc,
     name text not null,
     main boolean not null,
     created_at timestamptz not null default clock_timestamp())`,
  `create unique index route_table_main_once on route_table (vpc_id) where main`,
  `create index route_table_by_vpc on route_table (vpc_id)`,

  // Below it are the network ids that configurations name for subnets of their own.
  `create sequence subnet_vni minvalue 65536 maxvalue 16777215 cycle`,

  `create table subnet (
     id text primary key,
     account_id text not null references account,
     vpc_id text not null references vpc,
     zone text not null references zone,
     name text not null,
     cidr text not null,
     gateway text not null,
     gateway_mac text not null,
     vni integer not null unique,
     mtu integer not null,
     dns jsonb not null,
     reserved integer not null,
     route_table_id text not null references route_table,
     is_default boolean not null,
     created_at timestamptz not null default clock_timestamp())`,
  `create unique index subnet_default_once on subnet (account_id, zone) where is_default`,
  `create index subnet_by_vpc on subnet (vpc_id)`,
  `create index subnet_by_route_table on subnet (route_table_id)`,

  `create table instance_subnet (
     instance_id text primary key references instance,
     subnet_id text not null references subnet,
     vpc_id text not null references vpc)`,
  `create index instance_subnet_by_subnet on instance_subnet (subnet_id)`,
  `create index instance_subnet_by_vpc on instance_subnet (vpc_id)`,

  // A version goes up with each change of the policies, so that a client can tell that nobody else changed them meanwhile.
  `create table security_group (
     id text primary key,
     account_id text not null references account,
     name text not null,
     description text not null,
     is_default boolean not null,
     version bigint not null default 0,
     created_at timestamptz not null default clock_timestamp(),
     updated_at timestamptz not null default clock_timestamp())`,
  `create unique index security_group_default_once on security_group (account_id) where is_default`,
  `create index security_group_by_account on security_group (account_id, created_at)`,

  `create table security_group_policy (
     security_group_id text not null references security_group,
     direction text not null check (direction in ('ingress', 'egress')),
     position integer not null,
     action text not null check (action in ('accept', 'drop')),
     protocol text not null,
     ports jsonb,
     cidr text,
     peer_group_id text references security_group,
     description text not null,
     modified_at timestamptz not null,
     primary key (security_group_id, direction, position),
     check ((cidr is null) <> (peer_group_id is null)))`,
  `create index security_group_policy_by_peer on security_group_policy (peer_group_id) where peer_group_id is not null`,

  `create table instance_security_group (
     instance_id text not null references instance,
     security_group_id text not null references security_group,
     position integer not null,
     primary key (instance_id, security_group_id))`,
  `create index instance_security_group_by_group on instance_security_group (security_group_id)`,

  `create table nat_gateway (
     id text primary key,
     account_id text not null references account,
     vpc_id text not null references vpc,
     zone text not null references zone,
     name text not null,
     created_at timestamptz not null default clock_timestamp())`,
  `create index nat_gateway_by_vpc on nat_gateway (vpc_id)`,

  `create table route (
     id bigserial primary key,
     item_id text not null unique,
     route_table_id text not null references route_table,
     destination text not null,
     nat_gateway_id text not null references nat_gateway,
     description text not null,
     created_at timestamptz not null default clock_timestamp(),
     unique (route_table_id, destination))`,

  // kind: "eip" belongs to the account until it is released; "wan" came with its instance and goes with it.
  `create table elastic_address (
     id text primary key,
     account_id text not null references account,
     ip text not null unique,
     name text not null,
     kind text not null check (kind in ('eip', 'wan')),
     instance_id text unique references instance,
     bandwidth_mbps integer not null,
     created_at timestamptz not null default clock_timestamp(),
     check (kind = 'eip' or instance_id is not null))`,
  `create index elastic_address_by_account on elastic_address (account_id, created_at)`,

  `create table tag (
     account_id text not null references account,
     resource_id text not null,
     key text not null,
     value text not null,
     created_at timestamptz not null default clock_timestamp(),
     primary key (resource_id, key))`,
  `create index tag_by_key on tag (account_id, key, value)`,
  `insert into tag (account_id, resource_id, key, value)
     select i.account_id, i.id, t.key, t.value from instance i, jsonb_each_text(i.tags) t where i.deleted_at is null`,
  `alter table instance alter column tags set default '{}'`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
