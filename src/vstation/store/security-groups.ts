/**
 * Security groups and their policies. Policies of one direction are written anew as a whole, under the group's row lock and with its
 * version raised, so the order in SQL is always one that somebody asked for.
 */
import { sql } from "kysely";
import { failure } from "../../core/failure-codes.ts";
import { openPolicy, policyDirections, type Policy, type PolicyDirection } from "../../core/security-policy.ts";
import { newId, type AccountId, type InstanceId, type SecurityGroupId } from "../../lib/ids.ts";
import type { PolicySet, SecurityGroupQuery, SecurityGroupUse, SecurityGroupView } from "../cloud/network.ts";
import { insertMany, type Reader, type Tx } from "./database.ts";
import { anyOf, containsAny, listPage, ownedBy, tagColumn, tagConditions, type Slice } from "./listing.ts";
import { tagDelete, tagInsert } from "./tags.ts";

export async function securityGroupList(
  db: Reader,
  accountId: AccountId | "any",
  query: SecurityGroupQuery,
  page: Slice | null,
): Promise<{ total: number; items: SecurityGroupView[] }> {
  return listPage(
    db,
    {
      columns: sql<SecurityGroupView>`g.id, g.account_id as "accountId", g.name, g.description, g.is_default as "isDefault", g.created_at as "createdAt",
        g.updated_at as "updatedAt", ${tagColumn("g")}`,
      from: sql`security_group g`,
      where: [
        ...ownedBy("g", accountId),
        ...anyOf([["g.id", query.ids]]),
        ...containsAny("g.name", query.names),
        ...tagConditions("g", query),
      ],
      order: sql`g.created_at, g.id`,
    },
    page,
  );
}

export interface NewSecurityGroup {
  id: SecurityGroupId;
  accountId: AccountId;
  name: string;
  description: string;
  isDefault: boolean;
  tags: Readonly<Record<string, string>>;
}

export async function securityGroupInsert(tx: Tx, group: NewSecurityGroup): Promise<void> {
  const { id, accountId, name, description, isDefault, tags } = group;
  await tx.db
    .insertInto("security_group")
    .values({ id, account_id: accountId, name, description, is_default: isDefault })
    .execute();
  await tagInsert(tx, [{ accountId, resourceId: id, tags }]);
}

export async function securityGroupDefaultFind(db: Reader, accountId: AccountId): Promise<SecurityGroupId | undefined> {
  const row = await db
    .selectFrom("security_group")
    .select("id")
    .where("account_id", "=", accountId)
    .where("is_default", "=", true)
    .executeTakeFirst();
  return row?.id;
}

/** The group of instances that name none; made when it is needed first, and then it admits everything. */
export async function securityGroupDefault(tx: Tx, accountId: AccountId): Promise<SecurityGroupId> {
  // Two at once wait for each other here, and the second finds the first one's.
  await sql`select id from account where id = ${accountId} for no key update`.execute(tx.db);
  const present = await securityGroupDefaultFind(tx.db, accountId);
  if (present !== undefined) return present;
  const id = newId("securityGroup");
  await securityGroupInsert(tx, {
    id,
    accountId,
    name: "default",
    description: "Admits everything until its policies are changed.",
    isDefault: true,
    tags: {},
  });
  for (const direction of policyDirections) await policiesWrite(tx, id, direction, [openPolicy]);
  return id;
}

export interface LockedGroup {
  id: SecurityGroupId;
  accountId: AccountId;
  isDefault: boolean;
  version: number;
}

/** Locks a group against other changes and against instances that come; throws SecurityGroupNotFound. */
export async function securityGroupLock(
  tx: Tx,
  accountId: AccountId | "any",
  id: SecurityGroupId,
): Promise<LockedGroup> {
  let query = tx.db.selectFrom("security_group").selectAll().where("id", "=", id).forUpdate();
  if (accountId !== "any") query = query.where("account_id", "=", accountId);
  const row = await query.executeTakeFirst();
  if (row === undefined) throw securityGroupNotFound(id);
  return { id: row.id, accountId: row.account_id, isDefault: row.is_default, version: row.version };
}

export function securityGroupNotFound(id: SecurityGroupId): Error {
  return failure("SecurityGroupNotFound", `there is no security group ${id}`, { detail: { securityGroupId: id } });
}

/** Throws SecurityGroupNotFound for the first that is not the account's. */
export async function securityGroupsCheck(
  db: Reader,
  accountId: AccountId | "any",
  ids: readonly SecurityGroupId[],
): Promise<void> {
  if (ids.length === 0) return;
  const { items } = await securityGroupList(db, accountId, { ids: [...ids] }, null);
  const found = new Set(items.map((item) => item.id));
  const missing = ids.find((id) => !found.has(id));
  if (missing !== undefined) throw securityGroupNotFound(missing);
}

export async function securityGroupModify(
  tx: Tx,
  id: SecurityGroupId,
  change: { name?: string; description?: string },
): Promise<void> {
  await tx.db
    .updateTable("security_group")
    .set({ ...change, updated_at: sql<Date>`clock_timestamp()` })
    .where("id", "=", id)
    .execute();
}

/** Foreign keys refuse while an instance or another group's policy uses it. */
export async function securityGroupDelete(tx: Tx, id: SecurityGroupId): Promise<void> {
  await tx.db.deleteFrom("security_group_policy").where("security_group_id", "=", id).execute();
  await tx.db.deleteFrom("security_group").where("id", "=", id).execute();
  await tagDelete(tx, [id]);
}

export async function securityGroupUses(
  db: Reader,
  accountId: AccountId | "any",
  ids: readonly SecurityGroupId[],
): Promise<SecurityGroupUse[]> {
  const { items } = await listPage(
    db,
    {
      columns: sql<SecurityGroupUse>`g.id,
        (select count(*) from instance_security_group i where i.security_group_id = g.id)::int as instances,
        (select count(distinct p.security_group_id) from security_group_policy p
          where p.peer_group_id = g.id and p.security_group_id <> g.id)::int as groups`,
      from: sql`security_group g`,
      where: [...ownedBy("g", accountId), ...anyOf([["g.id", ids]])],
      order: sql`g.id`,
    },
    null,
  );
  return items;
}

export async function policiesRead(db: Reader, id: SecurityGroupId): Promise<PolicySet | undefined> {
  const group = await db.selectFrom("security_group").select("version").where("id", "=", id).executeTakeFirst();
  if (group === undefined) return undefined;
  const rows = await db
    .selectFrom("security_group_policy")
    .selectAll()
    .where("security_group_id", "=", id)
    .orderBy("position")
    .execute();
  const of = (direction: PolicyDirection): PolicySet["ingress"] =>
    rows
      .filter((row) => row.direction === direction)
      .map((row) => ({
        action: row.action,
        protocol: row.protocol,
        ports: row.ports,
        peer: row.peer_group_id === null ? { cidr: row.cidr ?? "0.0.0.0/0" } : { groupId: row.peer_group_id },
        description: row.description,
        modifiedAt: row.modified_at,
      }));
  return { version: group.version, ingress: of("ingress"), egress: of("egress") };
}

/** Replaces the policies of one direction; those that were there before keep their time. */
export async function policiesWrite(
  tx: Tx,
  id: SecurityGroupId,
  direction: PolicyDirection,
  policies: readonly (Policy & { modifiedAt?: Date })[],
): Promise<void> {
  await tx.db
    .deleteFrom("security_group_policy")
    .where("security_group_id", "=", id)
    .where("direction", "=", direction)
    .execute();
  const now = new Date();
  await insertMany(
    tx,
    "security_group_policy",
    policies.map(({ action, protocol, ports, peer, description, modifiedAt = now }, position) => ({
      security_group_id: id,
      direction,
      position,
      action,
      protocol,
      ports,
      cidr: "cidr" in peer ? peer.cidr : null,
      peer_group_id: "groupId" in peer ? peer.groupId : null,
      description,
      modified_at: modifiedAt.toISOString(),
    })),
  );
}

/** The version of a locked group goes up by one. */
export async function versionRaise(tx: Tx, id: SecurityGroupId): Promise<void> {
  await tx.db
    .updateTable("security_group")
    .set({ version: sql<number>`version + 1`, updated_at: sql<Date>`clock_timestamp()` })
    .where("id", "=", id)
    .execute();
}

/** The groups of some instances, in their order. */
export async function groupsOfInstances(
  db: Reader,
  instanceIds: readonly InstanceId[],
): Promise<Map<InstanceId, SecurityGroupId[]>> {
  const groups = new Map<InstanceId, SecurityGroupId[]>(instanceIds.map((id) => [id, []]));
  if (instanceIds.length === 0) return groups;
  const rows = await db
    .selectFrom("instance_security_group")
    .selectAll()
    .where("instance_id", "in", [...instanceIds])
    .orderBy("position")
    .execute();
  for (const row of rows) groups.get(row.instance_id)?.push(row.security_group_id);
  return groups;
}

/** Writes the groups of instances anew. */
export async function groupsOfInstancesWrite(
  tx: Tx,
  groups: ReadonlyMap<InstanceId, readonly SecurityGroupId[]>,
): Promise<void> {
  if (groups.size === 0) return;
  await tx.db
    .deleteFrom("instance_security_group")
    .where("instance_id", "in", [...groups.keys()])
    .execute();
  await groupsOfInstancesInsert(tx, groups);
}

export async function groupsOfInstancesInsert(
  tx: Tx,
  groups: ReadonlyMap<InstanceId, readonly SecurityGroupId[]>,
): Promise<void> {
  await insertMany(
    tx,
    "instance_security_group",
    [...groups].flatMap(([instance, ids]) =>
      ids.map((group, position) => ({ instance_id: instance, security_group_id: group, position })),
    ),
  );
}
