/** What instances are made of (places, types, images, keys, groups) through the official SDK; the `Cloud` is a fake: wire rules only. */
import { describe, expect, it } from "vitest";
import { testImage } from "./cloud.fake.ts";
import { cvmClient, sdkForAll } from "./sdk.fake.ts";

const { cloud, calls, client, port } = await sdkForAll();

describe("places and types", () => {
  it("tell regions and zones", async () => {
    expect(await client.DescribeRegions(null)).toMatchObject({
      TotalCount: 1,
      RegionSet: [{ Region: "lab", RegionName: "lab", RegionState: "AVAILABLE" }],
    });
    expect(await cvmClient(port, { region: "" }).DescribeRegions(null)).toMatchObject({ TotalCount: 1 });
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
