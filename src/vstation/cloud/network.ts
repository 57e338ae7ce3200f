/** The use cases of networks; see cloud.ts for what is common to all. */
import type { Policy, PolicyDirection } from "../../core/security-policy.ts";
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
import type { AnyCaller, Caller, Listed, Page } from "../cloud.ts";

/** Tags narrow a list as everywhere: every condition must hold, inside one list any value does. */
export interface TagQuery {
  tags?: Record<string, string[]>;
  tagKeys?: string[];
}

export interface VpcView {
  id: VpcId;
  accountId: AccountId;
  name: string;
  cidr: string;
  isDefault: boolean;
  createdAt: Date;
  tags: Record<string, string>;
}

export interface VpcQuery extends TagQuery {
  ids?: VpcId[];
  /** Any part of the name. */
  names?: string[];
  cidrs?: string[];
  isDefault?: boolean;
}

export interface Vpcs {
  create(caller: Caller, request: { name: string; cidr: string; tags: Record<string, string> }): Promise<VpcView>;
  list(caller: AnyCaller, query: VpcQuery, page: Page): Promise<Listed<VpcView>>;
  modify(caller: AnyCaller, id: VpcId, change: { name?: string }): Promise<void>;
  /** Refused while it has subnets or NAT gateways, and for the default one. */
  delete(caller: AnyCaller, id: VpcId): Promise<void>;
}

export interface SubnetView {
  id: SubnetId;
  accountId: AccountId;
  vpcId: VpcId;
  name: string;
  zone: string;
  cidr: string;
  isDefault: boolean;
  routeTableId: RouteTableId;
  createdAt: Date;
  /** Addresses that instances may have, and how many of them are free. */
  addresses: { total: number; free: number };
  tags: Record<string, string>;
}

export interface SubnetQuery extends TagQuery {
  ids?: SubnetId[];
  vpcIds?: string[];
  names?: string[];
  cidrs?: string[];
  zones?: string[];
  isDefault?: boolean;
}

export interface UsedAddress {
  vpcId: VpcId;
  subnetId: SubnetId;
  ip: string;
  instanceId: InstanceId;
}

export interface Subnets {
  create(
    caller: Caller,
    request: { vpcId: VpcId; name: string; cidr: string; zone: string; tags: Record<string, string> },
  ): Promise<SubnetView>;
  list(caller: AnyCaller, query: SubnetQuery, page: Page): Promise<Listed<SubnetView>>;
  modify(caller: AnyCaller, id: SubnetId, change: { name?: string }): Promise<void>;
  /** Refused while an instance has an address of it. */
  delete(caller: AnyCaller, id: SubnetId): Promise<void>;
  usedAddresses(
    caller: AnyCaller,
    query: { vpcId: VpcId; subnetId?: SubnetId; ips?: string[]; instanceIds?: string[] },
    page: Page,
  ): Promise<Listed<UsedAddress>>;
}

export interface RouteView {
  /** Counts up over all routes; clients of old name routes by it. */
  id: number;
  itemId: string;
  destination: string;
  natGatewayId: NatGatewayId;
  description: string;
  createdAt: Date;
}

export interface RouteTableView {
  id: RouteTableId;
  accountId: AccountId;
  vpcId: VpcId;
  name: string;
  /** The one that new subnets of the VPC get. */
  main: boolean;
  createdAt: Date;
  subnetIds: SubnetId[];
  routes: RouteView[];
  tags: Record<string, string>;
}

export interface RouteTableQuery extends TagQuery {
  ids?: RouteTableId[];
  vpcIds?: string[];
  names?: string[];
  main?: boolean;
}

/** A way out of the VPC: everything that is not inside goes through a NAT gateway. */
export interface NewRoute {
  destination: string;
  natGatewayId: NatGatewayId;
  description: string;
}

export interface RouteTables {
  create(
    caller: Caller,
    request: { vpcId: VpcId; name: string; tags: Record<string, string> },
  ): Promise<RouteTableView>;
  list(caller: AnyCaller, query: RouteTableQuery, page: Page): Promise<Listed<RouteTableView>>;
  rename(caller: AnyCaller, id: RouteTableId, name: string): Promise<void>;
  /** Refused for a main one, and while a subnet has it. */
  delete(caller: AnyCaller, id: RouteTableId): Promise<void>;
  associate(caller: AnyCaller, subnetId: SubnetId, id: RouteTableId): Promise<void>;
  addRoutes(caller: AnyCaller, id: RouteTableId, routes: readonly NewRoute[]): Promise<RouteTableView>;
  removeRoutes(
    caller: AnyCaller,
    id: RouteTableId,
    routes: readonly ({ id: number } | { itemId: string })[],
  ): Promise<RouteTableView>;
}

export interface NatGatewayView {
  id: NatGatewayId;
  accountId: AccountId;
  vpcId: VpcId;
  name: string;
  zone: string;
  createdAt: Date;
  tags: Record<string, string>;
}

export interface NatGatewayQuery extends TagQuery {
  ids?: NatGatewayId[];
  vpcIds?: string[];
  names?: string[];
}

export interface NatGateways {
  create(
    caller: Caller,
    request: { vpcId: VpcId; name: string; zone: string; tags: Record<string, string> },
  ): Promise<NatGatewayView>;
  list(caller: AnyCaller, query: NatGatewayQuery, page: Page): Promise<Listed<NatGatewayView>>;
  /** Refused while a route leads to it. */
  delete(caller: AnyCaller, id: NatGatewayId): Promise<void>;
}

export interface SecurityGroupView {
  id: SecurityGroupId;
  accountId: AccountId;
  name: string;
  description: string;
  isDefault: boolean;
  createdAt: Date;
  updatedAt: Date;
  tags: Record<string, string>;
}

export interface SecurityGroupQuery extends TagQuery {
  ids?: SecurityGroupId[];
  names?: string[];
}

export interface SecurityGroupUse {
  id: SecurityGroupId;
  instances: number;
  /** Groups whose policies name it. */
  groups: number;
}

export interface PolicySet {
  version: number;
  ingress: (Policy & { modifiedAt: Date })[];
  egress: (Policy & { modifiedAt: Date })[];
}

/** `version`: the one that the change was made for; null = whatever it is now. */
export interface PolicyAddition {
  direction: PolicyDirection;
  policies: Policy[];
  /** In front of the policy that is there now; null = last. */
  position: number | null;
  version: number | null;
}
export interface PolicyRemoval {
  direction: PolicyDirection;
  which: { positions: number[] } | { policies: Policy[] };
  version: number | null;
}

export interface SecurityGroups {
  create(
    caller: Caller,
    request: { name: string; description: string; tags: Record<string, string> },
  ): Promise<SecurityGroupView>;
  list(caller: AnyCaller, query: SecurityGroupQuery, page: Page): Promise<Listed<SecurityGroupView>>;
  modify(caller: AnyCaller, id: SecurityGroupId, change: { name?: string; description?: string }): Promise<void>;
  /** Refused while an instance or another group's policy uses it, and for the default one. */
  delete(caller: AnyCaller, id: SecurityGroupId): Promise<void>;
  uses(caller: AnyCaller, ids: SecurityGroupId[]): Promise<SecurityGroupUse[]>;
  policies(caller: AnyCaller, id: SecurityGroupId): Promise<PolicySet>;
  addPolicies(caller: AnyCaller, id: SecurityGroupId, addition: PolicyAddition): Promise<void>;
  replacePolicies(
    caller: AnyCaller,
    id: SecurityGroupId,
    set: { ingress: Policy[]; egress: Policy[]; version: number | null },
  ): Promise<void>;
  removePolicies(caller: AnyCaller, id: SecurityGroupId, removal: PolicyRemoval): Promise<void>;
  /** Gives instances exactly these groups, in this order; adds some behind those they have; takes some away, never the last. */
  setGroups(caller: AnyCaller, instanceIds: InstanceId[], ids: SecurityGroupId[]): Promise<void>;
  attach(caller: AnyCaller, instanceIds: InstanceId[], ids: SecurityGroupId[]): Promise<void>;
  detach(caller: AnyCaller, instanceIds: InstanceId[], ids: SecurityGroupId[]): Promise<void>;
}

export interface ElasticAddressView {
  id: ElasticAddressId;
  accountId: AccountId;
  name: string;
  ip: string;
  /** "eip": the account's until released; "wan": came with its instance and goes with it. */
  kind: "eip" | "wan";
  instanceId: InstanceId | null;
  privateIp: string | null;
  bandwidthMbps: number;
  createdAt: Date;
  tags: Record<string, string>;
}

export interface ElasticAddressQuery extends TagQuery {
  ids?: ElasticAddressId[];
  names?: string[];
  ips?: string[];
  instanceIds?: string[];
  privateIps?: string[];
  bound?: boolean;
  kinds?: ("eip" | "wan")[];
}

export interface ElasticAddresses {
  allocate(
    caller: Caller,
    request: {
      count: number;
      name: string;
      bandwidthMbps: number;
      tags: Record<string, string>;
      clientToken: string | null;
    },
  ): Promise<ElasticAddressId[]>;
  list(caller: AnyCaller, query: ElasticAddressQuery, page: Page): Promise<Listed<ElasticAddressView>>;
  modify(caller: AnyCaller, id: ElasticAddressId, change: { name?: string }): Promise<void>;
  /** Of addresses, or of those that instances have; all or nothing. */
  setBandwidth(
    caller: AnyCaller,
    of: { ids: ElasticAddressId[] } | { instanceIds: InstanceId[] },
    mbps: number,
  ): Promise<void>;
  /** Refused while either of the two is bound already. */
  associate(caller: AnyCaller, id: ElasticAddressId, instanceId: InstanceId): Promise<void>;
  disassociate(caller: AnyCaller, id: ElasticAddressId): Promise<void>;
  /** Refused while one is bound. */
  release(caller: AnyCaller, ids: ElasticAddressId[]): Promise<void>;
}

export interface Network {
  vpcs: Vpcs;
  subnets: Subnets;
  routeTables: RouteTables;
  natGateways: NatGateways;
  securityGroups: SecurityGroups;
  elasticAddresses: ElasticAddresses;
}
