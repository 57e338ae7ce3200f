/** `vpc`, `subnet`, `route-table` and `nat-gateway`; security-group.ts and address.ts have the rest of the networks. */
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { usageError } from "../exit.ts";
import type { Io } from "../io.ts";
import { idOf, listAll } from "../resolve.ts";
import { addAddress } from "./address.ts";
import { addKind } from "./network-kind.ts";
import { addSecurityGroup } from "./security-group.ts";
import { contextOf } from "./shared.ts";

export function addNetworks(program: Command, io: Io): void {
  addVpc(program, io);
  addSubnet(program, io);
  addRouteTable(program, io);
  addNatGateway(program, io);
  addSecurityGroup(program, io);
  addAddress(program, io);
}

interface InVpcFlags {
  vpc: string;
  zone?: string;
}

function addVpc(program: Command, io: Io): void {
  const vpc = addKind(program, io, {
    kind: "vpc",
    word: "vpc",
    about: "networks of your own: ranges of addresses that nobody else sees",
    columns: async () => [
      { title: "RANGE", value: ({ cidr }) => cidr },
      { title: "DEFAULT", value: ({ isDefault }) => (isDefault ? "yes" : null) },
    ],
    rename: (client, id, name) => client.call("vpcModify", { params: { id }, request: { name } }),
    end: {
      verb: "delete",
      description: "delete VPCs that have neither subnets nor NAT gateways",
      call: (client, id) => client.call("vpcDelete", { params: { id } }),
    },
  });

  vpc
    .command("create")
    .argument("<name>", "name of the new VPC")
    .requiredOption("--cidr <range>", "its addresses, such as 10.1.0.0/16; another VPC may have the same")
    .description("make a VPC; subnets divide it")
    .action(async (name: string, { cidr }: { cidr: string }, command: Command) => {
      const context = contextOf(io, command);
      const made = await context.client.call("vpcCreate", { request: { name, cidr } });
      context.print(made, () => `${made.id}\n`);
    });
}

function addSubnet(program: Command, io: Io): void {
  const subnet = addKind(program, io, {
    kind: "subnet",
    word: "subnet",
    about: "parts of VPCs from which instances get their addresses",
    inVpc: true,
    columns: async (context) => {
      const out = await waysOut(context);
      return [
        { title: "VPC", value: ({ vpcId }) => vpcId },
        { title: "RANGE", value: ({ cidr }) => cidr },
        { title: "FREE", value: ({ addresses }) => `${addresses.free}/${addresses.total}` },
        { title: "WAY OUT", value: ({ routeTableId }) => out.get(routeTableId) ?? null },
        { title: "DEFAULT", value: ({ isDefault }) => (isDefault ? "yes" : null) },
      ];
    },
    rename: (client, id, name) => client.call("subnetModify", { params: { id }, request: { name } }),
    end: {
      verb: "delete",
      description: "delete subnets of which no instance has an address",
      call: (client, id) => client.call("subnetDelete", { params: { id } }),
    },
  });

  subnet
    .command("create")
    .argument("<name>", "name of the new subnet")
    .requiredOption("--vpc <vpc>", "id or name")
    .requiredOption("--cidr <range>", "its addresses, a part of the VPC's that no other subnet has")
    .option("--zone <zone>", "zone; may be left out when there is only one")
    .description("make a subnet; its first address is its router's")
    .action(async (name: string, flags: InVpcFlags & { cidr: string }, command: Command) => {
      const context = contextOf(io, command);
      const { cidr, zone } = flags;
      const vpcId = await idOf(context.client, "vpc", flags.vpc);
      const made = await context.client.call("subnetCreate", { request: { name, vpcId, cidr, zone } });
      context.print(made, () => `${made.id}\n`);
    });

  subnet
    .command("set")
    .argument("<subnet>", "id or name")
    .requiredOption("--route-table <table>", "id or name of a route table of its VPC: how it gets out")
    .description("give a subnet another route table")
    .action(async (given: string, flags: { routeTable: string }, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "subnet", given);
      const routeTableId = await idOf(context.client, "routeTable", flags.routeTable);
      const changed = await context.client.call("subnetModify", { params: { id }, request: { routeTableId } });
      context.print(changed, () => `${id} has route table ${routeTableId}\n`);
    });
}

function addRouteTable(program: Command, io: Io): void {
  const table = addKind(program, io, {
    kind: "routeTable",
    word: "route-table",
    about: "whether subnets get out of their VPC; inside of it everything is reached without a route",
    inVpc: true,
    columns: async () => [
      { title: "VPC", value: ({ vpcId }) => vpcId },
      { title: "MAIN", value: ({ main }) => (main ? "yes" : null) },
      { title: "SUBNETS", value: ({ subnetIds }) => subnetIds.length },
      { title: "WAY OUT", value: ({ natGatewayId }) => natGatewayId },
    ],
    rename: (client, id, name) => client.call("routeTableModify", { params: { id }, request: { name } }),
    end: {
      verb: "delete",
      description: "delete route tables that no subnet has",
      call: (client, id) => client.call("routeTableDelete", { params: { id } }),
    },
  });

  table
    .command("create")
    .argument("<name>", "name of the new route table")
    .requiredOption("--vpc <vpc>", "id or name")
    .description("make a route table without a way out; `subnet set` gives it to subnets")
    .action(async (name: string, flags: InVpcFlags, command: Command) => {
      const context = contextOf(io, command);
      const vpcId = await idOf(context.client, "vpc", flags.vpc);
      const made = await context.client.call("routeTableCreate", { request: { name, vpcId } });
      context.print(made, () => `${made.id}\n`);
    });

  table
    .command("set")
    .argument("<route-table>", "id or name")
    .option("--nat-gateway <gateway>", "id or name: its subnets get out by it")
    .option("--no-nat-gateway", "its subnets do not get out")
    .description("give the subnets of a route table a way out, or take it from them")
    .action(async (given: string, flags: { natGateway?: string | false }, command: Command) => {
      const context = contextOf(io, command);
      const { natGateway } = flags;
      if (natGateway === undefined) throw usageError("give --nat-gateway or --no-nat-gateway");
      const id = await idOf(context.client, "routeTable", given);
      const natGatewayId = natGateway === false ? null : await idOf(context.client, "natGateway", natGateway);
      const changed = await context.client.call("routeTableModify", { params: { id }, request: { natGatewayId } });
      context.print(changed, () => `${id} leads ${natGatewayId === null ? "nowhere" : `out by ${natGatewayId}`}\n`);
    });
}

function addNatGateway(program: Command, io: Io): void {
  const gateway = addKind(program, io, {
    kind: "natGateway",
    word: "nat-gateway",
    about: "permissions to get out of a VPC by the hosts' own addresses",
    inVpc: true,
    columns: async () => [{ title: "VPC", value: ({ vpcId }) => vpcId }],
    end: {
      verb: "delete",
      description: "delete NAT gateways to which no route table leads",
      call: (client, id) => client.call("natGatewayDelete", { params: { id } }),
    },
  });

  gateway
    .command("create")
    .argument("<name>", "name of the new NAT gateway")
    .requiredOption("--vpc <vpc>", "id or name")
    .option("--zone <zone>", "zone; may be left out when there is only one")
    .description("make a NAT gateway; `route-table set` leads subnets to it")
    .action(async (name: string, flags: InVpcFlags, command: Command) => {
      const context = contextOf(io, command);
      const vpcId = await idOf(context.client, "vpc", flags.vpc);
      const made = await context.client.call("natGatewayCreate", { request: { name, vpcId, zone: flags.zone } });
      context.print(made, () => `${made.id}\n`);
    });
}

/** The NAT gateway by which the subnets of each route table get out. */
async function waysOut({ client }: Context): Promise<ReadonlyMap<string, string | null>> {
  const tables = await listAll(client, "routeTable");
  return new Map(tables.map(({ id, natGatewayId }) => [id, natGatewayId]));
}
