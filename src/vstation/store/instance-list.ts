/**
 * Reading instances for their owners. The state is derived by src/core/instance-state.ts; {@link stateExpression} is the same
 * rule in SQL, so that filters and pages are made where the rows are. A test compares the two over every input.
 */
import { sql, type RawBuilder } from "kysely";
import type { InstanceState, OperationKind } from "../../core/instance.ts";
import type { AccountId, KeyId, SecurityGroupId } from "../../lib/ids.ts";
import type { InstanceQuery, InstanceView } from "../cloud.ts";
import type { Reader } from "./database.ts";
import { hostSilenceSeconds } from "./instances.ts";
import { anyOf, listPage, ownedBy, tagColumn, tagConditions, type Slice } from "./listing.ts";
import { groupsColumn } from "./network-wanted.ts";
import type { DiskRow, InstanceRow } from "./schema.ts";

const seenIs = sql`case when i.seen_epoch = i.epoch then i.seen ->> 'is' end`;

export const stateExpression = sql<InstanceState>`
  case
    when i.power = 'gone' then
      case i.gone_for when 'terminate' then 'TERMINATING' when 'relocate' then 'PENDING' else 'LAUNCH_FAILED' end
    when o.kind in ('instance.resize', 'instance.renumber') and i.power = 'running' then 'STARTING'
    when o.kind = 'instance.migrate' and i.power = 'running' then 'RUNNING'
    when o.kind is not null and o.kind not in ('instance.resize', 'instance.renumber', 'instance.migrate') then
      case o.kind
        when 'instance.run' then 'PENDING'
        when 'instance.start' then 'STARTING'
        when 'instance.recover' then 'STARTING'
        when 'instance.stop' then 'STOPPING'
        when 'instance.reboot' then 'REBOOTING'
        when 'instance.reinstall' then 'REBOOTING'
        else 'TERMINATING' end
    when i.power = 'stopped' then
      case when ${seenIs} in ('starting', 'running', 'paused', 'stopping', 'failed', 'stranger')
        then 'STOPPING' else 'STOPPED' end
    when ${seenIs} = 'exited' then case i.restart_policy when 'always' then 'STARTING' else 'STOPPED' end
    else 'RUNNING' end`;

export interface InstanceRead {
  row: InstanceRow;
  state: InstanceState;
  openKind: OperationKind | null;
  keyIds: KeyId[];
  securityGroupIds: SecurityGroupId[];
  elastic: InstanceView["elastic"];
  tags: Record<string, string>;
  /** Its system disk first. */
  disks: DiskRow[];
  hostName: string | null;
  hostConnected: boolean;
}

type Raw = InstanceRow & {
  state: InstanceState;
  open_kind: OperationKind | null;
  key_ids: KeyId[];
  security_group_ids: SecurityGroupId[];
  elastic: InstanceView["elastic"];
  tags: Record<string, string>;
  disks: (Omit<DiskRow, "created_at"> & { created_at: string })[];
  host_name: string | null;
  host_connected: boolean;
};

/** Oldest first, so that a page does not move while instances come; ended instances are not listed. */
export async function instanceList(
  db: Reader,
  accountId: AccountId | "any",
  query: InstanceQuery,
  page: Slice,
): Promise<{ total: number; items: InstanceRead[] }> {
  const { total, items } = await listPage(
    db,
    {
      columns: sql<Raw>`i.*, ${stateExpression} as state, o.kind as open_kind, h.name as host_name,
        coalesce(h.session is not null and h.seen_at > now() - make_interval(secs => ${hostSilenceSeconds}), false)
          as host_connected,
        coalesce((select jsonb_agg(ik.key_id order by ik.position) from instance_key ik where ik.instance_id = i.id), '[]')
          as key_ids,
        ${groupsColumn("i.id")} as security_group_ids, (
          select jsonb_build_object('ip', e.ip, 'kind', e.kind, 'bandwidthMbps', e.bandwidth_mbps)
          from elastic_address e where e.instance_id = i.id) as elastic,
        ${tagColumn("i")},
        (select coalesce(jsonb_agg(d order by d.slot nulls first), '[]') from disk d
          where d.instance_id = i.id and d.deleted_at is null) as disks`,
      from: sql`instance i
        left join operation o on o.instance_id = i.id and o.state in ('PENDING', 'RUNNING')
        left join host h on h.id = i.host_id`,
      where: conditionsOf(accountId, query),
      order: sql`i.created_at, i.id`,
    },
    page,
  );
  return {
    total,
    items: items.map(
      ({ state, open_kind, key_ids, disks, security_group_ids, elastic, tags, host_name, host_connected, ...row }) => ({
        row,
        state,
        openKind: open_kind,
        keyIds: key_ids,
        disks: disks.map((disk) => ({ ...disk, created_at: new Date(disk.created_at) })),
        securityGroupIds: security_group_ids,
        elastic,
        tags,
        hostName: host_name,
        hostConnected: host_connected,
      }),
    ),
  };
}

const listFilters = [
  ["ids", "id"],
  ["names", "name"],
  ["zones", "zone"],
  ["instanceTypes", "instance_type"],
  ["imageIds", "image_id"],
  ["hostIds", "host_id"],
  ["uuids", "uuid"],
  ["ips", "ip"],
  ["vpcIds", "vpc_id"],
  ["subnetIds", "subnet_id"],
  ["groupIds", "group_id"],
] as const satisfies readonly (readonly [keyof InstanceQuery, keyof InstanceRow])[];

function conditionsOf(accountId: AccountId | "any", query: InstanceQuery): RawBuilder<unknown>[] {
  const conditions: RawBuilder<unknown>[] = [
    sql`i.deleted_at is null`,
    ...ownedBy("i", accountId),
    ...anyOf(listFilters.map(([key, column]) => [`i.${column}`, query[key]])),
    ...tagConditions("i", query),
  ];
  if (query.states !== undefined) conditions.push(sql`${stateExpression} = any(${[...query.states]})`);
  if (query.tagValues !== undefined) {
    conditions.push(sql`exists (
      select from tag t where t.resource_id = i.id and t.value = any(${[...query.tagValues]}))`);
  }
  if (query.securityGroupIds !== undefined) {
    conditions.push(sql`exists (select from instance_security_group m
      where m.instance_id = i.id and m.security_group_id = any(${[...query.securityGroupIds]}))`);
  }
  if (query.elasticIps !== undefined) {
    conditions.push(sql`exists (select from elastic_address e
      where e.instance_id = i.id and e.ip = any(${[...query.elasticIps]}))`);
  }
  if (query.createdFrom !== undefined) conditions.push(sql`i.created_at >= ${query.createdFrom}`);
  if (query.createdTo !== undefined) conditions.push(sql`i.created_at <= ${query.createdTo}`);
  return conditions;
}
