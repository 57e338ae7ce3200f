/**
 * The networks that a host needs: every VPC of which an instance lies on it, or is on its way between it and another, with all subnets of that VPC (guests reach them through
 * their own host), and the groups that those instances are in. One expression, so that it is read in the same snapshot as the
 * generation that it belongs to; see wanted.ts.
 */
import { sql, type RawBuilder } from "kysely";
import type { WantedSecurityGroup, WantedSubnet, WantedVpc } from "../../api/agent.ts";
import type { HostId } from "../../lib/ids.ts";
import type { PolicyDirection } from "../../core/security-policy.ts";

export interface WantedNetworkRead {
  vpcs: WantedVpc[];
  subnets: WantedSubnet[];
  securityGroups: WantedSecurityGroup[];
}

export const noNetwork: WantedNetworkRead = { vpcs: [], subnets: [], securityGroups: [] };

/** Instances of a VPC find each other by their host name under it. */
const domain = sql`s.zone || '.internal'`;

export function networkExpression(hostId: HostId): RawBuilder<WantedNetworkRead> {
  const here = sql`from instance hi where hi.deleted_at is null and (hi.host_id = ${hostId} or hi.id in (
    select hm.instance_id from migration hm where hm.ended_at is null and ${hostId} in (hm.source_host, hm.target_host)))`;
  const vpcsHere = sql`select hi.vpc_id ${here}`;
  return sql<WantedNetworkRead>`jsonb_build_object(
    'vpcs', (
      select coalesce(jsonb_agg(jsonb_build_object(
          'id', v.id, 'cidrs', jsonb_build_array(v.cidr),
          'domain', (select ${domain} from subnet s where s.vpc_id = v.id limit 1)) order by v.id), '[]')
      from vpc v where v.id in (${vpcsHere})),
    'subnets', (
      select coalesce(jsonb_agg(jsonb_build_object(
          'id', s.id, 'vpcId', s.vpc_id, 'cidr', s.cidr, 'gateway', s.gateway, 'gatewayMac', s.gateway_mac,
          'vni', s.vni, 'mtu', s.mtu, 'dns', s.dns,
          'egress', case when exists (select from route r where r.route_table_id = s.route_table_id)
            then 'host' else 'none' end) order by s.id), '[]')
      from subnet s where s.vpc_id in (${vpcsHere})),
    'securityGroups', (
      select coalesce(jsonb_agg(jsonb_build_object(
          'id', g.id, 'ingress', ${rules("ingress")}, 'egress', ${rules("egress")}) order by g.id), '[]')
      from security_group g where g.id in (
        select m.security_group_id from instance_security_group m where m.instance_id in (select hi.id ${here}))))`;
}

function rules(direction: PolicyDirection): RawBuilder<unknown> {
  return sql`(
    select coalesce(jsonb_agg(jsonb_build_object(
        'action', p.action, 'protocol', p.protocol, 'ports', p.ports,
        'peer', case when p.cidr is null then jsonb_build_object('groupId', p.peer_group_id)
          when position('/' in p.cidr) = 0 then jsonb_build_object('cidr', p.cidr || '/32')
          else jsonb_build_object('cidr', p.cidr) end) order by p.position), '[]')
    from security_group_policy p where p.security_group_id = g.id and p.direction = ${sql.lit(direction)})`;
}

/** A column `security_group_ids`: an instance's groups in their order. */
export function groupsColumn(instance: string): RawBuilder<unknown> {
  return sql`coalesce((select jsonb_agg(m.security_group_id order by m.position) from instance_security_group m
    where m.instance_id = ${sql.ref(instance)}), '[]')`;
}

/** The address that an instance has towards the outside, if any. */
export function elasticColumn(instance: string): RawBuilder<unknown> {
  return sql`(select e.ip from elastic_address e where e.instance_id = ${sql.ref(instance)})`;
}
