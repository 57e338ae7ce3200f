/**
 * What Terraform's provider `tencentcloud` sends for its resources vpc, subnet, security_group, security_group_lite_rule, key_pair and
 * instance, in its order and with its parameters, read from its source: what it waits for is waited for, what ends it ends the test. It sleeps
 * ten seconds before it looks whether an operation is over; here that is looked at once, which is stricter.
 */
import { randomUUID } from "node:crypto";
import type { ActionName } from "../../../src/vstation/cvm/known-actions/known-actions.ts";
import { until } from "../../until.ts";
import type { Answer } from "./cvm.ts";
import { zone } from "./network.ts";
import { imageId } from "./vstation.ts";

export interface Api {
  call(action: ActionName, parameters?: object): Promise<Answer>;
}

type Tags = Record<string, string>;
const region = "ap-test";
const minute = 60_000;
const everything = { Offset: "0", Limit: "100" };

export class Terraform {
  readonly #api: Api;

  constructor(api: Api) {
    this.#api = api;
  }

  async createKeyPair(name: string, publicKey: string, tags: Tags): Promise<string> {
    const imported = { KeyName: name, ProjectId: 0, PublicKey: publicKey };
    const { KeyId } = await this.#api.call("ImportKeyPair", imported);
    await this.#replaceTags("cvm", "keypair", KeyId as string, tags);
    return KeyId as string;
  }

  async readKeyPair(id: string): Promise<Answer | undefined> {
    const [found] = (await this.#api.call("DescribeKeyPairs", { KeyIds: [id] })).KeyPairSet as [Answer | undefined];
    return found === undefined ? undefined : { ...found, tags: await this.#tagsOf("cvm", "keypair", id) };
  }

  async deleteKeyPair(id: string): Promise<void> {
    const found = await this.readKeyPair(id);
    const InstanceIds = found?.AssociatedInstanceIds as string[];
    if (InstanceIds.length > 0) {
      await this.#api.call("DisassociateInstancesKeyPairs", { KeyIds: [id], InstanceIds, ForceStop: true });
    }
    await this.#api.call("DeleteKeyPairs", { KeyIds: [id] });
  }

  async createVpc(name: string, cidr: string, tags: Tags): Promise<string> {
    const published = { EnableRouteVpcPublish: false, EnableRouteVpcPublishIpv6: false };
    const { Vpc } = await this.#api.call("CreateVpc", {
      VpcName: name,
      CidrBlock: cidr,
      EnableMulticast: "false",
      Tags: pairs(tags),
      ...published,
    });
    return Vpc.VpcId as string;
  }

  async readVpc(id: string): Promise<Answer | undefined> {
    const vpcId = { Name: "vpc-id", Values: [id] };
    const { VpcSet } = await this.#api.call("DescribeVpcs", { Filters: [vpcId], ...everything });
    if (VpcSet.length === 0) return undefined;
    const main = { Name: "association.main", Values: ["true"] };
    const { RouteTableSet } = await this.#api.call("DescribeRouteTables", { Filters: [vpcId, main], ...everything });
    const [table] = RouteTableSet as [Answer];
    const [vpc] = VpcSet as [Answer];
    const shown = (vpc.TagSet as { Key: string; Value: string }[]).map(({ Key, Value }) => [Key, Value] as const);
    return { ...vpc, mainTable: table.RouteTableId, tags: Object.fromEntries(shown) };
  }

  /** Says again what was read before: name servers that were shown, if any, come back as wanted ones. */
  async changeVpc(id: string, name: string, replace: Tags): Promise<void> {
    const { DnsServerSet, EnableMulticast } = (await this.readVpc(id)) as Answer;
    await this.#api.call("ModifyVpcAttribute", {
      VpcId: id,
      VpcName: name,
      EnableMulticast: String(EnableMulticast),
      EnableRouteVpcPublish: false,
      EnableRouteVpcPublishIpv6: false,
      ...((DnsServerSet as string[]).length > 0 ? { DnsServers: DnsServerSet } : {}),
    });
    await this.#replaceTags("vpc", "vpc", id, replace);
  }

  async createSubnet(vpcId: string, name: string, cidr: string, tags: Tags): Promise<string> {
    const { Subnet } = await this.#api.call("CreateSubnet", {
      VpcId: vpcId,
      SubnetName: name,
      CidrBlock: cidr,
      Zone: zone,
      Tags: pairs(tags),
    });
    const id = Subnet.SubnetId as string;
    await this.#api.call("ModifySubnetAttribute", { SubnetId: id, SubnetName: name, EnableBroadcast: "true" });
    await this.#replaceTags("vpc", "subnet", id, tags);
    return id;
  }

  async changeSubnet(id: string, name: string, replace: Tags): Promise<void> {
    await this.#api.call("ModifySubnetAttribute", { SubnetId: id, SubnetName: name, EnableBroadcast: "true" });
    await this.#replaceTags("vpc", "subnet", id, replace);
  }

  async readSubnet(id: string): Promise<Answer | undefined> {
    const Filters = [{ Name: "subnet-id", Values: [id] }];
    const { SubnetSet } = await this.#api.call("DescribeSubnets", { Filters, ...everything });
    if (SubnetSet.length === 0) return undefined;
    return { ...SubnetSet[0], tags: await this.#tagsOf("vpc", "subnet", id) } as Answer;
  }

  async createSecurityGroup(name: string, tags: Tags): Promise<string> {
    const { SecurityGroup } = await this.#api.call("CreateSecurityGroup", {
      GroupName: name,
      GroupDescription: "",
      Tags: pairs(tags),
    });
    const id = SecurityGroup.SecurityGroupId as string;
    await this.#replaceTags("cvm", "sg", id, tags);
    return id;
  }

  async changeSecurityGroup(id: string, name: string, replace: Tags): Promise<void> {
    await this.#api.call("ModifySecurityGroupAttribute", { SecurityGroupId: id, GroupName: name });
    await this.#replaceTags("cvm", "sg", id, replace);
  }

  async readSecurityGroup(id: string): Promise<Answer | undefined> {
    const { SecurityGroupSet } = await this.#api.call("DescribeSecurityGroups", { SecurityGroupIds: [id] });
    if (SecurityGroupSet.length === 0) return undefined;
    return { ...SecurityGroupSet[0], tags: await this.#tagsOf("cvm", "sg", id) } as Answer;
  }

  /** All rules of a group: what was there is taken away first. An empty list is left out, as by the Go SDK. */
  async setRules(id: string, ingress: object[], egress: object[]): Promise<void> {
    const rules = {
      ...(ingress.length > 0 ? { Ingress: ingress } : {}),
      ...(egress.length > 0 ? { Egress: egress } : {}),
    };
    for (const set of [{ Version: "0" }, rules]) {
      await this.#api.call("ModifySecurityGroupPolicies", { SecurityGroupId: id, SecurityGroupPolicySet: set });
    }
  }

  /** Undefined if there is no such group: told by this code and no other. */
  async readRules(id: string): Promise<Answer | undefined> {
    try {
      const set = await this.#api.call("DescribeSecurityGroupPolicies", { SecurityGroupId: id });
      return set.SecurityGroupPolicySet as Answer;
    } catch (error) {
      if ((error as { code?: unknown }).code === "ResourceNotFound") return undefined;
      throw error;
    }
  }

  async removeRules(id: string, Ingress: object[]): Promise<void> {
    const set = { SecurityGroupId: id, SecurityGroupPolicySet: { Ingress } };
    await this.#api.call("DeleteSecurityGroupPolicies", set);
  }

  async deleteSecurityGroup(id: string): Promise<void> {
    await until(
      `nothing in ${id}`,
      async () => {
        const asked = { SecurityGroupIds: [id] };
        const uses = await this.#api.call("DescribeSecurityGroupAssociationStatistics", asked);
        const [one] = uses.SecurityGroupAssociationStatisticsSet as [Answer | undefined];
        return one === undefined || [one.CVM, one.CLB, one.CDB, one.ENI, one.SG].every((count) => count === 0);
      },
      minute,
    );
    await this.#api.call("DeleteSecurityGroup", { SecurityGroupId: id });
  }

  async createInstance(wanted: object, tags: Tags): Promise<string> {
    const { InstanceIdSet } = await this.#api.call("RunInstances", {
      InstanceChargeType: "POSTPAID_BY_HOUR",
      ImageId: imageId,
      Placement: { Zone: zone, ProjectId: 0 },
      InternetAccessible: { InternetMaxBandwidthOut: 0, PublicIpAssigned: false },
      EnhancedService: {
        SecurityService: { Enabled: true },
        MonitorService: { Enabled: true },
        AutomationService: { Enabled: true },
      },
      DisableApiTermination: false,
      TagSpecification: [{ ResourceType: "instance", Tags: pairs(tags) }],
      ClientToken: randomUUID(),
      ...wanted,
    });
    const id = InstanceIdSet[0] as string;
    // What is not there at the first look ends the provider.
    if ((await this.findInstance(id)) === undefined) throw new Error(`${id} is not there right after it was made`);
    await this.#inState(id, "RUNNING");
    await until(`the tags of ${id}`, async () => {
      const shown = await this.#tagsOf("cvm", "instance", id);
      return Object.entries(tags).every(([key, value]) => shown[key] === value);
    });
    return id;
  }

  async findInstance(id: string): Promise<Answer | undefined> {
    return (await this.#api.call("DescribeInstances", { InstanceIds: [id] })).InstanceSet[0] as Answer | undefined;
  }

  /** As the provider puts it in its state; undefined where the provider takes it out of it. */
  async readInstance(id: string): Promise<Answer | undefined> {
    const instance = await until(
      `${id} at rest`,
      async () => {
        const found = await this.findInstance(id);
        return found?.LatestOperationState === "OPERATING" ? undefined : { found };
      },
      3 * minute,
    );
    const { found } = instance;
    if (found === undefined || found.InstanceState === "LAUNCH_FAILED") return undefined;
    await this.#api.call("DescribeImages");
    const tags = await this.#tagsOf("cvm", "instance", id);
    const [systemDisk] = await this.#disks([found.SystemDisk.DiskId as string]);
    const dataIds = (found.DataDisks as Answer[]).map((disk) => disk.DiskId as string);
    const dataDisks = dataIds.length === 0 ? [] : await this.#disks(dataIds);
    const asked = { InstanceIds: [id], Attributes: ["UserData"] };
    const { InstanceSet } = await this.#api.call("DescribeInstancesAttributes", asked);
    return { ...found, tags, systemDisk, dataDisks, userData: InstanceSet[0].Attributes.UserData };
  }

  modifyInstance(id: string, change: object): Promise<Answer> {
    return this.#api.call("ModifyInstancesAttribute", { InstanceIds: [id], ...change });
  }

  /** Another image, or a service of the image on or off: the keys are said again, the size of the disk is not. */
  async reset(id: string, KeyIds: string[]): Promise<void> {
    await this.#api.call("ResetInstance", {
      InstanceId: id,
      ImageId: imageId,
      EnhancedService: { SecurityService: { Enabled: false } },
      LoginSettings: { KeyIds },
    });
  }

  async replaceKey(id: string, from: string, to: string): Promise<void> {
    const both = { InstanceIds: [id], ForceStop: true };
    await this.#api.call("DisassociateInstancesKeyPairs", { ...both, KeyIds: [from] });
    await this.#operationOver(id);
    await this.#api.call("AssociateInstancesKeyPairs", { ...both, KeyIds: [to] });
    await this.#operationOver(id);
  }

  async changeDataDisk(id: string, size: number, name: string): Promise<void> {
    await this.#api.call("ResizeDisk", { DiskId: id, DiskSize: size });
    await until(`${id} grown`, async () => (await this.#disks([id]))[0]?.DiskSize === size, 3 * minute);
    await this.#api.call("ModifyDiskAttributes", { DiskIds: [id], DiskName: name });
  }

  async stop(id: string): Promise<void> {
    await this.#api.call("StopInstances", { InstanceIds: [id], StopType: "SOFT", StoppedMode: "KEEP_CHARGING" });
    await this.#inState(id, "STOPPED");
  }

  async start(id: string): Promise<void> {
    await this.#api.call("StartInstances", { InstanceIds: [id] });
    await this.#inState(id, "RUNNING");
  }

  async growSystemDisk(id: string, DiskSize: number, DiskType: string): Promise<void> {
    const request = { InstanceId: id, ForceStop: true, SystemDisk: { DiskSize, DiskType } };
    await this.#api.call("ResizeInstanceDisks", request);
    await until(
      `the system disk of ${id}`,
      async () => {
        const disk = (await this.findInstance(id))?.SystemDisk as Answer;
        return disk.DiskType === DiskType && disk.DiskSize === DiskSize;
      },
      3 * minute,
    );
  }

  /** Nothing is waited for: what comes next meets an instance that is on its way. */
  async changeNetwork(id: string, VpcId: string, SubnetId: string, ip?: string): Promise<void> {
    const addresses = ip === undefined ? {} : { PrivateIpAddresses: [ip] };
    await this.#api.call("ModifyInstancesVpcAttribute", {
      InstanceIds: [id],
      VirtualPrivateCloud: { VpcId, SubnetId, ...addresses },
    });
  }

  async changeType(id: string, type: string): Promise<void> {
    await this.#api.call("ResetInstancesType", { InstanceIds: [id], InstanceType: type, ForceStop: true });
    await this.#operationOver(id);
  }

  /** The instance's tags, and the same of its disks, whether they have what is deleted or not. */
  async changeTags(id: string, replace: Tags, remove: string[]): Promise<void> {
    const found = (await this.findInstance(id)) as Answer;
    const disks = [found.SystemDisk, ...(found.DataDisks as Answer[])].map((disk: Answer) => disk.DiskId as string);
    for (const name of [`instance/${id}`, ...disks.map((disk) => `volume/${disk}`)]) {
      await this.#api.call("ModifyResourceTags", {
        Resource: `qcs::cvm:${region}:uin/:${name}`,
        ReplaceTags: tagPairs(replace),
        DeleteTags: remove.map((TagKey) => ({ TagKey })),
      });
    }
  }

  async changeBandwidth(id: string, InternetMaxBandwidthOut: number): Promise<void> {
    await this.#api.call("ResetInstancesInternetMaxBandwidth", {
      InstanceIds: [id],
      InternetAccessible: { InternetChargeType: "TRAFFIC_POSTPAID_BY_HOUR", InternetMaxBandwidthOut },
    });
    await this.#operationOver(id);
  }

  async changeUserData(id: string, userData: string): Promise<void> {
    await this.modifyInstance(id, { UserData: userData });
    await this.#operationOver(id);
  }

  async deleteInstance(id: string): Promise<void> {
    const instance = (await this.findInstance(id)) as Answer;
    await this.#api.call("TerminateInstances", { InstanceIds: [id], ReleaseAddress: false });
    await until(`${id} gone`, async () => (await this.findInstance(id)) === undefined, 5 * minute);
    const { VpcId, SubnetId } = instance.VirtualPrivateCloud as Answer;
    const addresses = { VpcId, SubnetId, IpAddresses: instance.PrivateIpAddresses as string[], Offset: 0, Limit: 100 };
    await until(
      `the address of ${id} free`,
      async () => (await this.#api.call("DescribeUsedIpAddress", addresses)).IpAddressStates.length === 0,
      minute,
    );
  }

  async #disks(DiskIds: string[]): Promise<Answer[]> {
    return (await this.#api.call("DescribeDisks", { DiskIds, Limit: 100 })).DiskSet as Answer[];
  }

  #inState(id: string, state: string): Promise<unknown> {
    const look = async (): Promise<boolean> => {
      const found = await this.findInstance(id);
      if (found?.InstanceState === "LAUNCH_FAILED") throw new Error(String(found.LatestOperationErrorMsg));
      return found?.InstanceState === state;
    };
    return until(`${id} ${state}`, look, 3 * minute);
  }

  async #operationOver(id: string): Promise<void> {
    const look = async (): Promise<Answer | undefined> => {
      const found = await this.findInstance(id);
      if (found === undefined) throw new Error(`${id} is not there any more`);
      return found.LatestOperationState === "OPERATING" ? undefined : found;
    };
    const over = await until(`the operation of ${id}`, look, 3 * minute);
    if (over.LatestOperationState === "FAILED") throw new Error(`failed: ${over.LatestOperationErrorMsg}`);
  }

  async #tagsOf(ServiceType: string, ResourcePrefix: string, id: string): Promise<Tags> {
    const resource = { ServiceType, ResourcePrefix, ResourceRegion: region, ResourceIds: [id] };
    const { Tags: all } = await this.#api.call("DescribeResourceTagsByResourceIds", {
      ...resource,
      Offset: 0,
      Limit: 20,
    });
    const found = all as { TagKey: string; TagValue: string }[];
    return Object.fromEntries(found.map(({ TagKey, TagValue }) => [TagKey, TagValue]));
  }

  async #replaceTags(service: string, prefix: string, id: string, tags: Tags): Promise<void> {
    const Resource = `qcs::${service}:${region}:uin/:${prefix}/${id}`;
    await this.#api.call("ModifyResourceTags", { Resource, ReplaceTags: tagPairs(tags) });
  }
}

const pairs = (tags: Tags) => Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
const tagPairs = (tags: Tags) => Object.entries(tags).map(([TagKey, TagValue]) => ({ TagKey, TagValue }));
