/**
 * Which hosts a change of a network concerns: those with an instance in the VPC, or with one that is in the security group; where it
 * moves, both of its hosts.
 *
 * Whoever changes such a fact locks its row `for update` first; whoever brings an instance to a host holds the rows of its VPC and
 * groups `for key share` ({@link networkHold}). So a host is either counted here or reads the change when it is told of the instance:
 * it never stays with what was before. In the order of locks (store/instances.ts) these rows stand between instances and the zone.
 */
import { sql } from "kysely";
import type { HostId, InstanceId, SecurityGroupId, VpcId } from "../../lib/ids.ts";
import { hostGenerationBump, type Tx } from "./database.ts";
import type { InstanceRow } from "./schema.ts";

export async function networkHold(tx: Tx, vpcs: Iterable<VpcId>, groups: Iterable<SecurityGroupId>): Promise<void> {
  const vpcIds = [...new Set(vpcs)];
  const groupIds = [...new Set(groups)];
  await sql`
    with v as (select id from vpc where id = any(${vpcIds}) order by id for key share),
      g as (select id from security_group where id = any(${groupIds}) order by id for key share)
    select (select count(*) from v), (select count(*) from g)`.execute(tx.db);
}

/** The same for instances that are there already. */
export async function networkHoldOf(tx: Tx, instanceIds: readonly InstanceId[]): Promise<void> {
  const ids = [...instanceIds];
  await sql`
    with v as (
        select id from vpc where id in (select vpc_id from instance where id = any(${ids})) order by id for key share),
      g as (
        select id from security_group where id in (
          select security_group_id from instance_security_group where instance_id = any(${ids}))
        order by id for key share)
    select (select count(*) from v), (select count(*) from g)`.execute(tx.db);
}

/** Tells every host that something of where instances are found, or as what, changed. */
export async function peersBump(tx: Tx, instances: readonly Pick<InstanceRow, "id" | "zone">[]): Promise<void> {
  for (const zone of new Set(instances.map((row) => row.zone))) {
    const ids = instances.filter((row) => row.zone === zone).map((row) => row.id);
    await sql`
      with z as (update zone set peer_generation = peer_generation + 1 where name = ${zone} returning peer_generation)
      update address set peer_generation = z.peer_generation
      from z where instance_id = any(${ids}) and released_at is null`.execute(tx.db);
  }
  tx.wake.peers = true;
}

const hostsOfInstances = sql`
  select id as instance_id, host_id from instance where deleted_at is null and host_id is not null
  union all select m.instance_id, unnest(array[m.source_host, m.target_host])
  from migration m join instance i on i.id = m.instance_id where m.ended_at is null and i.deleted_at is null`;

/** Tells every host with an instance in the VPC that something of it changed. */
export async function vpcHostsBump(tx: Tx, vpcId: VpcId): Promise<void> {
  const { rows } = await sql<{ host_id: HostId }>`
    select distinct p.host_id from instance_subnet s join (${hostsOfInstances}) p on p.instance_id = s.instance_id
    where s.vpc_id = ${vpcId}`.execute(tx.db);
  await hostGenerationBump(
    tx,
    rows.map((row) => row.host_id),
  );
}

/** Tells every host with an instance in the group that its policies changed. */
export async function groupHostsBump(tx: Tx, groupId: SecurityGroupId): Promise<void> {
  const { rows } = await sql<{ host_id: HostId }>`
    select distinct p.host_id from instance_security_group s join (${hostsOfInstances}) p on p.instance_id = s.instance_id
    where s.security_group_id = ${groupId}`.execute(tx.db);
  await hostGenerationBump(
    tx,
    rows.map((row) => row.host_id),
  );
}
