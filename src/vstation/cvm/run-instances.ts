/**
 * RunInstances: the one action whose documented parameters go far beyond what is offered. Each of them is decided below:
 * - offered;
 * - ignored, because nothing that anyone relies on depends on it (monitoring agents, the disk's shop name);
 * - refused, because ignoring it would lie: money, encryption, security groups, data disks, addresses, timers, dedicated hosts.
 *
 * A disk type is taken as a wish: system disks lie on the host's own storage whatever was asked, and DescribeInstances says so.
 */
import type {
  InternetAccessible,
  LoginSettings,
  Placement,
  SystemDisk,
  VirtualPrivateCloud,
} from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/v20170312/cvm_models.js";
import type * as z from "zod";
import { action, type Place } from "./action.ts";
import { parseId } from "../../lib/ids.ts";
import { Refusal, type CvmCode } from "./error-codes.ts";
import { clientToken, hostName, instanceTags, userData } from "./instance-values.ts";
import { boolean, check, id, ignored, integer, line, list, oneOf, refused, structure, text } from "./parameters.ts";

const diskTypes = [
  "LOCAL_BASIC",
  "LOCAL_SSD",
  "CLOUD_BASIC",
  "CLOUD_SSD",
  "CLOUD_PREMIUM",
  "CLOUD_BSSD",
  "CLOUD_HSSD",
  "CLOUD_TSSD",
] as const;

const placement = structure<Placement>()({
  Zone: text(64, "InvalidZone.MismatchRegion"),
  ProjectId: integer(0, 0, "InvalidProjectId.NotFound").optional(),
  HostIds: refused(),
  HostId: ignored(),
  DedicatedResourcePackTenancy: refused(),
  DedicatedResourcePackIds: refused(),
  RackId: ignored(),
});

const encryption = () => refused("UnsupportedOperation.InvalidRegionDiskEncrypt", "asks for an encrypted disk");

const systemDisk = structure<SystemDisk>()({
  DiskType: oneOf(diskTypes).optional(),
  DiskId: ignored(),
  DiskSize: integer(1, 16_000).optional(),
  CdcId: refused(),
  DiskName: ignored(),
  Encrypt: encryption(),
  KmsKeyId: encryption(),
});

/** An id, or DEFAULT for the one there is. */
function networkId(kind: "vpc" | "subnet", malformed: CvmCode) {
  return check(
    text(64, malformed),
    malformed,
    "has the wrong form",
    (value) => value === "DEFAULT" || parseId(kind, value) !== undefined,
  );
}

const network = structure<VirtualPrivateCloud>()({
  VpcId: networkId("vpc", "InvalidParameterValue.VpcIdMalformed"),
  SubnetId: networkId("subnet", "InvalidParameterValue.SubnetIdMalformed"),
  AsVpcGateway: refused(),
  PrivateIpAddresses: refused("UnsupportedOperation", "asks for certain addresses, which are given by the subnet here"),
  Ipv6AddressCount: refused("InvalidParameterValue.VpcNotSupportIpv6Address", "asks for IPv6"),
});

const publicAddress = () => refused("InvalidParameter.InternetAccessibleNotSupported", "asks for a public address");

const internet = structure<InternetAccessible>()({
  InternetChargeType: ignored(),
  InternetMaxBandwidthOut: publicAddress(),
  PublicIpAssigned: publicAddress(),
  BandwidthPackageId: publicAddress(),
  InternetServiceProvider: ignored(),
  IPv4AddressType: ignored(),
  IPv6AddressType: ignored(),
  AntiDDoSPackageId: publicAddress(),
});

const login = check(
  structure<LoginSettings>()({
    Password: refused("InvalidParameter.PasswordNotSupported", "asks for a password; use a key pair or user data"),
    KeyIds: list(id("key"), 16).optional(),
    // Without keys the image's own login settings are what there is.
    KeepImageLogin: oneOf(["TRUE", "FALSE", "true", "false"]).optional(),
  }),
  "InvalidParameter.ParameterConflict",
  "has both KeyIds and KeepImageLogin",
  (given) => given.KeepImageLogin?.toUpperCase() !== "TRUE" || (given.KeyIds ?? []).length === 0,
);

const chargeType = check(
  oneOf(["POSTPAID_BY_HOUR", "PREPAID", "CDHPAID", "SPOTPAID", "CDCPAID"]),
  "UnsupportedOperation.InstanceChargeType",
  "must be POSTPAID_BY_HOUR",
  (value) => value === "POSTPAID_BY_HOUR",
);

const spot = () => refused("UnsupportedOperation.SpotUnsupportedRegion", "asks for a spot instance");

export const runInstances = action("RunInstances")(
  {
    InstanceChargeType: chargeType.optional(),
    InstanceChargePrepaid: refused("UnsupportedOperation.InstanceChargeType", "asks for prepayment"),
    Placement: placement,
    InstanceType: text(64, "InvalidParameterValue.InstanceTypeNotFound"),
    ImageId: id("image"),
    SystemDisk: systemDisk.optional(),
    DataDisks: refused("UnsupportedOperation", "asks for data disks"),
    VirtualPrivateCloud: network.optional(),
    InternetAccessible: internet.optional(),
    InstanceCount: integer(1, 500).default(1),
    MinCount: integer(1, 500).optional(),
    InstanceName: line(128).optional(),
    LoginSettings: login.optional(),
    SecurityGroupIds: refused("UnsupportedOperation", "asks for security groups"),
    EnhancedService: ignored(),
    ClientToken: clientToken().optional(),
    HostName: hostName().optional(),
    ActionTimer: refused("UnsupportedOperation", "asks for a timer"),
    DisasterRecoverGroupIds: list(id("group"), 1).optional(),
    TagSpecification: instanceTags().optional(),
    InstanceMarketOptions: spot(),
    UserData: userData().optional(),
    Metadata: refused(),
    DryRun: boolean().default(false),
    CpuTopology: refused(),
    CamRoleName: refused(),
    HpcClusterId: refused(),
    LaunchTemplate: refused(),
    DedicatedClusterId: refused(),
    ChcIds: refused(),
    PartitionNumber: refused(),
    DisableApiTermination: boolean().default(false),
    EnableJumboFrame: refused(),
    NetworkInterfaces: refused(),
  },
  async ({ cloud, caller, place }, request) => {
    if (request.VirtualPrivateCloud !== undefined) checkNetwork(request.VirtualPrivateCloud, place);
    const minCount = request.MinCount ?? request.InstanceCount;
    if (minCount > request.InstanceCount) {
      throw new Refusal("InvalidParameterValue.Range", "The value of `MinCount` is larger than `InstanceCount`.");
    }
    const { instanceIds } = await cloud.instances.run(caller, {
      zone: request.Placement.Zone,
      instanceType: request.InstanceType,
      imageId: request.ImageId,
      count: request.InstanceCount,
      minCount,
      name: request.InstanceName || null,
      hostname: request.HostName || null,
      systemDiskGiB: request.SystemDisk?.DiskSize ?? null,
      keyIds: request.LoginSettings?.KeyIds ?? [],
      groupId: request.DisasterRecoverGroupIds?.[0] ?? null,
      userData: request.UserData || null,
      restartPolicy: "always",
      terminationProtection: request.DisableApiTermination,
      tags: Object.fromEntries(
        (request.TagSpecification ?? []).flatMap((each) => each.Tags.map((tag) => [tag.Key, tag.Value] as const)),
      ),
      clientToken: request.ClientToken ?? null,
      dryRun: request.DryRun,
    });
    return request.DryRun ? {} : { InstanceIdSet: instanceIds };
  },
);

/** There is one subnet; it may be named, or asked for as DEFAULT. */
function checkNetwork({ VpcId, SubnetId }: z.output<typeof network>, { subnet }: Place): void {
  if (VpcId === "DEFAULT" && SubnetId === "DEFAULT") return;
  if (VpcId !== subnet.vpcId) {
    throw new Refusal("InvalidParameterValue.VpcIdNotExist", `The VPC of this region is ${subnet.vpcId}.`);
  }
  if (SubnetId !== subnet.id) {
    throw new Refusal("InvalidParameterValue.SubnetNotExist", `The subnet of this region is ${subnet.id}.`);
  }
}
