/** Security groups, elastic addresses, and what another account sees of them: real PostgreSQL, a real VStation, simulated hosts. */
import { describe, expect, it } from "vitest";
import type { InstanceId } from "../../src/lib/ids.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { until } from "../until.ts";
import { areGone, inState, terminate } from "./support/cloud.ts";
import { CvmCaller, otherAccount } from "./support/cvm.ts";
import { makeNet, nicOn, readyHost, runIn, zone } from "./support/network.ts";
import { vstationForEach } from "./support/vstation-for.ts";
import type { TestVstation } from "./support/vstation.ts";

let vstation: TestVstation;
let cvm: CvmCaller;

vstationForEach(async (made) => {
  vstation = made;
  await vstation.start();
  cvm = new CvmCaller(vstation.credentials);
});

describe("security groups", () => {
  const tcp = (Port: string, more: object = {}) => ({
    Protocol: "TCP",
    Port,
    CidrBlock: "0.0.0.0/0",
    Action: "ACCEPT",
    ...more,
  });
  const make = async (name = "web"): Promise<string> => {
    const { SecurityGroup } = await cvm.call("CreateSecurityGroup", { GroupName: name, GroupDescription: "" });
    return SecurityGroup.SecurityGroupId as string;
  };
  const read = async (id: string) =>
    (await cvm.call("DescribeSecurityGroupPolicies", { SecurityGroupId: id })).SecurityGroupPolicySet;
  const add = (id: string, set: object) =>
    cvm.call("CreateSecurityGroupPolicies", { SecurityGroupId: id, SecurityGroupPolicySet: set });

  it("begin by letting nothing pass, and keep policies in the order that was asked for", async () => {
    const id = await make();
    expect(await read(id)).toMatchObject({ Version: "0", Ingress: [], Egress: [] });
    await add(id, { Ingress: [tcp("80"), tcp("443", { PolicyDescription: "tls" })] });
    await add(id, { Ingress: [tcp("22", { PolicyIndex: 1, CidrBlock: "10.0.0.7" })] });
    await add(id, { Egress: [{ Action: "ACCEPT", CidrBlock: "0.0.0.0/0", Protocol: "ALL", Port: "ALL" }] });
    const set = await read(id);
    expect(set.Version).toBe("3");
    expect(set.Ingress.map((one: { Port: string; CidrBlock: string }) => [one.Port, one.CidrBlock])).toEqual([
      ["80", "0.0.0.0/0"],
      ["22", "10.0.0.7"],
      ["443", "0.0.0.0/0"],
    ]);
    expect(set.Egress).toMatchObject([{ Protocol: "ALL", Port: "ALL" }]);
    const remove = (policies: object[], Version?: string) => ({
      SecurityGroupId: id,
      SecurityGroupPolicySet: { Ingress: policies, ...(Version === undefined ? {} : { Version }) },
    });
    expect(await cvm.refusal("DeleteSecurityGroupPolicies", remove([{ PolicyIndex: 0 }], "2"))).toBe(
      "UnsupportedOperation.VersionMismatch",
    );
    await cvm.call("DeleteSecurityGroupPolicies", remove([{ PolicyIndex: 0 }], "3"));
    await cvm.call("DeleteSecurityGroupPolicies", remove([tcp("443")]));
    expect((await read(id)).Ingress).toMatchObject([{ PolicyIndex: 0, Port: "22" }]);
    expect(await cvm.refusal("DeleteSecurityGroupPolicies", remove([tcp("443")]))).toBe("InvalidParameterValue");
    expect(await cvm.refusal("CreateSecurityGroupPolicies", remove([tcp("22", { CidrBlock: "10.0.0.7/32" })]))).toBe(
      "UnsupportedOperation.DuplicatePolicy",
    );
    await cvm.call("ModifySecurityGroupPolicies", {
      SecurityGroupId: id,
      SecurityGroupPolicySet: { Ingress: [tcp("8000-8010")], Egress: [] },
    });
    expect(await read(id)).toMatchObject({ Ingress: [{ Port: "8000-8010" }], Egress: [] });
    await cvm.call("ModifySecurityGroupPolicies", { SecurityGroupId: id, SecurityGroupPolicySet: { Version: "0" } });
    expect(await read(id)).toMatchObject({ Ingress: [], Egress: [] });
  });

  it("refuse what they could not keep", async () => {
    const id = await make();
    for (const [what, policy, code] of [
      ["no action", { CidrBlock: "0.0.0.0/0" }, "InvalidParameterValue"],
      ["nobody on the other side", { Action: "ACCEPT" }, "MissingParameter"],
      ["a port that is none", tcp("65536"), "InvalidParameterValue.Malformed"],
      [
        "ports of ICMP",
        { Action: "DROP", Protocol: "ICMP", Port: "8", CidrBlock: "10.0.0.0/8" },
        "InvalidParameterValue.Combination",
      ],
      [
        "a protocol that is none",
        { Action: "DROP", Protocol: "SCTP", CidrBlock: "10.0.0.0/8" },
        "InvalidParameterValue",
      ],
      ["a block that is none", tcp("80", { CidrBlock: "10.0.0.0/33" }), "InvalidParameterValue.Malformed"],
      ["a group that is not there", { Action: "ACCEPT", SecurityGroupId: "sg-00000000" }, "ResourceNotFound"],
      ["a group and a block", tcp("80", { SecurityGroupId: "sg-00000000" }), "InvalidParameter.Coexist"],
      ["IPv6", { Action: "ACCEPT", Ipv6CidrBlock: "::/0" }, "UnsupportedOperation"],
      ["a template", { Action: "ACCEPT", AddressTemplate: { AddressId: "ipm-00000000" } }, "UnsupportedOperation"],
    ] as const) {
      const parameters = { SecurityGroupId: id, SecurityGroupPolicySet: { Ingress: [policy] } };
      expect([what, await cvm.refusal("CreateSecurityGroupPolicies", parameters)]).toEqual([what, code]);
    }
    expect(await read(id)).toMatchObject({ Version: "0", Ingress: [] });
  });

  it("are told to their members' hosts at once, and to no others'", async () => {
    const [one, two] = [
      await readyHost(vstation, { shape: { cores: 1, memoryMiB: 1024, diskGiB: 50 } }),
      await readyHost(vstation),
    ];
    const [web, db] = [await make("web"), await make("db")];
    const net = await makeNet(cvm);
    const a = await runIn(cvm, net, { SecurityGroupIds: [web, db] });
    const b = await runIn(cvm, net, { SecurityGroupIds: [db] });
    await inState(vstation, [a, b], "RUNNING");
    const [hostA, hostB] = one.specs.has(a) ? [one, two] : [two, one];
    expect(nicOn(hostA, a)?.securityGroupIds).toEqual([web, db]);
    expect(hostB.network.securityGroups.map((group) => group.id)).toEqual([db]);
    const generation = hostB.wantedGeneration;
    await add(web, { Ingress: [tcp("22"), { Action: "ACCEPT", SecurityGroupId: db, Protocol: "ALL" }] });
    const rules = await until("the rules", () => {
      const group = hostA.network.securityGroups.find((each) => each.id === web);
      return group?.ingress.length === 2 ? group.ingress : undefined;
    });
    expect(rules).toEqual([
      { action: "accept", protocol: "tcp", ports: [{ from: 22, to: 22 }], peer: { cidr: "0.0.0.0/0" } },
      { action: "accept", protocol: "all", ports: null, peer: { groupId: db } },
    ]);
    expect(hostB.wantedGeneration).toBe(generation);
    // Membership, in order, live: on its own host as groups, on the others as who is meant by a group.
    await cvm.call("ModifyInstancesAttribute", { InstanceIds: [a], SecurityGroups: [db, web] });
    await until("the new order", () => nicOn(hostA, a)?.securityGroupIds[0] === db || undefined);
    await cvm.call("AssociateSecurityGroups", { InstanceIds: [b], SecurityGroupIds: [web] });
    await until("the new group", () => nicOn(hostB, b)?.securityGroupIds.includes(web as never) || undefined);
    const peerOf = (host: SimHost, name: string) => [...host.peers.values()].find((peer) => peer.name === name);
    await until("the member", () => peerOf(hostA, b)?.groupIds.includes(web as never) || undefined);
    await cvm.call("DisassociateSecurityGroups", { InstanceIds: [b], SecurityGroupIds: [web] });
    await until("the member's leave", () => peerOf(hostA, b)?.groupIds.length === 1 || undefined);
    expect(await cvm.refusal("DisassociateSecurityGroups", { InstanceIds: [b], SecurityGroupIds: [db] })).toBe(
      "FailedOperation.SecurityGroupActionFailed",
    );
    const { InstanceSet } = await cvm.call("DescribeInstances", {
      Filters: [{ Name: "security-group-id", Values: [web] }],
    });
    expect(InstanceSet).toMatchObject([{ InstanceId: a, SecurityGroupIds: [db, web] }]);
    const { SecurityGroupAssociationStatisticsSet: uses } = await cvm.call(
      "DescribeSecurityGroupAssociationStatistics",
      {
        SecurityGroupIds: [web, db],
      },
    );
    expect(
      Object.fromEntries(
        uses.map((use: { SecurityGroupId: string; CVM: number; SG: number }) => [
          use.SecurityGroupId,
          [use.CVM, use.SG],
        ]),
      ),
    ).toEqual({
      [web]: [1, 0],
      [db]: [2, 1],
    });
    expect(await cvm.refusal("DeleteSecurityGroup", { SecurityGroupId: db })).toBe("ResourceInUse");
    await cvm.call("TerminateInstances", { InstanceIds: [a, b] });
    await areGone(vstation, [a, b]);
    expect(await cvm.refusal("DeleteSecurityGroup", { SecurityGroupId: db })).toBe("ResourceInUse");
    await cvm.call("DeleteSecurityGroup", { SecurityGroupId: web });
    await cvm.call("DeleteSecurityGroup", { SecurityGroupId: db });
  });
});

describe("elastic addresses", () => {
  it("are bound to one instance after another, live, and are not lost when it ends", async () => {
    const host = await readyHost(vstation);
    const net = await makeNet(cvm);
    const [a, b] = [await runIn(cvm, net), await runIn(cvm, net)];
    await inState(vstation, [a, b], "RUNNING");
    const allocate = { AddressCount: 2, AddressName: "out", ClientToken: "t1", Tags: [{ Key: "k", Value: "v" }] };
    const { AddressSet } = await cvm.call("AllocateAddresses", allocate);
    expect((await cvm.call("AllocateAddresses", allocate)).AddressSet).toEqual(AddressSet);
    expect(await cvm.refusal("AllocateAddresses", { ...allocate, AddressCount: 1 })).toBe(
      "InvalidParameterCombination",
    );
    const [first, second] = AddressSet as [string, string];
    const { AddressSet: shown } = await cvm.call("DescribeAddresses", { AddressIds: [first] });
    const ip = shown[0].AddressIp as string;
    expect(shown[0]).toMatchObject({ AddressStatus: "UNBIND", AddressType: "EIP", InstanceId: "", Bandwidth: 1 });
    await cvm.call("ModifyAddressesBandwidth", { AddressIds: [first], InternetMaxBandwidthOut: 9 });
    const { AddressSet: both } = await cvm.call("DescribeAddresses", { AddressIds: [first, second] });
    expect(both.map(({ Bandwidth }: { Bandwidth: number }) => Bandwidth).toSorted()).toEqual([1, 9]);
    const unknown = { AddressIds: [second, "eip-00000000"], InternetMaxBandwidthOut: 9 };
    expect(await cvm.refusal("ModifyAddressesBandwidth", unknown)).toBe("InvalidAddressId.NotFound");
    await cvm.call("AssociateAddress", { AddressId: first, InstanceId: a });
    await until("the address on its host", () => nicOn(host, a)?.elasticIp === ip || undefined);
    expect(await cvm.refusal("AssociateAddress", { AddressId: first, InstanceId: b })).toBe(
      "InvalidAddressIdStatus.NotPermit",
    );
    expect(await cvm.refusal("AssociateAddress", { AddressId: second, InstanceId: a })).toBe(
      "InvalidInstanceId.AlreadyBindEip",
    );
    expect(await cvm.refusal("ReleaseAddresses", { AddressIds: [second, first] })).toBe(
      "InvalidAddressIdStatus.NotPermit",
    );
    const { InstanceSet } = await cvm.call("DescribeInstances", {
      Filters: [{ Name: "public-ip-address", Values: [ip] }],
    });
    expect(InstanceSet).toMatchObject([{ InstanceId: a, PublicIpAddresses: [ip] }]);
    await cvm.call("DisassociateAddress", { AddressId: first });
    await until("the address gone from its host", () => nicOn(host, a)?.elasticIp === null || undefined);
    expect(await cvm.refusal("DisassociateAddress", { AddressId: first })).toBe("InvalidAddressIdStatus.NotPermit");
    await cvm.call("AssociateAddress", { AddressId: first, InstanceId: b });
    await cvm.call("TerminateInstances", { InstanceIds: [b] });
    await areGone(vstation, [b]);
    const { AddressSet: after } = await cvm.call("DescribeAddresses", { AddressIds: [first] });
    expect(after[0]).toMatchObject({ AddressStatus: "UNBIND", AddressIp: ip, Bandwidth: 9 });
    await cvm.call("ReleaseAddresses", { AddressIds: [first, second] });
    expect(await cvm.refusal("ReleaseAddresses", { AddressIds: [first] })).toBe("InvalidAddressId.NotFound");
  });

  it("that come with an instance go with it, and when there are none left nothing is made", async () => {
    await readyHost(vstation, { shape: { cores: 40, memoryMiB: 65_536, diskGiB: 1_000 } });
    const net = await makeNet(cvm);
    const internet = { InternetAccessible: { InternetMaxBandwidthOut: 5, PublicIpAssigned: true } };
    const id = await runIn(cvm, net, internet);
    const { InstanceSet } = await cvm.call("DescribeInstances", { InstanceIds: [id] });
    expect(InstanceSet[0].InternetAccessible).toMatchObject({ InternetMaxBandwidthOut: 5, PublicIpAssigned: true });
    const [ip] = InstanceSet[0].PublicIpAddresses as [string];
    expect(ip).toMatch(/^10\.9\.1\./);
    expect((await cvm.call("DescribeAddresses")).TotalCount).toBe(0);
    const wan = { Filters: [{ Name: "address-type", Values: ["WanIP"] }] };
    const { AddressSet } = await cvm.call("DescribeAddresses", wan);
    const [{ AddressId }] = AddressSet as [{ AddressId: string }];
    expect(await cvm.refusal("DisassociateAddress", { AddressId })).toBe("InvalidAddressIdStatus.NotPermit");
    const without = await runIn(cvm, net);
    const bandwidth = (InstanceIds: string[], mbps: number, more: object = {}) => ({
      InstanceIds,
      InternetAccessible: { InternetMaxBandwidthOut: mbps },
      ...more,
    });
    await cvm.call("ResetInstancesInternetMaxBandwidth", bandwidth([id], 20));
    const shown = async () => (await cvm.call("DescribeInstances", { InstanceIds: [id] })).InstanceSet[0];
    expect((await shown()).InternetAccessible).toMatchObject({ InternetMaxBandwidthOut: 20, PublicIpAssigned: true });
    for (const [code, asked] of [
      ["FailedOperation.NotFoundEIP", bandwidth([id, without], 30)],
      ["InvalidInstanceId.NotFound", bandwidth([id, "ins-00000000"], 30)],
      ["InvalidParameterValue.Range", bandwidth([id], 0)],
      ["InvalidParameterValue.Range", bandwidth([id], 65_536)],
      ["UnsupportedOperation", bandwidth([id], 30, { StartTime: "2026-10-30" })],
    ] as const) {
      expect([code, await cvm.refusal("ResetInstancesInternetMaxBandwidth", asked)]).toEqual([code, code]);
    }
    expect((await shown()).InternetAccessible).toMatchObject({ InternetMaxBandwidthOut: 20 });
    await terminate(vstation.native, [without]);
    await areGone(vstation, [without]);
    // 14 addresses in the pool; one is taken.
    const many = { ...internet, InstanceCount: 14, MinCount: 14 };
    await expect(runIn(cvm, net, many)).rejects.toMatchObject({ code: "ResourceInsufficient" });
    expect(await vstation.sql("select id from instance where deleted_at is null")).toHaveLength(1);
    await runIn(cvm, net, { ...internet, InstanceCount: 13, MinCount: 13 });
    expect(await cvm.refusal("AllocateAddresses", {})).toBe("ResourceInsufficient");
    await cvm.call("TerminateInstances", { InstanceIds: [id] });
    await areGone(vstation, [id]);
    expect((await cvm.call("AllocateAddresses", {})).AddressSet).toHaveLength(1);
  });
});

describe("another account", () => {
  it("sees nothing of it, and gets networks of its own", async () => {
    const host = await readyHost(vstation);
    const other = new CvmCaller(await otherAccount(vstation, "other"));
    const net = await makeNet(cvm);
    const { SecurityGroup } = await cvm.call("CreateSecurityGroup", { GroupName: "g", GroupDescription: "" });
    const { AddressSet } = await cvm.call("AllocateAddresses", {});
    const { NatGatewaySet } = await cvm.call("CreateNatGateway", { NatGatewayName: "n", VpcId: net.vpcId });
    const { RouteTable } = await cvm.call("CreateRouteTable", { VpcId: net.vpcId, RouteTableName: "r" });
    const [sg, eip, nat, rtb] = [
      SecurityGroup.SecurityGroupId as string,
      AddressSet[0] as string,
      NatGatewaySet[0].NatGatewayId as string,
      RouteTable.RouteTableId as string,
    ];
    const mine = await runIn(cvm, net);
    const policies = {
      SecurityGroupId: sg,
      SecurityGroupPolicySet: { Ingress: [{ Action: "DROP", CidrBlock: "0.0.0.0/0" }] },
    };
    for (const [action, parameters, code] of [
      ["ModifyVpcAttribute", { VpcId: net.vpcId, VpcName: "x" }, "ResourceNotFound"],
      ["DeleteVpc", { VpcId: net.vpcId }, "ResourceNotFound"],
      ["CreateSubnet", { VpcId: net.vpcId, SubnetName: "x", CidrBlock: "10.1.2.0/24", Zone: zone }, "ResourceNotFound"],
      ["ModifySubnetAttribute", { SubnetId: net.subnetId, SubnetName: "x" }, "ResourceNotFound"],
      ["DeleteSubnet", { SubnetId: net.subnetId }, "ResourceNotFound"],
      ["DescribeUsedIpAddress", { VpcId: net.vpcId }, "ResourceNotFound"],
      ["CreateRouteTable", { VpcId: net.vpcId, RouteTableName: "x" }, "ResourceNotFound"],
      ["ModifyRouteTableAttribute", { RouteTableId: rtb, RouteTableName: "x" }, "ResourceNotFound"],
      ["DeleteRouteTable", { RouteTableId: rtb }, "ResourceNotFound"],
      ["ReplaceRouteTableAssociation", { RouteTableId: rtb, SubnetId: net.subnetId }, "ResourceNotFound"],
      [
        "CreateRoutes",
        { RouteTableId: rtb, Routes: [{ DestinationCidrBlock: "0.0.0.0/0", GatewayType: "NAT", GatewayId: nat }] },
        "ResourceNotFound",
      ],
      ["DeleteRoutes", { RouteTableId: rtb, Routes: [{ RouteId: 1 }] }, "ResourceNotFound"],
      ["CreateNatGateway", { NatGatewayName: "x", VpcId: net.vpcId }, "ResourceNotFound"],
      ["DeleteNatGateway", { NatGatewayId: nat }, "ResourceNotFound"],
      ["ModifySecurityGroupAttribute", { SecurityGroupId: sg, GroupName: "x" }, "ResourceNotFound"],
      ["DeleteSecurityGroup", { SecurityGroupId: sg }, "ResourceNotFound"],
      ["CreateSecurityGroupPolicies", policies, "ResourceNotFound"],
      ["DeleteSecurityGroupPolicies", policies, "ResourceNotFound"],
      ["DescribeSecurityGroupPolicies", { SecurityGroupId: sg }, "ResourceNotFound"],
      [
        "ModifySecurityGroupPolicies",
        { SecurityGroupId: sg, SecurityGroupPolicySet: { Version: "0" } },
        "ResourceNotFound",
      ],
      ["AssociateAddress", { AddressId: eip, InstanceId: mine }, "InvalidInstanceId.NotFound"],
      ["DisassociateAddress", { AddressId: eip }, "InvalidAddressId.NotFound"],
      ["ModifyAddressAttribute", { AddressId: eip, AddressName: "x" }, "InvalidAddressId.NotFound"],
      ["ModifyAddressesBandwidth", { AddressIds: [eip], InternetMaxBandwidthOut: 2 }, "InvalidAddressId.NotFound"],
      ["ReleaseAddresses", { AddressIds: [eip] }, "InvalidAddressId.NotFound"],
      ["ModifyInstancesAttribute", { InstanceIds: [mine], SecurityGroups: [sg] }, "InvalidInstanceId.NotFound"],
      ["AssociateSecurityGroups", { InstanceIds: [mine], SecurityGroupIds: [sg] }, "InvalidInstanceId.NotFound"],
      ["DisassociateSecurityGroups", { InstanceIds: [mine], SecurityGroupIds: [sg] }, "InvalidInstanceId.NotFound"],
    ] as const) {
      expect([action, await other.refusal(action, parameters)]).toEqual([action, code]);
    }
    for (const [action, parameters, set] of [
      ["DescribeVpcs", { VpcIds: [net.vpcId] }, "VpcSet"],
      ["DescribeSubnets", { SubnetIds: [net.subnetId] }, "SubnetSet"],
      ["DescribeRouteTables", { RouteTableIds: [rtb] }, "RouteTableSet"],
      ["DescribeSecurityGroups", { SecurityGroupIds: [sg] }, "SecurityGroupSet"],
      [
        "DescribeSecurityGroupAssociationStatistics",
        { SecurityGroupIds: [sg] },
        "SecurityGroupAssociationStatisticsSet",
      ],
      ["DescribeNatGateways", { NatGatewayIds: [nat] }, "NatGatewaySet"],
      ["DescribeAddresses", { AddressIds: [eip] }, "AddressSet"],
    ] as const) {
      expect([action, (await other.call(action, parameters))[set]]).toEqual([action, []]);
    }
    const launch = { Placement: { Zone: zone }, ImageId: "img-test0001", InstanceType: "T1.SMALL1" };
    expect(await other.refusal("RunInstances", { ...launch, SecurityGroupIds: [sg] })).toBe(
      "InvalidSecurityGroupId.NotFound",
    );
    const foreign = { VirtualPrivateCloud: { VpcId: net.vpcId, SubnetId: net.subnetId } };
    expect(await other.refusal("RunInstances", { ...launch, ...foreign })).toBe("InvalidParameterValue.SubnetNotExist");
    // Without a word about networks it gets a default one of its own, once however many ask at once.
    const made = await Promise.all([1, 2, 3].map(() => other.call("RunInstances", launch)));
    const theirs = made.map((answer) => answer.InstanceIdSet[0] as InstanceId);
    await inState(vstation, theirs, "RUNNING");
    const { VpcSet } = await other.call("DescribeVpcs");
    expect(VpcSet).toMatchObject([{ IsDefault: true, CidrBlock: "172.16.0.0/16" }]);
    expect((await other.call("DescribeSecurityGroups")).SecurityGroupSet).toMatchObject([{ IsDefault: true }]);
    const ids = theirs.map((id) => nicOn(host, id)?.subnetId);
    expect(new Set(ids).size).toBe(1);
    expect(ids[0]).not.toBe("subnet-test0001");
  });
});
