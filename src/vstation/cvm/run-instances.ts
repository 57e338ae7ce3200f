/**
 * RunInstances: the one action whose documented parameters go far beyond what is offered. Each of them is decided below:
 * - offered;
 * - ignored, because nothing that anyone relies on depends on it (monitoring agents, the disk's shop name);
 * - refused, because ignoring it would lie: money, encryption, timers, dedicated hosts.
 *
 * A bandwidth towards the outside gives the instance an address there; it is kept and shown, and nothing is slowed down to it.
 * A disk type is kept and shown as it was given; what lies behind it is the zone's affair (core/disk.ts).
 */
import { diskTypes } from "../../core/disk.ts";
import type {
  CpuTopology,
  DataDisk,
  LoginSettings,
  Placement,
  SystemDisk,
} from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/v20170312/cvm_models.js";
import type * as z from "zod";
import { action } from "./action.ts";
import type { InstanceRunRequest } from "../cloud.ts";
import { diskName, diskSize, limitsOf, throughput } from "./cbs/values.ts";
import { Refusal } from "./error-codes.ts";
import { internet, network, networkOf } from "./instance-addresses.ts";
import { clientToken, hostName, instanceTags, password, securityGroupIds, userData } from "./instance-values.ts";
import { boolean, check, id, ignored, integer, line, list, oneOf, refused, structure, text } from "./parameters.ts";
import { tagsOf } from "./tag-values.ts";

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
  DiskSize: integer(1, 65_536).optional(),
  CdcId: refused(),
  DiskName: ignored(),
  Encrypt: encryption(),
  KmsKeyId: encryption(),
});

const dataDisk = structure<DataDisk>()({
  DiskSize: diskSize(),
  DiskType: oneOf(diskTypes).optional(),
  DiskId: ignored(),
  DeleteWithInstance: boolean().optional(),
  SnapshotId: refused("UnsupportedOperation", "asks for a disk from a snapshot; CreateDisks makes such"),
  Encrypt: encryption(),
  KmsKeyId: encryption(),
  ThroughputPerformance: throughput().optional(),
  CdcId: refused(),
  BurstPerformance: refused(),
  DiskName: diskName().optional(),
});

const login = check(
  structure<LoginSettings>()({
    Password: password().optional(),
    KeyIds: list(id("key"), 16).optional(),
    // Without keys the image's own login settings are what there is.
    KeepImageLogin: oneOf(["TRUE", "FALSE", "true", "false"]).optional(),
  }),
  "InvalidParameter.ParameterConflict",
  "has more than one of Password, KeyIds and KeepImageLogin",
  (given) =>
    [
      given.Password !== undefined,
      (given.KeyIds ?? []).length > 0,
      given.KeepImageLogin?.toUpperCase() === "TRUE",
    ].filter(Boolean).length <= 1,
);

const chargeType = check(
  oneOf(["POSTPAID_BY_HOUR", "PREPAID", "CDHPAID", "SPOTPAID", "CDCPAID"]),
  "UnsupportedOperation.InstanceChargeType",
  "must be POSTPAID_BY_HOUR",
  (value) => value === "POSTPAID_BY_HOUR",
);

/** Who owns cores may have their second threads idle. */
const cpuTopology = structure<CpuTopology>()({
  CoreCount: integer(1, 256),
  ThreadPerCore: integer(1, 2),
});

function topologyOf({ CoreCount, ThreadPerCore }: z.output<typeof cpuTopology>) {
  return { cores: CoreCount, threadsPerCore: ThreadPerCore === 1 ? 1 : 2 } as const;
}

const spot = () => refused("UnsupportedOperation.SpotUnsupportedRegion", "asks for a spot instance");

export const runInstances = action("RunInstances")(
  {
    InstanceChargeType: chargeType.optional(),
    InstanceChargePrepaid: refused("UnsupportedOperation.InstanceChargeType", "asks for prepayment"),
    Placement: placement,
    InstanceType: text(64, "InvalidParameterValue.InstanceTypeNotFound"),
    ImageId: id("image"),
    SystemDisk: systemDisk.optional(),
    DataDisks: list(dataDisk, 21).optional(),
    VirtualPrivateCloud: network().optional(),
    InternetAccessible: internet().optional(),
    InstanceCount: integer(1, 500).default(1),
    MinCount: integer(1, 500).optional(),
    InstanceName: line(128).optional(),
    LoginSettings: login.optional(),
    SecurityGroupIds: securityGroupIds().optional(),
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
    CpuTopology: cpuTopology.optional(),
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
  async ({ cloud, caller }, request) => {
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
      cpuTopology: request.CpuTopology ? topologyOf(request.CpuTopology) : null,
      systemDiskType: request.SystemDisk?.DiskType ?? null,
      dataDisks: (request.DataDisks ?? []).map((disk) => ({
        type: disk.DiskType ?? "CLOUD_BASIC",
        sizeGiB: disk.DiskSize,
        name: disk.DiskName || null,
        // As CVM has it: what is not said to stay goes.
        deleteWithInstance: disk.DeleteWithInstance ?? true,
        limits: limitsOf(disk.ThroughputPerformance),
      })),
      keyIds: request.LoginSettings?.KeyIds ?? [],
      login: loginOf(request.LoginSettings?.Password),
      groupId: request.DisasterRecoverGroupIds?.[0] ?? null,
      ...networkOf(request.VirtualPrivateCloud, request.InstanceCount),
      securityGroupIds: request.SecurityGroupIds ?? [],
      publicAddress: publicAddressOf(request.InternetAccessible),
      userData: request.UserData || null,
      restartPolicy: "always",
      terminationProtection: request.DisableApiTermination,
      tags: tagsOf((request.TagSpecification ?? []).flatMap((each) => each.Tags)),
      clientToken: request.ClientToken ?? null,
      dryRun: request.DryRun,
    });
    return request.DryRun ? {} : { InstanceIdSet: instanceIds };
  },
);

/** Of the user whom the image lets in. */
function loginOf(given: string | undefined): InstanceRunRequest["login"] {
  return given === undefined ? null : { user: null, password: given };
}

/** With a bandwidth there is an address unless it is declined; without one there is none to be had. */
function publicAddressOf(
  given: z.output<ReturnType<typeof internet>> | undefined,
): InstanceRunRequest["publicAddress"] {
  if (given === undefined) return null;
  const { InternetMaxBandwidthOut: bandwidthMbps, PublicIpAssigned: wanted } = given;
  if (bandwidthMbps === 0 && wanted === true) {
    throw new Refusal("InvalidParameterCombination", "A public address needs an `InternetMaxBandwidthOut` above 0.");
  }
  return bandwidthMbps === 0 || wanted === false ? null : { bandwidthMbps };
}
