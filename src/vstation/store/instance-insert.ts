/**
 * The transaction that accepts requests: instances, their addresses, keys and operations, client tokens, and each host's next
 * generation, for as many requests as were waiting, in a handful of round trips whatever their number.
 */
import { sql } from "kysely";
import { crashPoint } from "../../lib/crash-point.ts";
import {
  newId,
  type AccountId,
  type HostId,
  type InstanceId,
  type KeyId,
  type SecurityGroupId,
} from "../../lib/ids.ts";
import { accountsHold } from "./accounts.ts";
import { hostGenerationBump, insertMany, type Tx } from "./database.ts";
import { elasticAddressInsert } from "./elastic-addresses.ts";
import { diskInsert, type NewDisk } from "./disks.ts";
import { operationInsert, type NewOperation } from "./instances.ts";
import { networkHold, networkHoldOf } from "./network-hosts.ts";
import { quotaTake } from "./quotas.ts";
import type { InstanceRow } from "./schema.ts";
import { groupsOfInstancesInsert } from "./security-groups.ts";
import { tagInsert } from "./tags.ts";
import { zoneFence } from "./zone.ts";
import { toJson } from "./json.ts";

export interface NewInstance {
  row: Omit<
    InstanceRow,
    | "generation"
    | "seen"
    | "seen_epoch"
    | "seen_generation"
    | "seen_at"
    | "seen_disks"
    | "launched"
    | "running_since"
    | "quick_ends"
    | "not_before"
    | "tried_hosts"
    | "failure"
    | "deleted_at"
    | "host_id"
  > & { host_id: HostId };
  keyIds: readonly KeyId[];
  /** At least one. */
  securityGroupIds: readonly SecurityGroupId[];
  /** An address of the pool that goes with it. */
  publicAddress: { pool: string | null; bandwidthMbps: number } | null;
  tags: Readonly<Record<string, string>>;
  /** Its system disk, and those data disks that are made with it. */
  disks: readonly NewDisk[];
  operation: NewOperation;
}

export interface NewClientToken {
  accountId: AccountId;
  action: string;
  token: string;
  hash: string;
  answer: unknown;
}

export interface Acceptance {
  instances: readonly NewInstance[];
  clientTokens: readonly NewClientToken[];
}

/**
 * Commits placed requests under the zone's lease; throws PlacementUnavailable when the epoch is not the lease's any more, and
 * QuotaExceeded when an account has no place left for its data disks.
 */
export async function instanceInsert(
  tx: Tx,
  zone: string,
  leaseEpoch: number,
  accept: Acceptance,
  at: number,
): Promise<void> {
  const { instances, clientTokens } = accept;
  await dataDisksTake(tx, instances);
  await networkHold(
    tx,
    instances.map(({ row }) => row.vpc_id),
    instances.flatMap(({ securityGroupIds }) => securityGroupIds),
  );
  const peerGeneration = await zoneFence(tx, zone, leaseEpoch);
  await accountsHold(
    tx,
    instances.map(({ row }) => row.account_id),
  );
  crashPoint("store.instance-insert.fenced");
  const generations = await hostGenerationBump(
    tx,
    instances.map(({ row }) => row.host_id),
  );
  await insertMany(
    tx,
    "instance",
    instances.map(({ row }) => ({
      ...row,
      generation: generations.get(row.host_id),
      resets: 0,
      seen_epoch: 0,
      seen_generation: 0,
      launched: false,
      quick_ends: 0,
      tried_hosts: [],
    })),
  );
  await diskInsert(
    tx,
    instances.flatMap(({ disks }) => disks),
  );
  await addressInsert(
    tx,
    peerGeneration,
    instances.map(({ row }) => row),
  );
  crashPoint("store.instance-insert.rows");
  await networkInsert(tx, instances);
  await insertMany(
    tx,
    "instance_key",
    instances.flatMap(({ row, keyIds }) =>
      keyIds.map((key, position) => ({ instance_id: row.id, key_id: key, position })),
    ),
  );
  await operationInsert(
    tx,
    instances.map(({ operation }) => operation),
    at,
  );
  await insertMany(
    tx,
    "client_token",
    clientTokens.map(({ accountId, action, token, hash, answer }) => ({
      account_id: accountId,
      action,
      token,
      request_hash: hash,
      answer,
      created_at: new Date(at).toISOString(),
    })),
  );
  for (const { row } of instances) tx.wake.event("instance", row.id);
  if (instances.some(({ disks }) => disks.length > 1)) {
    tx.wake.storage = true;
    tx.wake.capacity = true;
  }
}

/** Other replicas make disks too, so the accounts that get some stay locked until the commit; nobody else's does. */
async function dataDisksTake(tx: Tx, instances: readonly NewInstance[]): Promise<void> {
  const asked = new Map<AccountId, { disks: number; diskGiB: number }>();
  for (const disk of instances.flatMap(({ disks }) => disks)) {
    if (disk.usage !== "DATA_DISK") continue;
    const { disks, diskGiB } = asked.get(disk.account_id) ?? { disks: 0, diskGiB: 0 };
    asked.set(disk.account_id, { disks: disks + 1, diskGiB: diskGiB + disk.size_gib });
  }
  const inOrder = [...asked].toSorted(([a], [b]) => (a < b ? -1 : 1));
  for (const [accountId, amounts] of inOrder) await quotaTake(tx, accountId, amounts);
}

/** By these rows an instance holds its subnet and its groups; foreign keys refuse one that has been deleted meanwhile. */
async function networkInsert(tx: Tx, instances: readonly NewInstance[]): Promise<void> {
  await insertMany(
    tx,
    "instance_subnet",
    instances.map(({ row }) => ({ instance_id: row.id, subnet_id: row.subnet_id, vpc_id: row.vpc_id })),
  );
  await groupsOfInstancesInsert(tx, new Map(instances.map(({ row, securityGroupIds }) => [row.id, securityGroupIds])));
  const outside = instances.filter(({ publicAddress }) => publicAddress !== null);
  await elasticAddressInsert(
    tx,
    outside[0]?.publicAddress?.pool ?? null,
    outside.map(({ row, publicAddress }) => ({
      id: newId("elasticAddress"),
      accountId: row.account_id,
      name: row.name,
      kind: "wan",
      instanceId: row.id,
      bandwidthMbps: publicAddress?.bandwidthMbps ?? 0,
      tags: {},
    })),
  );
  await tagInsert(
    tx,
    instances.map(({ row, tags }) => ({ accountId: row.account_id, resourceId: row.id, tags })),
  );
}

type Placed = Pick<InstanceRow, "id" | "subnet_id" | "ip" | "mac" | "zone"> & { host_id: HostId };

/** Gives addresses to instances; the unique index refuses one that somebody else holds. */
async function addressInsert(tx: Tx, peerGeneration: number, placed: readonly Placed[]): Promise<void> {
  const rows = placed.map(({ id, subnet_id, ip, mac, zone, host_id }) => ({
    instance_id: id,
    subnet_id,
    ip,
    mac,
    zone,
    host_id,
  }));
  await sql`
    insert into address (subnet_id, ip, mac, zone, instance_id, host_id, vtep, peer_generation)
    select v.subnet_id, v.ip, v.mac, v.zone, v.instance_id, v.host_id, h.underlay_address, ${peerGeneration}
    from jsonb_populate_recordset(null::address, ${toJson(rows)}) v join host h on h.id = v.host_id`.execute(tx.db);
}

/** Puts an instance that nothing is left of anywhere onto another host: a new epoch, and its address follows. */
export async function instanceMove(
  tx: Tx,
  zone: string,
  leaseEpoch: number,
  move: { id: InstanceId; hostId: HostId; deadline: number },
): Promise<boolean> {
  const { rows } = await sql<{ id: InstanceId }>`
    select id from instance
    where id = ${move.id} and deleted_at is null and host_id is null and power = 'gone' and gone_for = 'relocate'
    for no key update`.execute(tx.db);
  if (rows.length === 0) return false;
  await networkHoldOf(tx, [move.id]);
  const peerGeneration = await zoneFence(tx, zone, leaseEpoch);
  const generations = await hostGenerationBump(tx, [move.hostId]);
  await sql`
    update instance set host_id = ${move.hostId}, epoch = epoch + 1, generation = ${generations.get(move.hostId)},
      incarnation = incarnation + 1, resets = 0, power = 'running', gone_for = null, stop_how = null,
      running_since = null, not_before = null, due_at = ${new Date(move.deadline)}
    where id = ${move.id}`.execute(tx.db);
  await sql`
    update address a set host_id = ${move.hostId}, vtep = h.underlay_address, peer_generation = ${peerGeneration}
    from host h where h.id = ${move.hostId} and a.instance_id = ${move.id} and a.released_at is null`.execute(tx.db);
  await sql`
    update disk set host_id = ${move.hostId}
    where instance_id = ${move.id} and usage = 'DATA_DISK' and driver = 'local' and deleted_at is null`.execute(tx.db);
  tx.wake.instance(move.id);
  tx.wake.event("instance", move.id);
  return true;
}
