/** Every offered action through the official, unmodified SDK against a server with a fake `Cloud`: wire rules only. */
import { cbs } from "tencentcloud-sdk-nodejs/tencentcloud/services/cbs/index.js";
import { cvm } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/index.js";
import { tag } from "tencentcloud-sdk-nodejs/tencentcloud/services/tag/index.js";
import { vpc } from "tencentcloud-sdk-nodejs/tencentcloud/services/vpc/index.js";
import { CommonClient } from "tencentcloud-sdk-nodejs/tencentcloud/common/common_client.js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { failure } from "../../core/failure-codes.ts";
import { actions, offered } from "./actions.ts";
import { serviceOf, services, type Service } from "./known-actions/known-actions.ts";
import { fakeCloud, testImage, testKey, testPlace, testSubnet } from "./cloud.fake.ts";
import { serveFake, type TestServer } from "./testing.ts";

const { Client } = cvm.v20170312;
const { cloud, calls, state } = fakeCloud();
let server: TestServer;
let client: InstanceType<typeof Client>;

function clientOf(options: { reqMethod?: "GET" | "POST"; path?: string; secretKey?: string; region?: string } = {}) {
  const { secretId, secretKey } = testKey;
  return new Client({
    credential: { secretId, secretKey: options.secretKey ?? secretKey },
    region: options.region ?? testPlace.region,
    profile: {
      httpProfile: {
        endpoint: `127.0.0.1:${server.port}${options.path ?? ""}`,
        protocol: "http://",
        reqMethod: options.reqMethod ?? "POST",
      },
    },
  });
}

function commonClient(version: string): CommonClient {
  const { secretId, secretKey } = testKey;
  return new CommonClient(`127.0.0.1:${server.port}`, version, {
    credential: { secretId, secretKey },
    region: testPlace.region,
    profile: { httpProfile: { protocol: "http://" } },
  });
}

beforeAll(async () => {
  // The SDK obeys it even for loopback.
  delete process.env["http_proxy"];
  delete process.env["HTTP_PROXY"];
  server = await serveFake(cloud);
  client = clientOf();
});
afterAll(() => server.close());

const minimal = { Placement: { Zone: "lab-1" }, ImageId: testImage, InstanceType: "T1.SMALL1" };

describe("the tables", () => {
  it.each([
    ["cvm", Client.prototype, 106],
    ["vpc", vpc.v20170312.Client.prototype, 448],
    ["cbs", cbs.v20170312.Client.prototype, 61],
    ["tag", tag.v20180813.Client.prototype, 31],
  ] as const)("know exactly the actions of the SDK: %s", (service, prototype, count) => {
    const methods = Object.getOwnPropertyNames(prototype).filter((name) => name !== "constructor");
    expect(services[service].actions).toEqual(methods.toSorted());
    expect(methods).toHaveLength(count);
  });

  it("have no name twice, in one service or in two", () => {
    const names = Object.values(services).flatMap(({ actions: all }): string[] => [...all]);
    expect(new Set(names).size).toBe(names.length);
  });

  it("offer each action once, in its own service", () => {
    const names = actions.map((action) => action.name);
    expect(new Set(names).size).toBe(names.length);
    for (const [service, its] of Object.entries(offered)) {
      expect(its.filter(({ name }) => serviceOf(name) !== service)).toEqual([]);
    }
  });
});

describe("places and types", () => {
  it("tell regions and zones", async () => {
    expect(await client.DescribeRegions(null)).toMatchObject({
      TotalCount: 1,
      RegionSet: [{ Region: "lab", RegionName: "lab", RegionState: "AVAILABLE" }],
    });
    expect(await clientOf({ region: "" }).DescribeRegions(null)).toMatchObject({ TotalCount: 1 });
    const { ZoneSet } = await client.DescribeZones(null);
    expect(ZoneSet).toEqual([
      { Zone: "lab-1", ZoneName: "lab-1", ZoneId: "1", ZoneState: "AVAILABLE" },
      { Zone: "lab-2", ZoneName: "lab-2", ZoneId: "2", ZoneState: "AVAILABLE" },
    ]);
  });

  it("tell the types, by zone, family and name", async () => {
    const all = await client.DescribeInstanceTypeConfigs({});
    expect(all.InstanceTypeConfigSet).toHaveLength(2 * cloud.catalogue.types.length);
    const one = await client.DescribeInstanceTypeConfigs({
      Filters: [
        { Name: "zone", Values: ["lab-2"] },
        { Name: "instance-type", Values: ["S5.MEDIUM4"] },
      ],
    });
    expect(one.InstanceTypeConfigSet).toMatchObject([
      { Zone: "lab-2", InstanceFamily: "S5", CPU: 2, Memory: 4, GPU: 0 },
    ]);
    const many = { Filters: [{ Name: "instance-family", Values: ["S5", "T1"] }] };
    await expect(client.DescribeInstanceTypeConfigs(many)).rejects.toMatchObject({
      code: "InvalidFilterValue.LimitExceeded",
    });
  });

  it("tell what room there is", async () => {
    const { InstanceTypeQuotaSet } = await client.DescribeZoneInstanceConfigInfos({
      Filters: [
        { Name: "zone", Values: ["lab-1"] },
        { Name: "instance-family", Values: ["T1", "S5"] },
        { Name: "sort-keys", Values: ["cpu:desc", "mem:asc"] },
      ],
    });
    expect(InstanceTypeQuotaSet?.[0]).toMatchObject({
      InstanceType: "S5.21XLARGE320",
      Cpu: 84,
      Status: "SOLD_OUT",
      StatusCategory: "WithoutStock",
    });
    expect(InstanceTypeQuotaSet?.at(-1)).toMatchObject({
      InstanceType: "S5.SMALL4",
      Price: { UnitPrice: 0, UnitPriceDiscount: 0, ChargeUnit: "HOUR" },
    });
    expect(InstanceTypeQuotaSet?.find((row) => row.InstanceType === "T1.SMALL1")).toMatchObject({
      Status: "SELL",
      StatusCategory: "UnderStock",
      InstanceBandwidth: 1,
      InstancePps: 10,
    });
    const prepaid = { Filters: [{ Name: "instance-charge-type", Values: ["PREPAID"] }] };
    expect(await client.DescribeZoneInstanceConfigInfos(prepaid)).toMatchObject({ InstanceTypeQuotaSet: [] });
  });

  it("tell the images", async () => {
    const { ImageSet, TotalCount } = await client.DescribeImages({
      Filters: [{ Name: "image-name", Values: ["TINY"] }],
    });
    expect(TotalCount).toBe(1);
    expect(ImageSet).toMatchObject([
      { ImageId: testImage, ImageState: "NORMAL", OsName: "Tiny 1", ImageSize: 2, SnapshotSet: [{ DiskSize: 2 }] },
    ]);
    expect(await client.DescribeImages({ ImageIds: [testImage], InstanceType: "T1.SMALL1" })).toMatchObject({
      TotalCount: 1,
    });
    expect(await client.DescribeImages({ ImageIds: ["img-00000000"] })).toMatchObject({ TotalCount: 0, ImageSet: [] });
    expect(await client.DescribeImages({ Filters: [{ Name: "tag:a", Values: ["b"] }] })).toMatchObject({
      TotalCount: 0,
    });
    const both = { ImageIds: [testImage], Filters: [{ Name: "platform", Values: ["Linux"] }] };
    await expect(client.DescribeImages(both)).rejects.toMatchObject({
      code: "InvalidParameter.InvalidParameterCoexistImageIdsFilters",
    });
  });
});

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

describe("key pairs and groups", () => {
  it("make, import, list and delete keys", async () => {
    const { KeyPair } = await client.CreateKeyPair({ KeyName: "made", ProjectId: 0 });
    expect(KeyPair).toMatchObject({
      KeyName: "made",
      ProjectId: 0,
      PrivateKey: expect.stringContaining("PRIVATE") as string,
    });
    const { KeyId } = await client.ImportKeyPair({ KeyName: "brought", ProjectId: 0, PublicKey: "ssh-rsa AAAA" });
    const { KeyPairSet } = await client.DescribeKeyPairs({ Filters: [{ Name: "key-name", Values: ["made"] }] });
    expect(KeyPairSet).toMatchObject([{ KeyId: KeyPair?.KeyId, AssociatedInstanceIds: [], Tags: [] }]);
    expect(JSON.stringify(KeyPairSet)).not.toContain("PRIVATE");
    expect(await client.DescribeKeyPairs({ KeyIds: [KeyId ?? ""] })).toMatchObject({ TotalCount: 1 });
    expect(await client.DescribeKeyPairs({ Filters: [{ Name: "tag-key", Values: ["x"] }] })).toMatchObject({
      TotalCount: 0,
    });
    expect(await client.DescribeKeyPairs({ Filters: [{ Name: "project-id", Values: ["1"] }] })).toMatchObject({
      TotalCount: 0,
    });
    await client.DeleteKeyPairs({ KeyIds: [KeyId ?? "", KeyPair?.KeyId ?? ""] });
    expect(await client.DescribeKeyPairs({})).toMatchObject({ TotalCount: 0, KeyPairSet: [] });
  });

  it("make, list and delete groups", async () => {
    const made = await client.CreateDisasterRecoverGroup({
      Name: "spread 世界",
      Type: "HOST",
      Affinity: 2,
      ClientToken: "g1",
    });
    expect(made).toMatchObject({
      Name: "spread 世界",
      Type: "HOST",
      CvmQuotaTotal: 30,
      CurrentNum: 0,
      Strategy: "SPREAD",
    });
    const ids = [made.DisasterRecoverGroupId ?? ""];
    expect(await client.DescribeDisasterRecoverGroups({ DisasterRecoverGroupIds: ids })).toMatchObject({
      TotalCount: 1,
      DisasterRecoverGroupSet: [{ Name: "spread 世界", Affinity: 2, InstanceIds: [], Tags: [] }],
    });
    await client.DescribeDisasterRecoverGroups({ Name: "spread" });
    expect(calls.at(-1)?.args[1]).toEqual({ name: "spread" });
    await client.DeleteDisasterRecoverGroups({ DisasterRecoverGroupIds: ids });
    await expect(client.DeleteDisasterRecoverGroups({ DisasterRecoverGroupIds: ids })).rejects.toMatchObject({
      code: "FailedOperation.DisasterRecoverGroupNotFound",
    });
  });
});

describe("the other ways to call", () => {
  it("take GET with flattened parameters", async () => {
    const get = clientOf({ reqMethod: "GET" });
    calls.length = 0;
    const { InstanceIdSet = [] } = await get.RunInstances({
      ...minimal,
      InstanceCount: 2,
      InstanceName: "über 1+1 & 🙂",
      DryRun: false,
    });
    expect(InstanceIdSet).toHaveLength(2);
    expect(calls[0]?.args[1]).toMatchObject({ count: 2, name: "über 1+1 & 🙂", dryRun: false });
    expect(await get.DescribeInstances({ InstanceIds: InstanceIdSet, Limit: 1 })).toMatchObject({ TotalCount: 2 });
    const filtered = { Filters: [{ Name: "zone", Values: ["lab-1", "lab-2"] }] };
    await get.DescribeInstances(filtered);
    expect(calls.at(-1)?.args[1]).toEqual({ zones: ["lab-1", "lab-2"] });
    await expect(get.DescribeInstances({ Limit: 1000 })).rejects.toMatchObject({ code: "InvalidParameterValueLimit" });
  });

  it("take an endpoint with a path", async () => {
    expect(await clientOf({ path: "/cvm" }).DescribeZones(null)).toMatchObject({ TotalCount: 2 });
  });

  it("refuse a wrong key, an unknown region, and an action that is not offered", async () => {
    await expect(clientOf({ secretKey: "wrong" }).DescribeZones(null)).rejects.toMatchObject({
      code: "AuthFailure.SignatureFailure",
      requestId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    });
    await expect(clientOf({ region: "elsewhere" }).DescribeZones(null)).rejects.toMatchObject({
      code: "UnsupportedRegion",
    });
    const names = new Set<string>(actions.map((action) => action.name));
    for (const service of Object.keys(services) as Service[]) {
      const { version, actions: all } = services[service];
      const common = commonClient(version);
      for (const name of all.filter((each) => !names.has(each))) {
        await expect(common.request(name, {})).rejects.toMatchObject({
          code: "UnsupportedOperation",
          message: `${name} is not offered here.`,
        });
      }
    }
    await expect(commonClient("2018-08-13").request("DescribeZones", {})).rejects.toMatchObject({
      code: "NoSuchVersion",
    });
  });

  it("carry a use case's failure as CVM's code, and nothing of our inside", async () => {
    state.fail = failure("WrongState", "The instance runs.", { detail: { state: "RUNNING" } });
    await expect(client.StartInstances({ InstanceIds: ["ins-00000001"] })).rejects.toMatchObject({
      code: "UnsupportedOperation.InstanceStateRunning",
      message: "The instance runs.",
    });
    state.fail = new Error("password is hunter2");
    const failed = client.DescribeInstances({});
    await expect(failed).rejects.toMatchObject({ code: "InternalError" });
    await expect(failed).rejects.not.toThrow(/hunter2/);
    state.fail = undefined;
  });
});
