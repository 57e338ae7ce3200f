/**
 * Addresses towards the outside. The table is the truth of what is taken: whoever allocates chooses a free one under the zone's
 * advisory lock, and the unique index has the last word.
 */
import { sql } from "kysely";
import { numberToIp, usableRange } from "../../core/addresses.ts";
import { failure } from "../../core/failure-codes.ts";
import type { AccountId, ElasticAddressId, InstanceId } from "../../lib/ids.ts";
import type { ElasticAddressQuery, ElasticAddressView } from "../cloud/network.ts";
import type { Reader, Tx } from "./database.ts";
import { anyOf, containsAny, listPage, ownedBy, tagColumn, tagConditions, type Slice } from "./listing.ts";
import { tagDelete, tagInsert } from "./tags.ts";

export async function elasticAddressList(
  db: Reader,
  accountId: AccountId | "any",
  query: ElasticAddressQuery,
  page: Slice | null,
): Promise<{ total: number; items: ElasticAddressView[] }> {
  return listPage(
    db,
    {
      columns: sql<ElasticAddressView>`e.id, e.account_id as "accountId", e.name, e.ip, e.kind, e.instance_id as "instanceId", i.ip as "privateIp",
        e.bandwidth_mbps as "bandwidthMbps", e.created_at as "createdAt", ${tagColumn("e")}`,
      from: sql`elastic_address e left join instance i on i.id = e.instance_id`,
      where: [
        ...ownedBy("e", accountId),
        ...anyOf([
          ["e.id", query.ids],
          ["e.ip", query.ips],
          ["e.instance_id", query.instanceIds],
          ["i.ip", query.privateIps],
          ["e.kind", query.kinds],
        ]),
        ...containsAny("e.name", query.names),
        ...(query.bound === undefined ? [] : [sql`(e.instance_id is not null) = ${query.bound}`]),
        ...tagConditions("e", query),
      ],
      order: sql`e.created_at, e.id`,
    },
    page,
  );
}

export interface NewElasticAddress {
  id: ElasticAddressId;
  accountId: AccountId;
  name: string;
  kind: "eip" | "wan";
  instanceId: InstanceId | null;
  bandwidthMbps: number;
  tags: Readonly<Record<string, string>>;
}

const lockKey = "vstation elastic addresses";

/** Gives each the lowest free address of the pool. Allocations wait for each other, so that two never choose the same. */
export async function elasticAddressInsert(
  tx: Tx,
  pool: string | null,
  wanted: readonly NewElasticAddress[],
): Promise<void> {
  if (wanted.length === 0) return;
  if (pool === null) throw exhausted(0);
  await sql`select pg_advisory_xact_lock(hashtext(${lockKey}))`.execute(tx.db);
  const taken = new Set((await tx.db.selectFrom("elastic_address").select("ip").execute()).map((row) => row.ip));
  const { first, last } = usableRange(pool, 1);
  const free: string[] = [];
  for (let value = first; value <= last && free.length < wanted.length; value++) {
    const ip = numberToIp(value);
    if (!taken.has(ip)) free.push(ip);
  }
  for (const [index, { id, accountId, name, kind, instanceId, bandwidthMbps }] of wanted.entries()) {
    const ip = free[index];
    if (ip === undefined) throw exhausted(free.length);
    await tx.db
      .insertInto("elastic_address")
      .values({
        id,
        account_id: accountId,
        ip,
        name,
        kind,
        instance_id: instanceId,
        bandwidth_mbps: bandwidthMbps,
      })
      .execute();
  }
  await tagInsert(
    tx,
    wanted.map(({ id, accountId, tags }) => ({ accountId, resourceId: id, tags })),
  );
}

function exhausted(available: number): Error {
  return failure("PublicAddressesExhausted", `the zone has ${available} addresses towards the outside left`, {
    detail: { available },
  });
}

export interface LockedElasticAddress {
  id: ElasticAddressId;
  accountId: AccountId;
  kind: "eip" | "wan";
  instanceId: InstanceId | null;
}

export async function elasticAddressLock(
  tx: Tx,
  accountId: AccountId | "any",
  ids: readonly ElasticAddressId[],
): Promise<LockedElasticAddress[]> {
  let query = tx.db
    .selectFrom("elastic_address")
    .selectAll()
    .where("id", "in", [...ids])
    .orderBy("id")
    .forUpdate();
  if (accountId !== "any") query = query.where("account_id", "=", accountId);
  const rows = await query.execute();
  const locked = rows.map((row) => ({
    id: row.id,
    accountId: row.account_id,
    kind: row.kind,
    instanceId: row.instance_id,
  }));
  const missing = ids.find((id) => !locked.some((one) => one.id === id));
  if (missing !== undefined) {
    throw failure("ElasticAddressNotFound", `there is no elastic address ${missing}`, {
      detail: { elasticAddressId: missing },
    });
  }
  return locked;
}

export async function elasticAddressBind(tx: Tx, id: ElasticAddressId, instanceId: InstanceId | null): Promise<void> {
  await tx.db.updateTable("elastic_address").set({ instance_id: instanceId }).where("id", "=", id).execute();
}

export async function elasticAddressRename(tx: Tx, id: ElasticAddressId, name: string): Promise<void> {
  await tx.db.updateTable("elastic_address").set({ name }).where("id", "=", id).execute();
}

export async function elasticAddressSetBandwidth(
  tx: Tx,
  ids: readonly ElasticAddressId[],
  mbps: number,
): Promise<void> {
  await tx.db
    .updateTable("elastic_address")
    .set({ bandwidth_mbps: mbps })
    .where("id", "in", [...ids])
    .execute();
}

export async function elasticAddressDelete(tx: Tx, ids: readonly ElasticAddressId[]): Promise<void> {
  await tx.db
    .deleteFrom("elastic_address")
    .where("id", "in", [...ids])
    .execute();
  await tagDelete(tx, ids);
}

/** Instances are over: what came with them goes, what belongs to the account stays and is free again. */
export async function elasticAddressLeave(tx: Tx, instanceIds: readonly InstanceId[]): Promise<void> {
  const gone = await tx.db
    .deleteFrom("elastic_address")
    .where("instance_id", "in", [...instanceIds])
    .where("kind", "=", "wan")
    .returning("id")
    .execute();
  await tx.db
    .updateTable("elastic_address")
    .set({ instance_id: null })
    .where("instance_id", "in", [...instanceIds])
    .execute();
  await tagDelete(
    tx,
    gone.map((row) => row.id),
  );
}
