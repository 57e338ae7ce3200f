/**
 * What Terraform's provider `tencentcloud` sends to make, read, change and remove an instance with its network and its key, replayed
 * in the provider's order (support/terraform.ts) through the official SDK and in the form in which the Go SDK signs: real PostgreSQL,
 * a real VStation, simulated hosts. Every answer is checked for what the provider dereferences without looking
 * (support/never-null.ts), and what is read back must be what was asked for: anything else is a plan that never comes to rest.
 *
 * Not in the sequence: the actions about billing, and what the provider does with prepaid instances; VStation does not offer them.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { newPublicKey } from "../faults/awaits/public-key.ts";
import type { ApiKey } from "../../bench/cloud.ts";
import { CvmCaller, type Answer } from "./support/cvm.ts";
import { GoClient } from "./support/go-client.ts";
import { readyHost, zone } from "./support/network.ts";
import { TestPostgres } from "./support/postgres.ts";
import { Terraform, type Api } from "./support/terraform.ts";
import { imageId, TestVstation } from "./support/vstation.ts";

const postgres = new TestPostgres();
let vstation: TestVstation;

beforeAll(async () => {
  await postgres.start();
  vstation = await TestVstation.create(postgres);
  await vstation.start();
  await readyHost(vstation);
}, 180_000);
afterAll(async () => {
  await vstation.close();
  await postgres.close();
});

const base64 = (text: string): string => Buffer.from(text).toString("base64");

describe.each<[string, string, (key: ApiKey) => Api]>([
  ["the official SDK", "node", (key) => new CvmCaller(key)],
  ["the Go SDK's form", "go", (key) => new GoClient(key)],
])("the provider's calls, by %s", (_, way, client) => {
  it("find nothing by ids that nothing has, and are not refused for it", async () => {
    const terraform = new Terraform(client(vstation.credentials));
    expect(await terraform.readInstance("ins-00000000")).toBeUndefined();
    expect(await terraform.readVpc("vpc-00000000")).toBeUndefined();
    expect(await terraform.readSubnet("subnet-00000000")).toBeUndefined();
    expect(await terraform.readSecurityGroup("sg-00000000")).toBeUndefined();
    expect(await terraform.readRules("sg-00000000")).toBeUndefined();
    expect(await terraform.readKeyPair("skey-00000000")).toBeUndefined();
  });

  it("make an instance with its network and its key, change all of it in place, and leave nothing behind", async () => {
    const terraform = new Terraform(client(vstation.credentials));
    const before = await everythingThere();
    const tags = { team: "a", tier: "web" };

    const publicKey = newPublicKey();
    const key = await terraform.createKeyPair(`${way}_1`, publicKey, tags);
    const otherKey = await terraform.createKeyPair(`${way}_2`, newPublicKey(), tags);
    expect(await terraform.readKeyPair(key)).toMatchObject({ KeyName: `${way}_1`, PublicKey: publicKey, tags });
    const vpc = await terraform.createVpc("net", "10.7.0.0/16", tags);
    const shownVpc = await terraform.readVpc(vpc);
    expect(shownVpc).toMatchObject({ VpcName: "net", CidrBlock: "10.7.0.0/16", EnableMulticast: false, tags });
    const subnet = await terraform.createSubnet(vpc, "front", "10.7.1.0/24", tags);
    expect(await terraform.readSubnet(subnet)).toMatchObject({
      VpcId: vpc,
      SubnetName: "front",
      CidrBlock: "10.7.1.0/24",
      RouteTableId: shownVpc?.["mainTable"],
      Zone: zone,
      EnableBroadcast: true,
      tags,
    });
    const group = await terraform.createSecurityGroup("web", tags);
    const otherGroup = await terraform.createSecurityGroup("db", tags);
    expect(await terraform.readSecurityGroup(group)).toMatchObject({ SecurityGroupName: "web", ProjectId: "0", tags });
    const ingress = [
      { Action: "ACCEPT", CidrBlock: "0.0.0.0/0", Protocol: "TCP", Port: "80,443" },
      { Action: "ACCEPT", CidrBlock: "10.7.0.0/16", Protocol: "UDP", Port: "5000-6000" },
      { Action: "DROP", SecurityGroupId: otherGroup, Protocol: "ALL", Port: "ALL" },
    ];
    const egress = [{ Action: "ACCEPT", CidrBlock: "0.0.0.0/0", Protocol: "ALL", Port: "ALL" }];
    await terraform.setRules(group, ingress, egress);
    expect(await terraform.readRules(group)).toMatchObject({ Ingress: ingress, Egress: egress });

    await terraform.setRules(otherGroup, ingress.slice(0, 1), []);
    expect(await terraform.readRules(otherGroup)).toMatchObject({ Ingress: ingress.slice(0, 1), Egress: [] });
    await terraform.removeRules(group, ingress.slice(1, 2));
    expect(await terraform.readRules(group)).toMatchObject({ Ingress: [ingress[0], ingress[2]], Egress: egress });

    const id = await terraform.createInstance(
      {
        InstanceName: "one",
        InstanceType: "T1.SMALL1",
        VirtualPrivateCloud: { VpcId: vpc, SubnetId: subnet },
        SecurityGroupIds: [group],
        SystemDisk: { DiskType: "CLOUD_PREMIUM", DiskSize: 10 },
        DataDisks: [
          { DiskType: "CLOUD_SSD", DiskSize: 10, ThroughputPerformance: 0, DeleteWithInstance: true, Encrypt: false },
        ],
        LoginSettings: { KeyIds: [key] },
        UserData: base64("#!/bin/sh\ntrue\n"),
      },
      tags,
    );
    const made = await terraform.readInstance(id);
    expect(made).toMatchObject({
      InstanceName: "one",
      InstanceState: "RUNNING",
      InstanceType: "T1.SMALL1",
      InstanceChargeType: "POSTPAID_BY_HOUR",
      ImageId: imageId,
      Placement: { Zone: zone, ProjectId: 0 },
      InternetAccessible: { InternetMaxBandwidthOut: 0 },
      PublicIpAddresses: [],
      VirtualPrivateCloud: { VpcId: vpc, SubnetId: subnet },
      SecurityGroupIds: [group],
      SystemDisk: { DiskType: "CLOUD_PREMIUM", DiskSize: 10 },
      LoginSettings: { KeyIds: [key] },
      DisableApiTermination: false,
      userData: base64("#!/bin/sh\ntrue\n"),
      tags,
    });
    // The two services say the same of the same disks.
    const both = (disk: Answer | undefined) => [disk?.["DiskId"], disk?.["DiskType"], disk?.["DiskSize"]];
    expect(both(made?.["systemDisk"])).toEqual(both(made?.["SystemDisk"]));
    expect(made?.["DataDisks"]).toHaveLength(1);
    const data = made?.["DataDisks"][0] as Answer;
    const { DiskId, DiskType, DiskSize, DeleteWithInstance, Encrypt, ThroughputPerformance } = data;
    expect({ DiskType, DiskSize, DeleteWithInstance, Encrypt, ThroughputPerformance }).toEqual({
      DiskType: "CLOUD_SSD",
      DiskSize: 10,
      DeleteWithInstance: true,
      Encrypt: false,
      ThroughputPerformance: 0,
    });
    expect(made?.["dataDisks"]).toMatchObject([
      { DiskId, DiskType, DiskSize, DeleteWithInstance, Encrypt, ThroughputPerformance, DiskState: "ATTACHED" },
    ]);

    await terraform.modifyInstance(id, { InstanceName: "two" });
    await terraform.modifyInstance(id, { SecurityGroups: [otherGroup, group] });
    await terraform.replaceKey(id, key, otherKey);
    await terraform.changeDataDisk(DiskId as string, 20, "data");
    await terraform.stop(id);
    expect(await terraform.readInstance(id)).toMatchObject({ InstanceState: "STOPPED" });
    await terraform.start(id);
    await terraform.growSystemDisk(id, 20, "CLOUD_PREMIUM");
    await terraform.changeType(id, "T1.MEDIUM2");
    await terraform.changeTags(id, { team: "b", env: "test" }, ["tier"]);
    await terraform.changeUserData(id, base64("#!/bin/sh\nfalse\n"));
    expect(await terraform.readInstance(id)).toMatchObject({
      InstanceName: "two",
      InstanceState: "RUNNING",
      InstanceType: "T1.MEDIUM2",
      CPU: 2,
      Memory: 2,
      VirtualPrivateCloud: { VpcId: vpc, SubnetId: subnet },
      PrivateIpAddresses: made?.["PrivateIpAddresses"],
      SecurityGroupIds: [otherGroup, group],
      SystemDisk: { DiskId: made?.["SystemDisk"].DiskId, DiskType: "CLOUD_PREMIUM", DiskSize: 20 },
      systemDisk: { DiskType: "CLOUD_PREMIUM", DiskSize: 20 },
      DataDisks: [{ DiskId, DiskSize: 20 }],
      dataDisks: [{ DiskId, DiskSize: 20, DiskName: "data" }],
      LoginSettings: { KeyIds: [otherKey] },
      userData: base64("#!/bin/sh\nfalse\n"),
      tags: { team: "b", env: "test" },
    });

    await terraform.modifyInstance(id, { HostName: "web-1" });
    await terraform.readInstance(id);
    await terraform.modifyInstance(id, { DisableApiTermination: true });
    expect(await terraform.readInstance(id)).toMatchObject({ DisableApiTermination: true });
    await terraform.modifyInstance(id, { DisableApiTermination: false });
    await terraform.reset(id, [otherKey]);
    expect(await terraform.readInstance(id)).toMatchObject({
      InstanceState: "RUNNING",
      LatestOperationState: "SUCCESS",
      DisableApiTermination: false,
      SystemDisk: { DiskType: "CLOUD_PREMIUM", DiskSize: 20 },
      systemDisk: { DiskType: "CLOUD_PREMIUM", DiskSize: 20 },
      DataDisks: [{ DiskId, DiskSize: 20 }],
      LoginSettings: { KeyIds: [otherKey] },
      tags: { team: "b", env: "test" },
    });

    const farVpc = await terraform.createVpc("far", "10.8.0.0/16", tags);
    const farSubnet = await terraform.createSubnet(farVpc, "far", "10.8.1.0/24", tags);
    await terraform.changeNetwork(id, farVpc, farSubnet, "10.8.1.20");
    await terraform.changeTags(id, { team: "c", env: "test" }, []);
    await terraform.changeUserData(id, base64("#!/bin/sh\ntrue\n"));
    expect(await terraform.readInstance(id)).toMatchObject({
      InstanceState: "RUNNING",
      LatestOperationState: "SUCCESS",
      VirtualPrivateCloud: { VpcId: farVpc, SubnetId: farSubnet },
      PrivateIpAddresses: ["10.8.1.20"],
      SecurityGroupIds: [otherGroup, group],
      tags: { team: "c", env: "test" },
    });

    await terraform.changeVpc(vpc, "net2", { team: "b" });
    expect(await terraform.readVpc(vpc)).toMatchObject({ VpcName: "net2", tags: { team: "b", tier: "web" } });
    await terraform.changeSubnet(subnet, "back", { team: "b" });
    expect(await terraform.readSubnet(subnet)).toMatchObject({ SubnetName: "back", tags: { team: "b", tier: "web" } });
    await terraform.changeSecurityGroup(group, "web2", { team: "b" });
    expect(await terraform.readSecurityGroup(group)).toMatchObject({ SecurityGroupName: "web2" });

    await terraform.deleteInstance(id);
    const api = client(vstation.credentials);
    await api.call("DeleteSubnet", { SubnetId: subnet });
    await api.call("DeleteSubnet", { SubnetId: farSubnet });
    await api.call("DeleteVpc", { VpcId: farVpc });
    // The other group is named by this one's policies, so this one goes first.
    await terraform.deleteSecurityGroup(group);
    await terraform.deleteSecurityGroup(otherGroup);
    await api.call("DeleteVpc", { VpcId: vpc });
    await terraform.deleteKeyPair(key);
    await terraform.deleteKeyPair(otherKey);
    expect(await everythingThere()).toEqual(before);
    expect(vstation.errors).toEqual([]);
  }, 600_000);
});

it("the provider changes all of an instance in one apply: what waits for nothing meets what is still on its way", async () => {
  const api = new CvmCaller(vstation.credentials);
  const terraform = new Terraform(api);
  const tags = { team: "a" };
  const [vpc, farVpc] = [
    await terraform.createVpc("n", "10.7.0.0/16", tags),
    await terraform.createVpc("f", "10.8.0.0/16", tags),
  ];
  const subnet = await terraform.createSubnet(vpc, "near", "10.7.1.0/24", tags);
  const farSubnet = await terraform.createSubnet(farVpc, "far", "10.8.1.0/24", tags);
  const [group, otherGroup] = [
    await terraform.createSecurityGroup("a", tags),
    await terraform.createSecurityGroup("b", tags),
  ];
  const id = await terraform.createInstance(
    {
      InstanceName: "one",
      InstanceType: "T1.SMALL1",
      VirtualPrivateCloud: { VpcId: vpc, SubnetId: subnet },
      SecurityGroupIds: [group],
      InternetAccessible: { InternetMaxBandwidthOut: 1, PublicIpAssigned: true },
      SystemDisk: { DiskType: "CLOUD_PREMIUM", DiskSize: 10 },
      DataDisks: [{ DiskType: "CLOUD_SSD", DiskSize: 10, DeleteWithInstance: true }],
    },
    tags,
  );
  const before = await terraform.readInstance(id);
  const disk = before?.["DataDisks"][0].DiskId as string;
  await terraform.modifyInstance(id, { InstanceName: "two" });
  await terraform.modifyInstance(id, { DisableApiTermination: true });
  await terraform.modifyInstance(id, { SecurityGroups: [otherGroup] });
  await terraform.changeDataDisk(disk, 20, "data");
  await terraform.growSystemDisk(id, 20, "CLOUD_PREMIUM");
  await terraform.changeType(id, "T1.MEDIUM2");
  await terraform.changeNetwork(id, farVpc, farSubnet, "10.8.1.30");
  await terraform.changeTags(id, { team: "b" }, []);
  await terraform.changeBandwidth(id, 50);
  await terraform.changeUserData(id, base64("#!/bin/sh\ntrue\n"));
  expect(await terraform.readInstance(id)).toMatchObject({
    InstanceName: "two",
    InstanceState: "RUNNING",
    InstanceType: "T1.MEDIUM2",
    DisableApiTermination: true,
    VirtualPrivateCloud: { VpcId: farVpc, SubnetId: farSubnet },
    PrivateIpAddresses: ["10.8.1.30"],
    PublicIpAddresses: before?.["PublicIpAddresses"],
    InternetAccessible: { InternetMaxBandwidthOut: 50, PublicIpAssigned: true },
    SecurityGroupIds: [otherGroup],
    SystemDisk: { DiskSize: 20 },
    DataDisks: [{ DiskId: disk, DiskSize: 20 }],
    dataDisks: [{ DiskName: "data" }],
    userData: base64("#!/bin/sh\ntrue\n"),
    tags: { team: "b" },
  });
  await terraform.modifyInstance(id, { DisableApiTermination: false });
  await terraform.deleteInstance(id);
  for (const each of [group, otherGroup]) await terraform.deleteSecurityGroup(each);
  for (const SubnetId of [subnet, farSubnet]) await api.call("DeleteSubnet", { SubnetId });
  for (const VpcId of [vpc, farVpc]) await api.call("DeleteVpc", { VpcId });
  expect(vstation.errors).toEqual([]);
}, 600_000);

/** What VStation keeps of everything that the sequence makes. */
async function everythingThere(): Promise<object> {
  const ids = async (what: string) => (await vstation.sql<{ id: string }>(what)).map(({ id }) => id).toSorted();
  return {
    instances: await ids("select id from instance where deleted_at is null"),
    disks: await ids("select id from disk where deleted_at is null"),
    vpcs: await ids("select id from vpc"),
    subnets: await ids("select id from subnet"),
    tables: await ids("select id from route_table"),
    groups: await ids("select id from security_group"),
    keys: await ids("select id from key_pair"),
    tags: await ids("select resource_id as id from tag"),
  };
}
