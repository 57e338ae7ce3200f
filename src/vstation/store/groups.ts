/** Disaster-recover groups. An instance holds its group by a foreign key until it is over. */
import { sql } from "kysely";
import type { AccountId, GroupId, InstanceId } from "../../lib/ids.ts";
import { insertMany, type Reader, type Tx } from "./database.ts";
import type { NewClientToken } from "./instance-insert.ts";
import { anyOf, listPage, ownedBy, type Slice } from "./listing.ts";
import { tagDelete } from "./tags.ts";

export interface GroupRead {
  id: GroupId;
  name: string;
  type: "HOST";
  affinity: number;
  createdAt: Date;
  instanceIds: InstanceId[];
  /** Hosts of the zone that are known; with the affinity they make the group's capacity. */
  hosts: number;
}

export async function groupList(
  db: Reader,
  accountId: AccountId,
  filter: { ids?: readonly GroupId[]; name?: string },
  page: Slice | null,
): Promise<{ total: number; items: GroupRead[] }> {
  return listPage(
    db,
    {
      columns: sql<GroupRead>`g.id, g.name, g.type, g.affinity, g.created_at as "createdAt",
        coalesce((select jsonb_agg(i.id order by i.created_at, i.id) from instance i
          where i.group_id = g.id and i.deleted_at is null), '[]') as "instanceIds",
        (select count(*) from host)::int as hosts`,
      from: sql`disaster_recover_group g`,
      where: [
        ...ownedBy("g", accountId),
        ...anyOf([
          ["g.id", filter.ids],
          ["g.name", filter.name === undefined ? undefined : [filter.name]],
        ]),
      ],
      order: sql`g.created_at desc, g.id`,
    },
    page,
  );
}

export async function groupInsert(
  tx: Tx,
  group: { id: GroupId; accountId: AccountId; name: string; type: GroupRead["type"]; affinity: number },
  token: NewClientToken | null,
): Promise<void> {
  await tx.db
    .insertInto("disaster_recover_group")
    .values({
      id: group.id,
      account_id: group.accountId,
      name: group.name,
      type: group.type,
      affinity: group.affinity,
    })
    .execute();
  if (token === null) return;
  await insertMany(tx, "client_token", [
    {
      account_id: token.accountId,
      action: token.action,
      token: token.token,
      request_hash: token.hash,
      answer: token.answer,
      created_at: new Date().toISOString(),
    },
  ]);
}

/** False when the account has no such group. */
export async function groupUpdate(
  db: Reader,
  accountId: AccountId,
  id: GroupId,
  change: { name?: string; affinity?: number },
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable("disaster_recover_group")
    .set(change)
    .where("account_id", "=", accountId)
    .where("id", "=", id)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Of locked instances. Throws a foreign key violation when the group is gone. */
export async function instancesRegroup(tx: Tx, ids: readonly InstanceId[], groupId: GroupId | null): Promise<void> {
  await tx.db
    .updateTable("instance")
    .set({ group_id: groupId })
    .where("id", "in", [...ids])
    .execute();
  for (const id of ids) tx.wake.event("instance", id);
}

/** Throws a foreign key violation when an instance has joined one meanwhile. */
export async function groupDelete(tx: Tx, accountId: AccountId, ids: readonly GroupId[]): Promise<void> {
  await tx.db
    .deleteFrom("disaster_recover_group")
    .where("account_id", "=", accountId)
    .where("id", "in", [...ids])
    .execute();
  await tagDelete(tx, ids);
}

/** Members allowed on one host; 1 for a group that is not there any more, the strictest. */
export async function groupAffinity(db: Reader, id: GroupId): Promise<number> {
  const row = await db.selectFrom("disaster_recover_group").select("affinity").where("id", "=", id).executeTakeFirst();
  return row?.affinity ?? 1;
}
