/**
 * Networks in the native API: VPCs, their subnets, and the ways out of them. Security groups are in security-groups.ts, elastic
 * addresses in elastic-addresses.ts. None of them takes time: an answer says what is.
 */
import * as z from "zod";
import { idSchema, type IdKind } from "../../lib/ids.ts";
import { name, pageFields, several, tags, word } from "./requests.ts";
import { counter, doneAnswer, time, total } from "./resources.ts";
import { route } from "./route.ts";

/** A query by what every thing of a network has. */
export const queryOf = <K extends IdKind>(kind: K) => ({
  ...pageFields,
  id: several(idSchema(kind)),
  name: several(name).describe("Any part of the name."),
});
export const paramsOf = <K extends IdKind>(kind: K) => z.strictObject({ id: idSchema(kind) });
/** As the other API has it, so that what one names the other can name again. */
export const networkName = name.max(60);
/** What every thing of a network shows. */
export const shown = <K extends IdKind>(kind: K) => ({
  id: idSchema(kind),
  accountId: idSchema("account"),
  name: z.string(),
  tags: z.record(z.string(), z.string()),
  createdAt: time,
});

const cidr = z.string().min(1).max(18).describe("A block without host bits, such as 10.1.0.0/16.");
const vpcId = idSchema("vpc");
const natGatewayId = idSchema("natGateway").nullable();
const zone = word.optional().describe("May be left out where there is only one.");
const nameChange = z.strictObject({ name: networkName });

const vpcSchema = z
  .object({ ...shown("vpc"), cidr: z.string(), isDefault: z.boolean() })
  .meta({ id: "Vpc", description: "A range of addresses that nobody else sees; another account may have the same." });

const subnetSchema = z
  .object({
    ...shown("subnet"),
    vpcId,
    zone: z.string(),
    cidr: z.string(),
    isDefault: z.boolean().describe("Instances of the account that name no subnet get their addresses here."),
    routeTableId: idSchema("routeTable"),
    addresses: z.object({ total: counter, free: counter }).describe("That instances may have."),
  })
  .meta({ id: "Subnet" });

const routeTableSchema = z
  .object({
    ...shown("routeTable"),
    vpcId,
    main: z.boolean().describe("New subnets of the VPC get it; it goes with its VPC."),
    natGatewayId: natGatewayId.describe("By which its subnets get out of the VPC; null: they do not."),
    subnetIds: z.array(idSchema("subnet")),
  })
  .meta({ id: "RouteTable" });

const natGatewaySchema = z
  .object({ ...shown("natGateway"), vpcId, zone: z.string() })
  .meta({ id: "NatGateway", description: "The permission to leave a VPC: by each host's own address, on every host." });

export type VpcWire = z.infer<typeof vpcSchema>;
export type SubnetWire = z.infer<typeof subnetSchema>;
export type RouteTableWire = z.infer<typeof routeTableSchema>;
export type NatGatewayWire = z.infer<typeof natGatewaySchema>;

export const networkRoutes = {
  vpcList: route({
    method: "GET",
    path: "/v1/vpcs",
    tag: "networks",
    summary: "Lists VPCs, oldest first",
    query: z.strictObject(queryOf("vpc")),
    response: z.object({ total, vpcs: z.array(vpcSchema) }),
  }),
  vpcCreate: route({
    method: "POST",
    path: "/v1/vpcs",
    tag: "networks",
    summary: "Makes a VPC",
    request: z.strictObject({ name: networkName, cidr, tags: tags.default({}) }).meta({ id: "VpcCreateRequest" }),
    response: vpcSchema,
    status: 201,
    errors: ["limit"],
  }),
  vpcModify: route({
    method: "PATCH",
    path: "/v1/vpcs/{id}",
    tag: "networks",
    summary: "Renames a VPC",
    params: paramsOf("vpc"),
    request: nameChange.meta({ id: "VpcChangeRequest" }),
    response: vpcSchema,
    errors: ["not_found"],
  }),
  vpcDelete: route({
    method: "DELETE",
    path: "/v1/vpcs/{id}",
    tag: "networks",
    summary: "Deletes a VPC that has neither subnets nor NAT gateways; its route tables go with it",
    params: paramsOf("vpc"),
    response: doneAnswer,
    errors: ["not_found", "conflict"],
  }),
  subnetList: route({
    method: "GET",
    path: "/v1/subnets",
    tag: "networks",
    summary: "Lists subnets, oldest first",
    query: z.strictObject({ ...queryOf("subnet"), vpcId: several(vpcId) }),
    response: z.object({ total, subnets: z.array(subnetSchema) }),
  }),
  subnetCreate: route({
    method: "POST",
    path: "/v1/subnets",
    tag: "networks",
    summary: "Makes a subnet inside of a VPC's range",
    request: z
      .strictObject({ vpcId, name: networkName, cidr, zone, tags: tags.default({}) })
      .meta({ id: "SubnetCreateRequest" }),
    response: subnetSchema,
    status: 201,
    errors: ["not_found", "conflict", "limit"],
  }),
  subnetModify: route({
    method: "PATCH",
    path: "/v1/subnets/{id}",
    tag: "networks",
    summary: "Renames a subnet, or gives it another route table of its VPC",
    params: paramsOf("subnet"),
    request: z
      .union([nameChange, z.strictObject({ routeTableId: idSchema("routeTable") })])
      .meta({ id: "SubnetChangeRequest" }),
    response: subnetSchema,
    errors: ["not_found"],
  }),
  subnetDelete: route({
    method: "DELETE",
    path: "/v1/subnets/{id}",
    tag: "networks",
    summary: "Deletes a subnet of which no instance has an address",
    params: paramsOf("subnet"),
    response: doneAnswer,
    errors: ["not_found", "conflict"],
  }),
  routeTableList: route({
    method: "GET",
    path: "/v1/route-tables",
    tag: "networks",
    summary: "Lists route tables, oldest first",
    query: z.strictObject({ ...queryOf("routeTable"), vpcId: several(vpcId) }),
    response: z.object({ total, routeTables: z.array(routeTableSchema) }),
  }),
  routeTableCreate: route({
    method: "POST",
    path: "/v1/route-tables",
    tag: "networks",
    summary: "Makes a route table, without a way out",
    request: z
      .strictObject({ vpcId, name: networkName, tags: tags.default({}) })
      .meta({ id: "RouteTableCreateRequest" }),
    response: routeTableSchema,
    status: 201,
    errors: ["not_found", "limit"],
  }),
  routeTableModify: route({
    method: "PATCH",
    path: "/v1/route-tables/{id}",
    tag: "networks",
    summary: "Renames a route table, or gives its subnets a way out, or takes it from them",
    params: paramsOf("routeTable"),
    request: z.union([nameChange, z.strictObject({ natGatewayId })]).meta({ id: "RouteTableChangeRequest" }),
    response: routeTableSchema,
    errors: ["not_found", "conflict"],
  }),
  routeTableDelete: route({
    method: "DELETE",
    path: "/v1/route-tables/{id}",
    tag: "networks",
    summary: "Deletes a route table that no subnet has",
    params: paramsOf("routeTable"),
    response: doneAnswer,
    errors: ["not_found", "conflict"],
  }),
  natGatewayList: route({
    method: "GET",
    path: "/v1/nat-gateways",
    tag: "networks",
    summary: "Lists NAT gateways, oldest first",
    query: z.strictObject({ ...queryOf("natGateway"), vpcId: several(vpcId) }),
    response: z.object({ total, natGateways: z.array(natGatewaySchema) }),
  }),
  natGatewayCreate: route({
    method: "POST",
    path: "/v1/nat-gateways",
    tag: "networks",
    summary: "Makes a NAT gateway",
    request: z
      .strictObject({ vpcId, name: networkName, zone, tags: tags.default({}) })
      .meta({ id: "NatGatewayCreateRequest" }),
    response: natGatewaySchema,
    status: 201,
    errors: ["not_found", "limit"],
  }),
  natGatewayDelete: route({
    method: "DELETE",
    path: "/v1/nat-gateways/{id}",
    tag: "networks",
    summary: "Deletes a NAT gateway to which no route table leads",
    params: paramsOf("natGateway"),
    response: doneAnswer,
    errors: ["not_found", "conflict"],
  }),
};
