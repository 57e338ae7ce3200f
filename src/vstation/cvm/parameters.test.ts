/** What each kind of bad parameter is told, and that no use case is called for it. The `Cloud` is a fake: wire rules only. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { fakeCloud, testImage } from "./cloud.fake.ts";
import { call, serveFake, type TestServer } from "./served.fake.ts";

const { cloud, calls } = fakeCloud();
let server: TestServer;
beforeAll(async () => {
  server = await serveFake(cloud);
});
afterAll(() => server.close());
beforeEach(() => {
  calls.length = 0;
});

const minimal = { Placement: { Zone: "lab-1" }, ImageId: testImage, InstanceType: "T1.SMALL1" };
const one = { InstanceIds: ["ins-00000001"] };
const numbered = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}-${String(i).padStart(8, "0")}`);
const tags = (...keys: string[]) => [{ ResourceType: "instance", Tags: keys.map((Key) => ({ Key, Value: "" })) }];
const filter = (Name: string, ...Values: unknown[]) => ({ Filters: [{ Name, Values }] });

type Case = readonly [what: string, parameters: object, code: string];

// oxfmt-ignore
const runs: Case[] = [
  ["no zone", { Placement: {} }, "MissingParameter"],
  ["no placement", { Placement: undefined }, "MissingParameter"],
  ["no image", { ImageId: undefined }, "MissingParameter"],
  ["no type", { InstanceType: undefined }, "MissingParameter"],
  ["no image id", { ImageId: "ubuntu" }, "InvalidImageId.Malformed"],
  ["0 instances", { InstanceCount: 0 }, "InvalidParameterValue.Range"],
  ["501 instances", { InstanceCount: 501 }, "InvalidParameterValue.Range"],
  ["500 instances", { InstanceCount: 500 }, "ok"],
  ["half an instance", { InstanceCount: 1.5 }, "InvalidParameter"],
  ["a count as text", { InstanceCount: "2" }, "InvalidParameter"],
  ["a floor above the count", { MinCount: 2 }, "InvalidParameterValue.Range"],
  ["a floor of 0", { MinCount: 0 }, "InvalidParameterValue.Range"],
  ["a name too long", { InstanceName: "x".repeat(129) }, "InvalidParameterValue.TooLong"],
  ["a name of 128 faces", { InstanceName: "😀".repeat(128) }, "ok"],
  ["a name of 129 faces", { InstanceName: "😀".repeat(129) }, "InvalidParameterValue.TooLong"],
  ["a name with a NUL", { InstanceName: "a\0b" }, "InvalidParameterValue.IncorrectFormat"],
  ["a name with half a face", { InstanceName: "\ud83d" }, "InvalidParameterValue.IncorrectFormat"],
  ["a name with a line break", { InstanceName: "a\nb" }, "InvalidParameterValue.IncorrectFormat"],
  ["a name that is a number", { InstanceName: 7 }, "InvalidParameter"],
  ["an empty name", { InstanceName: "" }, "ok"],
  ["a bad host name", { HostName: "-a" }, "InvalidParameterValue.IllegalHostName"],
  ["a host name with two dots", { HostName: "a..b" }, "InvalidParameterValue.IllegalHostName"],
  ["a host name of one letter", { HostName: "a" }, "InvalidParameterValue.IllegalHostName"],
  ["a host name of 61 letters", { HostName: "a".repeat(61) }, "InvalidParameterValue.IllegalHostName"],
  ["a token of 64", { ClientToken: "t".repeat(64) }, "ok"],
  ["a token of 65", { ClientToken: "t".repeat(65) }, "InvalidClientToken.TooLong"],
  ["a token that is no ASCII", { ClientToken: "ü" }, "InvalidParameterValue.IncorrectFormat"],
  ["an empty token", { ClientToken: "" }, "InvalidParameterValue.NotEmpty"],
  ["user data that is no Base64", { UserData: "#!/bin/sh" }, "InvalidParameterValue.InvalidUserDataFormat"],
  ["user data without end", { UserData: "A".repeat(100_000) }, "InvalidParameterValue.TooLong"],
  ["16 KB of user data", { UserData: Buffer.alloc(16_384).toString("base64") }, "ok"],
  ["one byte more", { UserData: Buffer.alloc(16_385).toString("base64") }, "InvalidParameterValue.TooLong"],
  ["two groups", { DisasterRecoverGroupIds: ["ps-00000001", "ps-00000002"] }, "InvalidParameterValue.LimitExceeded"],
  ["a bad group id", { DisasterRecoverGroupIds: ["x"] }, "InvalidParameterValue.DisasterRecoverGroupIdMalformed"],
  ["a bad key id", { LoginSettings: { KeyIds: ["x"] } }, "InvalidKeyPairId.Malformed"],
  ["a password of 7 characters", { LoginSettings: { Password: "hunter2" } }, "InvalidPassword"],
  ["a password of one kind", { LoginSettings: { Password: "huntershunters" } }, "InvalidPassword"],
  ["a password that begins with a slash", { LoginSettings: { Password: "/hunter2!" } }, "InvalidPassword"],
  ["a password with a line break", { LoginSettings: { Password: "hunter2!\nroot:x" } }, "InvalidPassword"],
  [
    "a password and keys",
    { LoginSettings: { Password: "hunter2!", KeyIds: ["skey-00000001"] } },
    "InvalidParameter.ParameterConflict",
  ],
  ["keys and the image's login", { LoginSettings: { KeyIds: ["skey-00000001"], KeepImageLogin: "TRUE" } }, "InvalidParameter.ParameterConflict"],
  ["the image's login", { LoginSettings: { KeepImageLogin: "TRUE" } }, "ok"],
  ["prepayment", { InstanceChargeType: "PREPAID" }, "UnsupportedOperation.InstanceChargeType"],
  ["a time of prepayment", { InstanceChargePrepaid: { Period: 1 } }, "UnsupportedOperation.InstanceChargeType"],
  ["a way to pay that is none", { InstanceChargeType: "FREE" }, "InvalidParameterValue"],
  ["a disk of no size", { SystemDisk: { DiskSize: 0 } }, "InvalidParameterValue.Range"],
  ["a disk of no kind", { SystemDisk: { DiskType: "TAPE" } }, "InvalidParameterValue"],
  ["encryption", { SystemDisk: { Encrypt: true } }, "UnsupportedOperation.InvalidRegionDiskEncrypt"],
  ["a key of encryption", { SystemDisk: { KmsKeyId: "kms-1" } }, "UnsupportedOperation.InvalidRegionDiskEncrypt"],
  ["no encryption", { SystemDisk: { Encrypt: false, KmsKeyId: "" } }, "ok"],
  ["a spot price", { InstanceMarketOptions: { SpotOptions: { MaxPrice: "1" } } }, "UnsupportedOperation.SpotUnsupportedRegion"],
  ["a public address without bandwidth", { InternetAccessible: { PublicIpAssigned: true } }, "InvalidParameterCombination"],
  ["bandwidth without an address", { InternetAccessible: { InternetMaxBandwidthOut: 1, PublicIpAssigned: false } }, "ok"],
  ["a bandwidth package", { InternetAccessible: { BandwidthPackageId: "bwp-1" } }, "InvalidParameter.InternetAccessibleNotSupported"],
  ["data disks", { DataDisks: [{ DiskSize: 10 }, { DiskSize: 20, DiskType: "CLOUD_SSD", DeleteWithInstance: false }] }, "ok"],
  ["a data disk of no size", { DataDisks: [{ DiskSize: 0 }] }, "InvalidParameterValue.Range"],
  ["a data disk of no known type", { DataDisks: [{ DiskSize: 10, DiskType: "FLOPPY" }] }, "InvalidParameterValue"],
  ["an encrypted data disk", { DataDisks: [{ DiskSize: 10, Encrypt: true }] }, "UnsupportedOperation.InvalidRegionDiskEncrypt"],
  ["a data disk from a snapshot", { DataDisks: [{ DiskSize: 10, SnapshotId: "snap-00000001" }] }, "UnsupportedOperation"],
  ["too many data disks", { DataDisks: Array.from({ length: 22 }, () => ({ DiskSize: 10 })) }, "InvalidParameterValue.LimitExceeded"],
  ["no data disks", { DataDisks: [] }, "ok"],
  ["a security group that is no id", { SecurityGroupIds: ["sg-1"] }, "InvalidSgId.Malformed"],
  ["a security group twice", { SecurityGroupIds: ["sg-00000001", "sg-00000001"] }, "InvalidParameterValue.Duplicate"],
  ["6 security groups", { SecurityGroupIds: numbered("sg", 6) }, "LimitExceeded.AssociateUSGLimitExceeded"],
  ["a timer", { ActionTimer: { TimerAction: "TerminateInstances" } }, "UnsupportedOperation"],
  ["a template", { LaunchTemplate: { LaunchTemplateId: "lt-1" } }, "UnsupportedOperation"],
  ["a dedicated host", { Placement: { Zone: "lab-1", HostIds: ["host-1"] } }, "UnsupportedOperation"],
  ["another project", { Placement: { Zone: "lab-1", ProjectId: 7 } }, "InvalidProjectId.NotFound"],
  ["no VPC id", { VirtualPrivateCloud: { VpcId: "vpc", SubnetId: "subnet-lab00001" } }, "InvalidParameterValue.VpcIdMalformed"],
  ["no subnet id", { VirtualPrivateCloud: { VpcId: "vpc-lab00001", SubnetId: "lab" } }, "InvalidParameterValue.SubnetIdMalformed"],
  ["a VPC and the default subnet", { VirtualPrivateCloud: { VpcId: "vpc-lab00001", SubnetId: "DEFAULT" } }, "InvalidParameterCombination"],
  ["half a network", { VirtualPrivateCloud: { VpcId: "vpc-lab00001" } }, "MissingParameter"],
  ["the default network", { VirtualPrivateCloud: { VpcId: "DEFAULT", SubnetId: "DEFAULT" } }, "ok"],
  ["a chosen address", { VirtualPrivateCloud: { VpcId: "DEFAULT", SubnetId: "DEFAULT", PrivateIpAddresses: ["10.0.0.9"] } }, "ok"],
  ["two addresses for one", { VirtualPrivateCloud: { VpcId: "DEFAULT", SubnetId: "DEFAULT", PrivateIpAddresses: ["10.0.0.9", "10.0.0.8"] } }, "InvalidParameterCombination"],
  ["an address that is none", { VirtualPrivateCloud: { VpcId: "DEFAULT", SubnetId: "DEFAULT", PrivateIpAddresses: ["10.0.0.09"] } }, "InvalidParameterValue.Malformed"],
  ["IPv6", { VirtualPrivateCloud: { VpcId: "DEFAULT", SubnetId: "DEFAULT", Ipv6AddressCount: 1 } }, "InvalidParameterValue.VpcNotSupportIpv6Address"],
  ["a tag twice", { TagSpecification: tags("a", "a") }, "InvalidParameterValue.DuplicateTags"],
  ["51 tags", { TagSpecification: tags(...numbered("k", 51)) }, "InvalidParameterValue.TagQuotaLimitExceeded"],
  ["a tag without a key", { TagSpecification: tags("") }, "FailedOperation.IllegalTagKey"],
  ["tags for a volume", { TagSpecification: [{ ResourceType: "volume", Tags: [] }] }, "InvalidParameterValue"],
  ["an unknown parameter", { Colour: "red" }, "UnknownParameter"],
  ["an unknown parameter inside", { Placement: { Zone: "lab-1", Shelf: 3 } }, "UnknownParameter"],
];

// oxfmt-ignore
const others: Readonly<Record<string, Case[]>> = {
  StartInstances: [
    ["no instances", {}, "MissingParameter"],
    ["an empty list", { InstanceIds: [] }, "InvalidParameterValue.NotEmpty"],
    ["an id twice", { InstanceIds: ["ins-00000001", "ins-00000001"] }, "InvalidParameterValue.Duplicate"],
  ],
  TerminateInstances: [
    ["101 ids", { InstanceIds: numbered("ins", 101) }, "InvalidParameterValue.LimitExceeded"],
    ["no id", { InstanceIds: ["ins-1"] }, "InvalidInstanceId.Malformed"],
    ["an id of another kind", { InstanceIds: [testImage] }, "InvalidInstanceId.Malformed"],
    ["an id that is a number", { InstanceIds: [5] }, "InvalidParameter"],
    ["no list", { InstanceIds: "ins-00000001" }, "InvalidParameter"],
  ],
  StopInstances: [
    ["two ways", { ...one, StopType: "SOFT", ForceStop: true }, "InvalidParameterCombination"],
    ["an unknown way", { ...one, StopType: "GENTLE" }, "InvalidParameterValue"],
    ["to stop paying", { ...one, StoppedMode: "STOP_CHARGING" }, "UnsupportedOperation.StoppedModeStopCharging"],
  ],
  RebootInstances: [["two ways", { ...one, StopType: "SOFT", ForceReboot: false }, "InvalidParameterCombination"]],
  ModifyInstancesAttribute: [
    ["nothing", one, "MissingParameter.AtLeastOne"],
    ["two things", { ...one, InstanceName: "a", DisableApiTermination: true }, "InvalidParameter.AtMostOne"],
    ["a name too long", { ...one, InstanceName: "x".repeat(61) }, "InvalidParameterValue.TooLong"],
    ["an empty name", { ...one, InstanceName: "" }, "InvalidParameterValue.NotEmpty"],
    ["a security group that is no id", { ...one, SecurityGroups: ["sg-1"] }, "InvalidSgId.Malformed"],
    ["no security group", { ...one, SecurityGroups: [] }, "InvalidParameterValue.NotEmpty"],
    ["groups and a name", { ...one, SecurityGroups: ["sg-00000001"], InstanceName: "a" }, "InvalidParameter.AtMostOne"],
    ["a host name", { ...one, HostName: "-no-name" }, "InvalidParameterValue.IllegalHostName"],
  ],
  DescribeInstances: [
    ["ids and filters", { ...one, ...filter("zone", "lab-1") }, "InvalidParameterCombination"],
    ["an unknown filter", filter("colour", "red"), "InvalidFilter"],
    ["a filter of every object", filter("constructor", "x"), "InvalidFilter"],
    ["a tag filter without a key", filter("tag:", "x"), "InvalidFilter"],
    ["a filter twice", { Filters: [{ Name: "zone", Values: ["a"] }, { Name: "zone", Values: ["b"] }] }, "InvalidFilter"],
    ["6 values", filter("zone", "1", "2", "3", "4", "5", "6"), "InvalidFilterValue.LimitExceeded"],
    ["no values", filter("zone"), "InvalidParameterValue.NotEmpty"],
    ["a value that is a number", filter("zone", 1), "InvalidParameter"],
    ["11 filters", { Filters: numbered("tag:a", 11).map((Name) => ({ Name, Values: ["x"] })) }, "InvalidParameterValue.LimitExceeded"],
    ["no time", filter("creation-start-time", "soon"), "InvalidParameterValue.InvalidTimeFormat"],
    ["a time that is none", filter("creation-end-time", "2026-13-45 00:00:00"), "InvalidParameterValue.InvalidTimeFormat"],
    ["a limit of 0", { Limit: 0 }, "InvalidParameterValueLimit"],
    ["a limit of 101", { Limit: 101 }, "InvalidParameterValueLimit"],
    ["an offset below 0", { Offset: -1 }, "InvalidParameterValueOffset"],
    ["an offset beyond all numbers", { Offset: 1e300 }, "InvalidParameterValue"],
  ],
  DescribeZones: [["a parameter where none is", { Zone: "lab-1" }, "UnknownParameter"]],
  DescribeInstancesAttributes: [
    ["an unknown attribute", { ...one, Attributes: ["Soul"] }, "InvalidParameterValue"],
    ["no attribute", { ...one, Attributes: [] }, "InvalidParameterValue.NotEmpty"],
  ],
  CreateKeyPair: [
    ["no name", { KeyName: "", ProjectId: 0 }, "InvalidKeyPairNameEmpty"],
    ["a name too long", { KeyName: "k".repeat(26), ProjectId: 0 }, "InvalidKeyPairNameTooLong"],
    ["a name with a hyphen", { KeyName: "a-b", ProjectId: 0 }, "InvalidKeyPairNameIncludeIllegalChar"],
    ["no project", { KeyName: "a" }, "MissingParameter"],
    ["another project", { KeyName: "a", ProjectId: 1 }, "InvalidProjectId.NotFound"],
    ["tags", { KeyName: "a", ProjectId: 0, TagSpecification: tags("a") }, "UnsupportedOperation"],
  ],
  ImportKeyPair: [["a key without end", { KeyName: "a", ProjectId: 0, PublicKey: "x".repeat(9000) }, "InvalidPublicKey.Malformed"]],
  CreateDisasterRecoverGroup: [
    ["no name", { Name: "", Type: "HOST" }, "InvalidParameterValue.NotEmpty"],
    ["an unknown kind", { Name: "g", Type: "PLANET" }, "InvalidParameterValue"],
    ["an affinity of 11", { Name: "g", Type: "HOST", Affinity: 11 }, "InvalidParameterValue.Range"],
    ["a group over racks", { Name: "g", Type: "RACK" }, "UnsupportedOperation"],
    ["partitions", { Name: "g", Type: "HOST", Strategy: "PARTITION" }, "UnsupportedOperation"],
  ],
  DescribeDisasterRecoverGroups: [["11 ids", { DisasterRecoverGroupIds: numbered("ps", 11) }, "InvalidParameterValue.LimitExceeded"]],
};

describe("RunInstances with", () => {
  it.each(runs)("%s", async (_, odd, code) => {
    const answer = await call(server.port, "RunInstances", { ...minimal, ...odd });
    expect([answer.response.Error?.Code ?? "ok", calls.length]).toEqual([code, code === "ok" ? 1 : 0]);
  });

  it.each([
    ["an absent image", { ImageId: "img-00000000" }, "InvalidImageId.NotFound"],
    ["an unknown type", { InstanceType: "S9.HUGE1" }, "InvalidParameterValue.InstanceTypeNotFound"],
  ])("%s, which the use case refuses", async (_, odd, code) => {
    expect((await call(server.port, "RunInstances", { ...minimal, ...odd })).response.Error?.Code).toBe(code);
  });
});

describe.each(Object.entries(others))("%s with", (action, cases) => {
  it.each(cases)("%s", async (_, parameters, code) => {
    const answer = await call(server.port, action, parameters);
    expect([answer.response.Error?.Code, calls]).toEqual([code, []]);
  });
});
