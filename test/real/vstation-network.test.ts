/** VPCs, subnets and ways out in SQL, and what hosts are told of them: real PostgreSQL, a real VStation, simulated hosts. */
import { describe, expect, it } from "vitest";
import type { Peer } from "../../src/api/agent.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { until } from "../until.ts";
import { areGone, inState, list, run, terminate } from "./support/cloud.ts";
import { CvmCaller } from "./support/cvm.ts";
import { makeNet, nicOn, readyHost, runIn, subnetsOn, zone } from "./support/network.ts";
import { vstationForEach } from "./support/vstation-for.ts";
import type { TestVstation } from "./support/vstation.ts";

let vstation: TestVstation;
let cvm: CvmCaller;

vstationForEach(async (made) => {
  vstation = made;
  await vstation.start();
  cvm = new CvmCaller(vstation.credentials);
});

describe("the network of the configuration", () => {
  it("is the first account's default one, with a way out, and its group admits everything", async () => {
    const host = await readyHost(vstation);
    const [id = "" as InstanceId] = await run(vstation.native);
    await inState(vstation, [id], "RUNNING");
    expect(host.network).toMatchObject({
      vpcs: [{ id: "vpc-test0001", cidrs: ["10.200.0.0/16"], domain: "ap-test-1.internal" }],
      subnets: [
        {
          id: "subnet-test0001",
          vpcId: "vpc-test0001",
          cidr: "10.200.0.0/16",
          gateway: "10.200.0.1",
          vni: 4242,
          egress: "host",
        },
      ],
    });
    const [group] = host.network.securityGroups;
    const open = [{ action: "accept", protocol: "all", ports: null, peer: { cidr: "0.0.0.0/0" } }];
    expect(group).toMatchObject({ ingress: open, egress: open });
    expect(nicOn(host, id)).toMatchObject({
      subnetId: "subnet-test0001",
      securityGroupIds: [group?.id],
      elasticIp: null,
    });
    const peer = await until("the peer", () => [...host.peers.values()].find((one: Peer) => one.name === id));
    expect(peer).toMatchObject({ subnetId: "subnet-test0001", groupIds: [group?.id] });
    const [shown] = await list(vstation.native, { id: [id] });
    expect(shown).toMatchObject({ vpcId: "vpc-test0001", securityGroupIds: [group?.id], elastic: null });
    await cvm.call("ModifyInstancesAttribute", { InstanceIds: [id], HostName: "renamed", AutoReboot: false });
    await until("the peer by its new name", () => [...host.peers.values()].find(({ name }) => name === "renamed"));
    await terminate(vstation.native, [id]);
    await areGone(vstation, [id]);
    for (const table of ["instance_subnet", "instance_security_group"]) {
      expect(await vstation.sql(`select * from ${table}`)).toEqual([]);
    }
  });

  it("is made once, and stays what it is over restarts", async () => {
    const before = await vstation.sql(
      "select id from vpc union select id from subnet union select id from security_group union select id from nat_gateway order by id",
    );
    await vstation.kill();
    await vstation.start();
    const after = await vstation.sql(
      "select id from vpc union select id from subnet union select id from security_group union select id from nat_gateway order by id",
    );
    expect(after).toEqual(before);
    expect(before).toHaveLength(4);
  });

  it("gives certain addresses, each once, and none that it keeps for itself", async () => {
    await readyHost(vstation);
    const ips = ["10.200.3.7", "10.200.3.8"];
    const made = await run(vstation.native, { count: 2, ips });
    expect((await list(vstation.native, { id: made })).map(({ ip }) => ip).toSorted()).toEqual(ips);
    await expect(run(vstation.native, { ips: ["10.200.3.7"] })).rejects.toMatchObject({ code: "AddressInUse" });
    for (const ip of ["10.200.0.5", "10.200.255.255", "10.201.0.5"]) {
      await expect(run(vstation.native, { ips: [ip] })).rejects.toMatchObject({ code: "AddressOutside" });
    }
    await expect(run(vstation.native, { count: 2, ips: ["10.200.9.9"] })).rejects.toMatchObject({
      code: "InvalidParameter",
    });
    await terminate(vstation.native, made);
    await areGone(vstation, made);
    expect(await run(vstation.native, { ips: ["10.200.3.7"] })).toHaveLength(1);
  });

  it("is refused to whoever names a VPC that it is not in", async () => {
    await readyHost(vstation);
    const network = { VpcId: "vpc-00000000", SubnetId: "subnet-test0001" };
    const request = { Placement: { Zone: zone }, ImageId: "img-test0001", InstanceType: "T1.SMALL1" };
    expect(await cvm.refusal("RunInstances", { ...request, VirtualPrivateCloud: network })).toBe(
      "InvalidParameterValue.VpcIdNotExist",
    );
    const unknown = { VpcId: "vpc-test0001", SubnetId: "subnet-00000000" };
    expect(await cvm.refusal("RunInstances", { ...request, VirtualPrivateCloud: unknown })).toBe(
      "InvalidParameterValue.SubnetNotExist",
    );
    expect(await cvm.refusal("RunInstances", { ...request, SecurityGroupIds: ["sg-00000000"] })).toBe(
      "InvalidSecurityGroupId.NotFound",
    );
  });
});
describe("VPCs and subnets", () => {
  it("are made, found by each filter, renamed, and gone when nothing is left in them", async () => {
    const { Vpc } = await cvm.call("CreateVpc", {
      VpcName: "office",
      CidrBlock: "10.1.0.0/16",
      EnableMulticast: "false",
      Tags: [{ Key: "team", Value: "a" }],
    });
    expect(Vpc).toMatchObject({ VpcName: "office", CidrBlock: "10.1.0.0/16", IsDefault: false });
    expect(Vpc.TagSet).toEqual([{ Key: "team", Value: "a" }]);
    for (const filter of [
      { Name: "vpc-id", Values: [Vpc.VpcId] },
      { Name: "vpc-name", Values: ["ffic"] },
      { Name: "cidr-block", Values: ["10.1.0.0/16"] },
      { Name: "is-default", Values: ["false"] },
      { Name: "tag-key", Values: ["team"] },
      { Name: "tag:team", Values: ["a", "b"] },
    ]) {
      const { TotalCount, VpcSet } = await cvm.call("DescribeVpcs", { Filters: [filter], Offset: "0", Limit: "100" });
      expect([filter.Name, TotalCount, VpcSet[0].VpcId]).toEqual([filter.Name, 1, Vpc.VpcId]);
    }
    expect(await cvm.call("DescribeVpcs", { Filters: [{ Name: "tag:team", Values: ["b"] }] })).toMatchObject({
      TotalCount: 0,
      VpcSet: [],
    });
    const { VpcSet: page } = await cvm.call("DescribeVpcs", { Offset: "1", Limit: "1" });
    expect(page).toHaveLength(1);
    const { Subnet } = await cvm.call("CreateSubnet", {
      VpcId: Vpc.VpcId,
      SubnetName: "first",
      CidrBlock: "10.1.1.0/24",
      Zone: zone,
    });
    expect(Subnet).toMatchObject({ AvailableIpAddressCount: 253, TotalIpAddressCount: 253, Zone: zone });
    const { RouteTableSet } = await cvm.call("DescribeRouteTables", {
      Filters: [
        { Name: "vpc-id", Values: [Vpc.VpcId] },
        { Name: "association.main", Values: ["true"] },
      ],
    });
    expect(RouteTableSet).toMatchObject([
      { Main: true, RouteTableId: Subnet.RouteTableId, AssociationSet: [{ SubnetId: Subnet.SubnetId }] },
    ]);
    await cvm.call("ModifyVpcAttribute", { VpcId: Vpc.VpcId, VpcName: "house", EnableMulticast: "false" });
    await cvm.call("ModifySubnetAttribute", {
      SubnetId: Subnet.SubnetId,
      SubnetName: "second",
      EnableBroadcast: "true",
    });
    const { SubnetSet } = await cvm.call("DescribeSubnets", { SubnetIds: [Subnet.SubnetId] });
    expect(SubnetSet[0].SubnetName).toBe("second");
    expect(await cvm.refusal("DeleteVpc", { VpcId: Vpc.VpcId })).toBe("ResourceInUse");
    await cvm.call("DeleteSubnet", { SubnetId: Subnet.SubnetId });
    await cvm.call("DeleteVpc", { VpcId: Vpc.VpcId });
    for (const [action, parameters] of [
      ["DeleteVpc", { VpcId: Vpc.VpcId }],
      ["DeleteSubnet", { SubnetId: Subnet.SubnetId }],
    ] as const) {
      expect(await cvm.refusal(action, parameters)).toBe("ResourceNotFound");
    }
    expect(await vstation.sql("select * from tag")).toEqual([]);
  });

  it("are refused where they cannot be", async () => {
    const { vpcId } = await makeNet(cvm);
    for (const [cidr, code] of [
      ["10.1.0.0", "InvalidParameterValue.Range"],
      ["10.1.0.1/16", "InvalidParameterValue.Range"],
      ["11.0.0.0/16", "InvalidParameterValue.Range"],
      ["10.0.0.0/8", "InvalidParameterValue.Range"],
      ["10.0.0.0/29", "InvalidParameterValue.Range"],
    ]) {
      expect([cidr, await cvm.refusal("CreateVpc", { VpcName: "x", CidrBlock: cidr })]).toEqual([cidr, code]);
    }
    const subnet = { VpcId: vpcId, SubnetName: "x", Zone: zone };
    for (const [cidr, code] of [
      ["10.2.0.0/24", "InvalidParameterValue.SubnetRange"],
      ["10.1.0.0/15", "InvalidParameterValue.SubnetRange"],
      ["10.1.2.0/29", "InvalidParameterValue.SubnetRange"],
      ["10.1.1.128/25", "InvalidParameterValue.SubnetConflict"],
      ["10.1.0.0/16", "InvalidParameterValue.SubnetConflict"],
    ]) {
      expect([cidr, await cvm.refusal("CreateSubnet", { ...subnet, CidrBlock: cidr })]).toEqual([cidr, code]);
    }
    const elsewhere = { ...subnet, CidrBlock: "10.1.2.0/24", Zone: "mars" };
    expect(await cvm.refusal("CreateSubnet", elsewhere)).toBe("InvalidZone.MismatchRegion");
    expect(await cvm.refusal("DeleteVpc", { VpcId: "vpc-test0001" })).toBe("UnsupportedOperation");
    expect(await cvm.refusal("DeleteSubnet", { SubnetId: "subnet-test0001" })).toBe("UnsupportedOperation");
  });

  it("of one VPC never overlap, however many are asked for at once", async () => {
    const { Vpc } = await cvm.call("CreateVpc", { VpcName: "a", CidrBlock: "10.1.0.0/16" });
    const asked = Array.from({ length: 8 }, (_, n) => ({
      VpcId: Vpc.VpcId,
      SubnetName: `s${n}`,
      Zone: zone,
      CidrBlock: n % 2 === 0 ? "10.1.0.0/20" : `10.1.${n}.0/24`,
    }));
    const outcomes = await Promise.allSettled(asked.map((one) => cvm.call("CreateSubnet", one)));
    const made = outcomes.filter(({ status }) => status === "fulfilled").length;
    const rows = await vstation.sql<{ cidr: string }>("select cidr from subnet where vpc_id = $1", [Vpc.VpcId]);
    expect(rows).toHaveLength(made);
    const clashes = await vstation.sql(
      "select a.cidr from subnet a join subnet b on a.vpc_id = b.vpc_id and a.id < b.id and a.cidr::inet && b.cidr::inet",
    );
    expect([clashes, made > 0]).toEqual([[], true]);
  });

  it("with the same range hold the same address, and each host is told of the VPCs it has a part in, and of no other", async () => {
    const [one, two] = [
      await readyHost(vstation, { shape: { cores: 1, memoryMiB: 1024, diskGiB: 50 } }),
      await readyHost(vstation),
    ];
    const [left, right] = [await makeNet(cvm), await makeNet(cvm)];
    const a = await runIn(cvm, left, {
      VirtualPrivateCloud: { VpcId: left.vpcId, SubnetId: left.subnetId, PrivateIpAddresses: ["10.1.1.9"] },
    });
    const b = await runIn(cvm, right, {
      VirtualPrivateCloud: { VpcId: right.vpcId, SubnetId: right.subnetId, PrivateIpAddresses: ["10.1.1.9"] },
    });
    await inState(vstation, [a, b], "RUNNING");
    const hostOf = (id: InstanceId): SimHost => (one.specs.has(id) ? one : two);
    expect(hostOf(a)).not.toBe(hostOf(b));
    expect(subnetsOn(hostOf(a))).toEqual([left.subnetId]);
    expect(subnetsOn(hostOf(b))).toEqual([right.subnetId]);
    expect(hostOf(a).network.vpcs).toMatchObject([{ id: left.vpcId }]);
    expect(hostOf(a).network.subnets).toMatchObject([{ id: left.subnetId, egress: "none" }]);
    const [vniA] = hostOf(a).network.subnets;
    expect(vniA?.vni).not.toBe(hostOf(b).network.subnets[0]?.vni);
    // A subnet that comes later is told at once, to the hosts of its VPC alone.
    const later = await cvm.call("CreateSubnet", {
      VpcId: left.vpcId,
      SubnetName: "later",
      CidrBlock: "10.1.2.0/24",
      Zone: zone,
    });
    await until("the new subnet", () => subnetsOn(hostOf(a)).includes(later.Subnet.SubnetId) || undefined);
    expect(subnetsOn(hostOf(b))).toEqual([right.subnetId]);
    expect(await cvm.refusal("DeleteSubnet", { SubnetId: left.subnetId })).toBe("ResourceInUse");
    const used = { VpcId: left.vpcId, SubnetId: left.subnetId, IpAddresses: ["10.1.1.9", "10.1.1.10"] };
    expect((await cvm.call("DescribeUsedIpAddress", used)).IpAddressStates).toMatchObject([{ ResourceId: a }]);
    await cvm.call("TerminateInstances", { InstanceIds: [a] });
    await areGone(vstation, [a]);
    expect((await cvm.call("DescribeUsedIpAddress", used)).TotalCount).toBe(0);
    await cvm.call("DeleteSubnet", { SubnetId: left.subnetId });
  });

  it("give a way out through a NAT gateway and a route, and take it away again", async () => {
    const host = await readyHost(vstation);
    const net = await makeNet(cvm);
    const id = await runIn(cvm, net);
    await inState(vstation, [id], "RUNNING");
    const egressOf = (subnetId: string) => host.network.subnets.find((each) => each.id === subnetId)?.egress;
    const egress = (wanted: string) => until(`egress ${wanted}`, () => egressOf(net.subnetId) === wanted || undefined);
    await egress("none");
    const { NatGatewaySet } = await cvm.call("CreateNatGateway", { NatGatewayName: "out", VpcId: net.vpcId });
    const [{ NatGatewayId: gateway }] = NatGatewaySet as [{ NatGatewayId: string }];
    const { SubnetSet } = await cvm.call("DescribeSubnets", { SubnetIds: [net.subnetId] });
    const RouteTableId = SubnetSet[0].RouteTableId as string;
    const route = { DestinationCidrBlock: "0.0.0.0/0", GatewayType: "NAT", GatewayId: gateway };
    const { RouteTableSet } = await cvm.call("CreateRoutes", { RouteTableId, Routes: [route] });
    expect(RouteTableSet[0].RouteSet).toHaveLength(1);
    await egress("host");
    expect(await cvm.refusal("CreateRoutes", { RouteTableId, Routes: [route] })).toBe(
      "InvalidParameterValue.Duplicate",
    );
    expect(await cvm.refusal("DeleteNatGateway", { NatGatewayId: gateway })).toBe("ResourceInUse");
    // Another table without a route: no way out for the subnet that has it, whatever the VPC's others have.
    const { Subnet: other } = await cvm.call("CreateSubnet", {
      VpcId: net.vpcId,
      SubnetName: "open",
      CidrBlock: "10.1.2.0/24",
      Zone: zone,
    });
    await until("the other's way out", () => egressOf(other.SubnetId) === "host" || undefined);
    const { RouteTable } = await cvm.call("CreateRouteTable", { VpcId: net.vpcId, RouteTableName: "closed" });
    await cvm.call("ReplaceRouteTableAssociation", { SubnetId: net.subnetId, RouteTableId: RouteTable.RouteTableId });
    await egress("none");
    expect(egressOf(other.SubnetId)).toBe("host");
    expect(await cvm.refusal("DeleteRouteTable", { RouteTableId: RouteTable.RouteTableId })).toBe(
      "UnsupportedOperation.DelRouteWithSubnet",
    );
    await cvm.call("ReplaceRouteTableAssociation", { SubnetId: net.subnetId, RouteTableId });
    await egress("host");
    const { RouteId } = RouteTableSet[0].RouteSet[0] as { RouteId: number };
    await cvm.call("DeleteRoutes", { RouteTableId, Routes: [{ RouteId }] });
    await egress("none");
    await cvm.call("DeleteNatGateway", { NatGatewayId: gateway });
    await cvm.call("DeleteRouteTable", { RouteTableId: RouteTable.RouteTableId });
    expect(await cvm.refusal("DeleteRouteTable", { RouteTableId })).toBe("UnsupportedOperation.DelDefaultRoute");
  });
});
