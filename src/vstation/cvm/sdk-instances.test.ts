/** Instances through the official SDK, with all that it can say of them; the `Cloud` is a fake: wire rules only. */
import { describe, expect, it } from "vitest";
import { testImage, testKey, testSubnet } from "./cloud.fake.ts";
import { minimal, sdkForAll } from "./sdk.fake.ts";

const { calls, client } = await sdkForAll();

describe("instances", () => {
  it("are run with all that is offered, and read back at once", async () => {
    calls.length = 0;
    const { InstanceIdSet = [] } = await client.RunInstances({
      ...minimal,
      Placement: { Zone: "lab-1", ProjectId: 0 },
      InstanceChargeType: "POSTPAID_BY_HOUR",
      InstanceCount: 3,
      MinCount: 2,
      InstanceName: "web-{R:1,F:3} 🚀 世界",
      HostName: "web-{R:1}.example",
      SystemDisk: { DiskType: "CLOUD_PREMIUM", DiskSize: 20 },
      LoginSettings: { KeyIds: ["skey-00000001"] },
      DisasterRecoverGroupIds: ["ps-00000001"],
      TagSpecification: [{ ResourceType: "instance", Tags: [{ Key: "team", Value: "a" }] }],
      UserData: Buffer.from("#!/bin/sh\n").toString("base64"),
      DisableApiTermination: true,
      VirtualPrivateCloud: {
        VpcId: testSubnet.vpcId,
        SubnetId: testSubnet.id,
        PrivateIpAddresses: ["10.0.0.7", "10.0.0.8", "10.0.0.9"],
      },
      SecurityGroupIds: ["sg-00000002", "sg-00000001"],
      InternetAccessible: {
        InternetMaxBandwidthOut: 5,
        PublicIpAssigned: true,
        InternetChargeType: "TRAFFIC_POSTPAID_BY_HOUR",
      },
      EnhancedService: { SecurityService: { Enabled: true } },
      ClientToken: "token-1",
    });
    expect(InstanceIdSet).toHaveLength(3);
    expect(calls).toHaveLength(1);
    expect(calls[0]?.args).toEqual([
      { accountId: testKey.accountId, requestId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string },
      {
        zone: "lab-1",
        instanceType: "T1.SMALL1",
        imageId: testImage,
        count: 3,
        login: null,
        minCount: 2,
        name: "web-{R:1,F:3} 🚀 世界",
        hostname: "web-{R:1}.example",
        systemDiskGiB: 20,
        cpuTopology: null,
        systemDiskType: "CLOUD_PREMIUM",
        dataDisks: [],
        keyIds: ["skey-00000001"],
        groupId: "ps-00000001",
        network: { vpcId: testSubnet.vpcId, subnetId: testSubnet.id },
        addresses: ["10.0.0.7", "10.0.0.8", "10.0.0.9"],
        securityGroupIds: ["sg-00000002", "sg-00000001"],
        publicAddress: { bandwidthMbps: 5 },
        userData: "IyEvYmluL3NoCg==",
        restartPolicy: "always",
        terminationProtection: true,
        tags: { team: "a" },
        clientToken: "token-1",
        dryRun: false,
      },
    ]);
    const { InstanceSet, TotalCount } = await client.DescribeInstances({ InstanceIds: InstanceIdSet });
    expect(TotalCount).toBe(3);
    expect(InstanceSet?.[0]).toMatchObject({
      InstanceId: InstanceIdSet[0],
      InstanceName: "web-{R:1,F:3} 🚀 世界",
      InstanceState: "PENDING",
      CreatedTime: "2026-01-02T03:04:05Z",
      CPU: 1,
      Memory: 1,
    });
    expect(await client.DescribeInstancesStatus({ InstanceIds: InstanceIdSet, Limit: 2, Offset: 1 })).toMatchObject({
      TotalCount: 3,
      InstanceStatusSet: [
        { InstanceId: InstanceIdSet[1], InstanceState: "PENDING" },
        { InstanceId: InstanceIdSet[2], InstanceState: "PENDING" },
      ],
    });
    expect(
      await client.DescribeInstancesAttributes({ InstanceIds: InstanceIdSet, Attributes: ["UserData"] }),
    ).toMatchObject({
      InstanceSet: InstanceIdSet.map((id) => ({ InstanceId: id, Attributes: { UserData: "IyEvYmluL3NoCg==" } })),
    });
  });

  it("show everything that clients dereference without looking", async () => {
    const { InstanceIdSet = [] } = await client.RunInstances(minimal);
    const { InstanceSet } = await client.DescribeInstances({ InstanceIds: InstanceIdSet, Limit: 7 });
    expect(calls.at(-1)?.args[2]).toEqual({ offset: 0, limit: 7 });
    expect(JSON.stringify(InstanceSet)).not.toContain("null");
    expect(InstanceSet?.[0]).toMatchObject({
      InstanceChargeType: "POSTPAID_BY_HOUR",
      Placement: { Zone: "lab-1" },
      InternetAccessible: {},
      VirtualPrivateCloud: { VpcId: testSubnet.vpcId, SubnetId: testSubnet.id },
      SystemDisk: { DiskType: "LOCAL_BASIC", DiskSize: 50, DiskId: expect.stringMatching(/^disk-/) as string },
      LoginSettings: {},
      LatestOperationState: "SUCCESS",
      DataDisks: [],
      Tags: [],
    });
  });

  it("answer a dry run with nothing but a request id, and create nothing", async () => {
    const before = (await client.DescribeInstances({})).TotalCount;
    const answer = await client.RunInstances({ ...minimal, DryRun: true });
    expect(Object.keys(answer)).toEqual(["RequestId"]);
    expect((await client.DescribeInstances({})).TotalCount).toBe(before);
  });

  it("are the same for the same client token, and refuse it for another request", async () => {
    const first = await client.RunInstances({ ...minimal, ClientToken: "token-2" });
    const again = await client.RunInstances({ ...minimal, ClientToken: "token-2" });
    expect(again.InstanceIdSet).toEqual(first.InstanceIdSet);
    expect(again.RequestId).not.toBe(first.RequestId);
    const other = client.RunInstances({ ...minimal, ClientToken: "token-2", InstanceCount: 2 });
    await expect(other).rejects.toMatchObject({ code: "InvalidParameterCombination" });
  });

  it("pass every documented filter on in our own nouns", async () => {
    const queryOf = async (Filters: { Name: string; Values: string[] }[]): Promise<unknown> => {
      calls.length = 0;
      await client.DescribeInstances({ Filters, Offset: 1, Limit: 7 });
      return calls[0]?.args[1];
    };
    expect(
      await queryOf([
        { Name: "zone", Values: ["lab-1", "lab-2"] },
        { Name: "instance-state", Values: ["RUNNING", "SHUTDOWN"] },
        { Name: "instance-name", Values: ["a"] },
        { Name: "tag:team", Values: ["x", "y"] },
        { Name: "tag:env", Values: ["z"] },
        { Name: "project-id", Values: ["0"] },
        { Name: "creation-start-time", Values: ["2026-01-03", "2026-01-01 00:00:00"] },
        { Name: "creation-end-time", Values: ["2026-01-01 00:00:00", "2026-01-02T00:00:00+08:00"] },
      ]),
    ).toEqual({
      zones: ["lab-1", "lab-2"],
      states: ["RUNNING"],
      names: ["a"],
      tags: { team: ["x", "y"], env: ["z"] },
      createdFrom: new Date("2026-01-01T00:00:00Z"),
      createdTo: new Date("2026-01-01T16:00:00Z"),
    });
    expect(
      await queryOf([
        { Name: "instance-id", Values: ["ins-00000001", "no id"] },
        { Name: "host-id", Values: ["host-00000001"] },
        { Name: "uuid", Values: ["u"] },
        { Name: "vpc-id", Values: ["v"] },
        { Name: "subnet-id", Values: ["s"] },
        { Name: "private-ip-address", Values: ["10.0.0.1"] },
        { Name: "tag-key", Values: ["k"] },
        { Name: "tag-value", Values: ["v"] },
        { Name: "instance-charge-type", Values: ["PREPAID", "POSTPAID_BY_HOUR"] },
      ]),
    ).toEqual({
      ids: ["ins-00000001"],
      hostIds: ["host-00000001"],
      uuids: ["u"],
      vpcIds: ["v"],
      subnetIds: ["s"],
      ips: ["10.0.0.1"],
      tagKeys: ["k"],
      tagValues: ["v"],
    });
    expect(
      await queryOf([
        { Name: "public-ip-address", Values: ["10.9.0.1"] },
        { Name: "security-group-id", Values: ["g"] },
      ]),
    ).toEqual({ elasticIps: ["10.9.0.1"], securityGroupIds: ["g"] });
    for (const Name of ["ipv6-address", "dedicated-cluster-id", "host-id", "instance-id"]) {
      expect([Name, await queryOf([{ Name, Values: ["what no instance has"] }])]).toEqual([Name, undefined]);
    }
  });

  it("that are not there are an empty set to read, and an error to change", async () => {
    const InstanceIds = ["ins-00000000"];
    expect(await client.DescribeInstances({ InstanceIds })).toMatchObject({ TotalCount: 0, InstanceSet: [] });
    expect(await client.DescribeInstancesStatus({ InstanceIds })).toMatchObject({ TotalCount: 0 });
    for (const change of [
      () => client.StartInstances({ InstanceIds }),
      () => client.StopInstances({ InstanceIds }),
      () => client.RebootInstances({ InstanceIds }),
      () => client.TerminateInstances({ InstanceIds }),
      () => client.ModifyInstancesAttribute({ InstanceIds, InstanceName: "x" }),
    ]) {
      await expect(change()).rejects.toMatchObject({ code: "InvalidInstanceId.NotFound" });
    }
  });

  it("are stopped, rebooted, started, renamed and terminated", async () => {
    const { InstanceIdSet: InstanceIds = [] } = await client.RunInstances({ ...minimal, InstanceCount: 2 });
    const last = (): unknown[] => [calls.at(-1)?.name, ...(calls.at(-1)?.args.slice(1) ?? [])];
    await client.StopInstances({ InstanceIds });
    expect(last()).toEqual(["instances.stop", InstanceIds, "soft"]);
    await client.StopInstances({ InstanceIds, ForceStop: true, StoppedMode: "KEEP_CHARGING" });
    expect(last()).toEqual(["instances.stop", InstanceIds, "soft_first"]);
    await client.StopInstances({ InstanceIds, StopType: "HARD" });
    expect(last()).toEqual(["instances.stop", InstanceIds, "hard"]);
    await client.RebootInstances({ InstanceIds, StopType: "SOFT_FIRST" });
    expect(last()).toEqual(["instances.reboot", InstanceIds, "soft_first"]);
    await client.StartInstances({ InstanceIds });
    expect(last()).toEqual(["instances.start", InstanceIds]);
    await client.ModifyInstancesAttribute({ InstanceIds, InstanceName: "new 🙂" });
    expect(last()).toEqual(["instances.modify", InstanceIds, { kind: "name", name: "new 🙂" }]);
    await client.ModifyInstancesAttribute({ InstanceIds, DisableApiTermination: false });
    expect(last()).toEqual(["instances.modify", InstanceIds, { kind: "terminationProtection", on: false }]);
    await client.ModifyInstancesAttribute({ InstanceIds, UserData: "YQ==" });
    expect(last()).toEqual(["instances.modify", InstanceIds, { kind: "userData", userData: "YQ==" }]);
    await client.TerminateInstances({ InstanceIds, ReleaseAddress: true });
    expect(await client.DescribeInstances({ InstanceIds })).toMatchObject({ TotalCount: 0 });
  });
});
