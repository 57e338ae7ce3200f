/** The table of the VPC actions that are offered. */
import type { Action } from "../action.ts";
import {
  allocateAddresses,
  associateAddress,
  describeAddresses,
  disassociateAddress,
  modifyAddressAttribute,
  modifyAddressesBandwidth,
  releaseAddresses,
} from "./addresses.ts";
import { createNatGateway, deleteNatGateway, describeNatGateways } from "./nat-gateways.ts";
import {
  createSecurityGroupPolicies,
  deleteSecurityGroupPolicies,
  describeSecurityGroupPolicies,
  modifySecurityGroupPolicies,
} from "./policies.ts";
import {
  createRouteTable,
  createRoutes,
  deleteRouteTable,
  deleteRoutes,
  describeRouteTables,
  modifyRouteTableAttribute,
  replaceRouteTableAssociation,
} from "./route-tables.ts";
import {
  createSecurityGroup,
  deleteSecurityGroup,
  describeSecurityGroupAssociationStatistics,
  describeSecurityGroups,
  modifySecurityGroupAttribute,
} from "./security-groups.ts";
import {
  createSubnet,
  deleteSubnet,
  describeSubnets,
  describeUsedIpAddress,
  modifySubnetAttribute,
} from "./subnets.ts";
import { createVpc, deleteVpc, describeVpcs, modifyVpcAttribute } from "./vpcs.ts";

export const vpcOffered: readonly Action[] = [
  createVpc,
  describeVpcs,
  modifyVpcAttribute,
  deleteVpc,

  createSubnet,
  describeSubnets,
  modifySubnetAttribute,
  deleteSubnet,
  describeUsedIpAddress,

  createRouteTable,
  describeRouteTables,
  modifyRouteTableAttribute,
  deleteRouteTable,
  replaceRouteTableAssociation,
  createRoutes,
  deleteRoutes,

  createSecurityGroup,
  describeSecurityGroups,
  modifySecurityGroupAttribute,
  deleteSecurityGroup,
  describeSecurityGroupAssociationStatistics,
  createSecurityGroupPolicies,
  describeSecurityGroupPolicies,
  modifySecurityGroupPolicies,
  deleteSecurityGroupPolicies,

  allocateAddresses,
  describeAddresses,
  modifyAddressAttribute,
  modifyAddressesBandwidth,
  associateAddress,
  disassociateAddress,
  releaseAddresses,

  createNatGateway,
  describeNatGateways,
  deleteNatGateway,
];
