/** Tags of everything that can have them, through the official SDK: real PostgreSQL, a real VStation, a simulated host. */
import { describe, expect, it } from "vitest";
import { inState } from "./support/cloud.ts";
import { CvmCaller, otherAccount } from "./support/cvm.ts";
import { makeNet, readyHost, runIn, zone, type Net } from "./support/network.ts";
import { vstationForAll } from "./support/vstation-for.ts";
import type { TestVstation } from "./support/vstation.ts";

let vstation: TestVstation;
let cvm: CvmCaller;
let other: CvmCaller;
let net: Net;
const region = "ap-test";

vstationForAll(async (made) => {
  vstation = made;
  await vstation.start();
  await readyHost(vstation);
  cvm = new CvmCaller(vstation.credentials);
  other = new CvmCaller(await otherAccount(vstation, "other"));
  net = await makeNet(cvm);
});

const name = (prefix: string, id: string): string => `qcs::cvm:${region}:uin/:${prefix}/${id}`;

async function tagsOf(api: CvmCaller, ...ResourceIds: string[]): Promise<Record<string, string>> {
  const { Tags, TotalCount } = await api.call("DescribeResourceTagsByResourceIds", {
    ServiceType: "cvm",
    ResourcePrefix: "instance",
    ResourceRegion: region,
    ResourceIds,
    Offset: 0,
    Limit: 10,
  });
  const found = Tags as { ResourceId: string; TagKey: string; TagValue: string }[];
  expect(TotalCount).toBe(found.length);
  return Object.fromEntries(found.map((tag) => [`${tag.ResourceId} ${tag.TagKey}`, tag.TagValue]));
}

describe("tags", () => {
  it("that were given at the creation are the instance's, are changed, and filter it", async () => {
    const id = await runIn(cvm, net, {
      TagSpecification: [{ ResourceType: "instance", Tags: [{ Key: "team", Value: "a" }] }],
    });
    await inState(vstation, [id], "RUNNING");
    expect(await tagsOf(cvm, id)).toEqual({ [`${id} team`]: "a" });
    await cvm.call("ModifyResourceTags", {
      Resource: name("instance", id),
      ReplaceTags: [
        { TagKey: "team", TagValue: "b" },
        { TagKey: "env", TagValue: "" },
      ],
    });
    const filter = { Filters: [{ Name: "tag:team", Values: ["b"] }] };
    const { InstanceSet } = await cvm.call("DescribeInstances", filter);
    expect(InstanceSet).toMatchObject([{ InstanceId: id }]);
    expect(InstanceSet[0].Tags).toHaveLength(2);
    await cvm.call("ModifyResourceTags", { Resource: name("instance", id), DeleteTags: [{ TagKey: "team" }] });
    expect(await tagsOf(cvm, id)).toEqual({ [`${id} env`]: "" });
    expect((await cvm.call("DescribeInstances", filter)).TotalCount).toBe(0);
  });

  it("are had by everything that an account has, disks included, and by nobody else's", async () => {
    const { DiskIdSet } = await cvm.call("CreateDisks", {
      Placement: { Zone: zone },
      DiskChargeType: "POSTPAID_BY_HOUR",
      DiskType: "CLOUD_PREMIUM",
      DiskSize: 10,
      Tags: [{ Key: "first", Value: "1" }],
    });
    const disk = DiskIdSet[0] as string;
    const { SecurityGroup } = await cvm.call("CreateSecurityGroup", { GroupName: "g", GroupDescription: "" });
    const group = SecurityGroup.SecurityGroupId as string;
    const ResourceList = [name("volume", disk), name("sg", group), name("subnet", net.subnetId)];
    await cvm.call("TagResources", { ResourceList, Tags: [{ TagKey: "k", TagValue: "v" }] });
    expect(await tagsOf(cvm, disk, group, net.subnetId)).toEqual({
      [`${disk} first`]: "1",
      [`${disk} k`]: "v",
      [`${group} k`]: "v",
      [`${net.subnetId} k`]: "v",
    });
    expect(await tagsOf(other, disk, group, net.subnetId)).toEqual({});
    expect((await other.call("GetTags")).Tags).toEqual([]);
    const { Tags, PaginationToken } = await cvm.call("GetTags", { TagKeys: ["k", "first"], MaxResults: 1 });
    expect(Tags).toMatchObject([{ TagKey: "first", TagValue: "1" }]);
    const rest = await cvm.call("GetTags", { TagKeys: ["k", "first"], MaxResults: 1, PaginationToken });
    expect(rest).toMatchObject({ Tags: [{ TagKey: "k", TagValue: "v" }], PaginationToken: "" });
    const { DiskSet } = await cvm.call("DescribeDisks", { DiskIds: [disk] });
    expect(DiskSet[0].Tags).toHaveLength(2);
    for (const [action, parameters] of [
      ["ModifyResourceTags", { Resource: name("sg", group), DeleteTags: [{ TagKey: "k" }] }],
      ["TagResources", { ResourceList, Tags: [{ TagKey: "k", TagValue: "mine" }] }],
      ["UnTagResources", { ResourceList, TagKeys: ["k"] }],
    ] as const) {
      expect([action, await other.refusal(action, parameters)]).toEqual([
        action,
        "InvalidParameterValue.ResourceIdInvalid",
      ]);
    }
    await cvm.call("UnTagResources", { ResourceList, TagKeys: ["k"] });
    expect(await tagsOf(cvm, disk, group, net.subnetId)).toEqual({ [`${disk} first`]: "1" });
  });

  it("are refused where they cannot be", async () => {
    const Resource = name("vpc", net.vpcId);
    const ReplaceTags = [{ TagKey: "k", TagValue: "v" }];
    for (const [what, parameters, code] of [
      ["no change", { Resource }, "MissingParameter"],
      [
        "a key in both",
        { Resource, ReplaceTags, DeleteTags: [{ TagKey: "k" }] },
        "InvalidParameterValue.DeleteTagsParamError",
      ],
      [
        "a key twice",
        { Resource, ReplaceTags: [...ReplaceTags, ...ReplaceTags] },
        "InvalidParameterValue.TagKeyDuplicate",
      ],
      ["no key", { Resource, ReplaceTags: [{ TagKey: "", TagValue: "v" }] }, "InvalidParameterValue.TagKeyEmpty"],
      ["a name that is none", { Resource: net.vpcId, ReplaceTags }, "InvalidParameterValue.ResourceDescriptionError"],
      [
        "another region",
        { Resource: Resource.replace(region, "mars"), ReplaceTags },
        "InvalidParameterValue.RegionInvalid",
      ],
      [
        "what is not there",
        { Resource: name("vpc", "vpc-00000000"), ReplaceTags },
        "InvalidParameterValue.ResourceIdInvalid",
      ],
    ] as const) {
      expect([what, await cvm.refusal("ModifyResourceTags", parameters)]).toEqual([what, code]);
    }
    const many = Array.from({ length: 50 }, (_, n) => ({ TagKey: `k${n}`, TagValue: "" }));
    await cvm.call("ModifyResourceTags", { Resource, ReplaceTags: many });
    expect(await cvm.refusal("ModifyResourceTags", { Resource, ReplaceTags })).toBe(
      "LimitExceeded.ResourceAttachedTags",
    );
    expect((await cvm.call("DescribeVpcs", { VpcIds: [net.vpcId] })).VpcSet[0].TagSet).toHaveLength(50);
  });

  it("of a key pair and of a placement group go with them", async () => {
    const { KeyPair } = await cvm.call("CreateKeyPair", { KeyName: "tagged", ProjectId: 0 });
    const key = KeyPair.KeyId as string;
    const { DisasterRecoverGroupId: group } = await cvm.call("CreateDisasterRecoverGroup", { Name: "g", Type: "HOST" });
    await cvm.call("TagResources", {
      ResourceList: [name("keypair", key), name("ps", group as string)],
      Tags: [{ TagKey: "team", TagValue: "a" }],
    });
    await cvm.call("DeleteKeyPairs", { KeyIds: [key] });
    await cvm.call("DeleteDisasterRecoverGroups", { DisasterRecoverGroupIds: [group] });
    expect(await vstation.sql("select * from tag where resource_id = any($1)", [[key, group]])).toEqual([]);
  });
});
