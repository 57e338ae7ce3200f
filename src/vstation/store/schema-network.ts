/** The tables of networks and tags as Kysely types; their columns' meaning stands in migrations/0004-network.ts. */
import type { ColumnType, Generated, Selectable } from "kysely";
import type { PortRange, PolicyAction, PolicyDirection, PolicyProtocol } from "../../core/security-policy.ts";
import type {
  AccountId,
  ElasticAddressId,
  InstanceId,
  NatGatewayId,
  RouteTableId,
  SecurityGroupId,
  SubnetId,
  VpcId,
} from "../../lib/ids.ts";

type Json<T> = ColumnType<T, T, T>;

export interface VpcTable {
  id: VpcId;
  account_id: AccountId;
  name: string;
  cidr: string;
  is_default: boolean;
  created_at: Generated<Date>;
}

export interface RouteTableTable {
  id: RouteTableId;
  account_id: AccountId;
  vpc_id: VpcId;
  name: string;
  main: boolean;
  created_at: Generated<Date>;
}

export interface RouteRow {
  id: Generated<number>;
  item_id: string;
  route_table_id: RouteTableId;
  destination: string;
  nat_gateway_id: NatGatewayId;
  description: string;
  created_at: Generated<Date>;
}

export interface SubnetTable {
  id: SubnetId;
  account_id: AccountId;
  vpc_id: VpcId;
  zone: string;
  name: string;
  cidr: string;
  gateway: string;
  gateway_mac: string;
  vni: number;
  mtu: number;
  dns: Json<string[]>;
  /** Addresses at the start of the range that no instance gets. */
  reserved: number;
  route_table_id: RouteTableId;
  is_default: boolean;
  created_at: Generated<Date>;
}

export interface InstanceSubnetTable {
  instance_id: InstanceId;
  subnet_id: SubnetId;
  vpc_id: VpcId;
}

export interface SecurityGroupTable {
  id: SecurityGroupId;
  account_id: AccountId;
  name: string;
  description: string;
  is_default: boolean;
  version: Generated<number>;
  created_at: Generated<Date>;
  updated_at: Generated<Date>;
}

export interface SecurityGroupPolicyTable {
  security_group_id: SecurityGroupId;
  direction: PolicyDirection;
  position: number;
  action: PolicyAction;
  protocol: PolicyProtocol;
  ports: Json<PortRange[] | null>;
  cidr: string | null;
  peer_group_id: SecurityGroupId | null;
  description: string;
  modified_at: ColumnType<Date, Date | string, Date | string>;
}

export interface InstanceSecurityGroupTable {
  instance_id: InstanceId;
  security_group_id: SecurityGroupId;
  position: number;
}

export interface NatGatewayTable {
  id: NatGatewayId;
  account_id: AccountId;
  vpc_id: VpcId;
  zone: string;
  name: string;
  created_at: Generated<Date>;
}

export interface ElasticAddressTable {
  id: ElasticAddressId;
  account_id: AccountId;
  ip: string;
  name: string;
  kind: "eip" | "wan";
  instance_id: InstanceId | null;
  bandwidth_mbps: number;
  created_at: Generated<Date>;
}

export interface TagTable {
  account_id: AccountId;
  resource_id: string;
  key: string;
  value: string;
  created_at: Generated<Date>;
}

export interface NetworkTables {
  vpc: VpcTable;
  route_table: RouteTableTable;
  route: RouteRow;
  subnet: SubnetTable;
  instance_subnet: InstanceSubnetTable;
  security_group: SecurityGroupTable;
  security_group_policy: SecurityGroupPolicyTable;
  instance_security_group: InstanceSecurityGroupTable;
  nat_gateway: NatGatewayTable;
  elastic_address: ElasticAddressTable;
  tag: TagTable;
}

export type SubnetRow = Selectable<SubnetTable>;
