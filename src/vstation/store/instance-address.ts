/**
 * From one address to another (core/reconcile.ts says when): the next one is promised, it becomes the instance's own in the
 * transaction that orders its host so, and the former one is let go of when that host has answered. Rows of `address` are the truth of
 * what is taken; `instance_subnet` keeps both subnets from being deleted. Only the instance's own address is told to hosts.
 *
 * Callers hold the instances' locks; in the order of locks (instances.ts) VPCs come next, then the zone, then hosts.
 */
import { sql, type RawBuilder } from "kysely";
import { macOfInstance } from "../../core/addresses.ts";
import type { OtherAddress } from "../../core/wanted.ts";
import type { InstanceId, SubnetId, VpcId } from "../../lib/ids.ts";
import { insertMany, type Tx } from "./database.ts";
import { networkHold } from "./network-hosts.ts";
import type { SubnetRow } from "./schema-network.ts";

export interface HeldAddress {
  is: OtherAddress;
  subnetId: SubnetId;
  vpcId: VpcId;
  ip: string;
}

/** A column of type {@link HeldAddress}, null for nearly every instance. */
export function otherAddressColumn(instance: string): RawBuilder<unknown> {
  return sql`(
    select jsonb_build_object('is', a.held_as, 'subnetId', a.subnet_id, 'vpcId', s.vpc_id, 'ip', a.ip)
    from address a join subnet s on s.id = a.subnet_id
    where a.instance_id = ${sql.ref(instance)} and a.released_at is null and a.held_as <> 'own' limit 1)`;
}

/** The unique index refuses an address that somebody else holds, a foreign key a subnet that was deleted. */
export async function addressPromise(
  tx: Tx,
  peerGeneration: number,
  subnet: Pick<SubnetRow, "id" | "vpc_id" | "zone">,
  promised: ReadonlyMap<InstanceId, string>,
): Promise<void> {
  await insertMany(
    tx,
    "address",
    [...promised].map(([instance_id, ip]) => ({
      subnet_id: subnet.id,
      ip,
      mac: macOfInstance(instance_id),
      zone: subnet.zone,
      instance_id,
      host_id: null,
      vtep: null,
      peer_generation: peerGeneration,
      held_as: "next",
    })),
  );
  await sql`
    insert into instance_subnet (instance_id, subnet_id, vpc_id)
    select id, ${subnet.id}, ${subnet.vpc_id} from unnest(${[...promised.keys()]}::text[]) id
    on conflict (instance_id, subnet_id) do nothing`.execute(tx.db);
}

export async function addressEnter(
  tx: Tx,
  zone: string,
  instances: readonly { id: InstanceId; otherAddress: HeldAddress | null }[],
): Promise<void> {
  if (instances.length === 0) return;
  await networkHold(
    tx,
    instances.flatMap(({ otherAddress }) => otherAddress?.vpcId ?? []),
    [],
  );
  const ids = instances.map(({ id }) => id);
  await sql`
    with z as (update zone set peer_generation = peer_generation + 1 where name = ${zone} returning peer_generation)
    update address set held_as = 'former', host_id = null, vtep = null, peer_generation = z.peer_generation
    from z where instance_id = any(${ids}) and released_at is null and held_as = 'own'`.execute(tx.db);
  await sql`
    update address a set held_as = 'own', host_id = i.host_id, vtep = h.underlay_address, peer_generation = z.peer_generation
    from zone z, instance i left join host h on h.id = i.host_id
    where z.name = ${zone} and i.id = a.instance_id
      and a.instance_id = any(${ids}) and a.released_at is null and a.held_as = 'next'`.execute(tx.db);
  await sql`
    update instance i set subnet_id = a.subnet_id, vpc_id = s.vpc_id, ip = a.ip, mac = a.mac
    from address a join subnet s on s.id = a.subnet_id
    where a.instance_id = i.id and i.id = any(${ids}) and a.released_at is null and a.held_as = 'own'`.execute(tx.db);
  tx.wake.peers = true;
}

/** No host was told of it, or it is told by now that it is nobody's. */
export async function addressLetGo(tx: Tx, instanceIds: readonly InstanceId[]): Promise<void> {
  if (instanceIds.length === 0) return;
  const ids = [...instanceIds];
  await sql`
    update address set released_at = clock_timestamp()
    where instance_id = any(${ids}) and released_at is null and held_as <> 'own'`.execute(tx.db);
  await sql`
    delete from instance_subnet s where s.instance_id = any(${ids}) and not exists (
      select from address a
      where a.instance_id = s.instance_id and a.subnet_id = s.subnet_id and a.released_at is null)`.execute(tx.db);
}
