/**
 * What a use case's failure becomes on the CVM wire. The type makes a forgotten code a compile error; docs/errors-cvm.md is
 * written from this table.
 *
 * One code may become several: then one key of the failure's detail decides, or the service whose action was called.
 */
import type { CapacityReason, FailureCode } from "../../core/failure-codes.ts";
import type { InstanceState } from "../../core/instance.ts";
import type { NetworkLimit } from "../../core/network-limits.ts";
import type { QuotaName } from "../../core/quotas.ts";
import { Failure } from "../../lib/errors.ts";
import { Refusal, type CvmCode } from "./error-codes.ts";
import type { Service } from "./known-actions/known-actions.ts";

interface ByDetail {
  by: string;
  of: Readonly<Record<string, CvmCode>>;
  otherwise: CvmCode;
}
/** The key that stands for the called service, in place of one of the detail's. */
const byService = "service";

const wrongState: Readonly<Record<InstanceState, CvmCode>> = {
  PENDING: "UnsupportedOperation.InstanceStatePending",
  LAUNCH_FAILED: "UnsupportedOperation.InstanceStateLaunchFailed",
  RUNNING: "UnsupportedOperation.InstanceStateRunning",
  STOPPED: "UnsupportedOperation.InstanceStateStopped",
  STARTING: "UnsupportedOperation.InstanceStateStarting",
  STOPPING: "UnsupportedOperation.InstanceStateStopping",
  REBOOTING: "UnsupportedOperation.InstanceStateRebooting",
  TERMINATING: "UnsupportedOperation.InstanceStateTerminating",
};

const noCapacity: Readonly<Record<CapacityReason, CvmCode>> = {
  no_host: "ResourceInsufficient.SpecifiedInstanceType",
  no_room: "ResourceInsufficient.SpecifiedInstanceType",
  type_too_large: "ResourceInsufficient.SpecifiedInstanceType",
  group: "ResourceInsufficient.DisasterRecoverGroupCvmQuota",
};

export const cvmCodeOf: Readonly<Record<FailureCode, CvmCode | ByDetail>> = {
  InvalidParameter: {
    by: "parameter",
    of: {
      hostname: "InvalidParameterValue.IllegalHostName",
      userData: "InvalidParameterValue.InvalidUserDataFormat",
    },
    otherwise: "InvalidParameterValue",
  },
  SystemDiskTooSmall: "InvalidParameterValue.Range",
  MemoryTooSmall: "InvalidParameterValue.InvalidImageForGivenInstanceType",
  InstanceTypeUnknown: "InvalidParameterValue.InstanceTypeNotFound",
  ZoneUnknown: "InvalidZone.MismatchRegion",
  CidrInvalid: {
    by: "of",
    of: { subnet: "InvalidParameterValue.SubnetRange" },
    otherwise: "InvalidParameterValue.Range",
  },
  CidrOutside: "InvalidParameterValue.SubnetRange",
  AddressOutside: "VpcAddrNotInSubNet",
  PolicyNotFound: "InvalidParameterValue",
  VpcMismatch: {
    by: byService,
    of: { vpc: "UnsupportedOperation.VpcMismatch" },
    otherwise: "InvalidParameterCombination",
  },
  PublicKeyInvalid: "InvalidPublicKey.Malformed",

  InstanceNotFound: "InvalidInstanceId.NotFound",
  ImageNotFound: "InvalidImageId.NotFound",
  ImageNameTaken: "InvalidImageName.Duplicate",
  ImageNotUsable: "InvalidImageId.IncorrectState",
  ImageNotReceiving: "InvalidImageId.IncorrectState",
  ImagePublic: "UnauthorizedOperation.ImageNotBelongToAccount",
  KeyNotFound: "InvalidKeyPairId.NotFound",
  GroupNotFound: "FailedOperation.DisasterRecoverGroupNotFound",
  // Its keys went with it: to whoever still asks, they are gone.
  AccountNotFound: "AuthFailure.SecretIdNotFound",
  AccessKeyNotFound: "ResourceNotFound",
  HostNotFound: "InvalidHostId.NotFound",
  OperationNotFound: "ResourceNotFound",
  VpcNotFound: { by: byService, of: { cvm: "InvalidParameterValue.VpcIdNotExist" }, otherwise: "ResourceNotFound" },
  SubnetNotFound: { by: byService, of: { cvm: "InvalidParameterValue.SubnetNotExist" }, otherwise: "ResourceNotFound" },
  RouteTableNotFound: "ResourceNotFound",
  RouteNotFound: "ResourceNotFound",
  NatGatewayNotFound: "ResourceNotFound",
  SecurityGroupNotFound: {
    by: byService,
    of: { cvm: "InvalidSecurityGroupId.NotFound" },
    otherwise: "ResourceNotFound",
  },
  ElasticAddressNotFound: "InvalidAddressId.NotFound",
  ResourceNotFound: "InvalidParameterValue.ResourceIdInvalid",
  DiskNotFound: "InvalidDiskId.NotFound",
  SnapshotNotFound: "InvalidSnapshotId.NotFound",
  MigrationNotFound: "ResourceNotFound",

  MustStop: "UnsupportedOperation.InstanceStateRunning",
  WrongState: { by: "state", of: wrongState, otherwise: "UnsupportedOperation" },
  OperationInProgress: "OperationDenied.InstanceOperationInProgress",
  Protected: "UnsupportedOperation.InstancesProtected",
  DiskWrongState: {
    by: "state",
    of: { ATTACHED: "InvalidDisk.Attached" },
    otherwise: "UnsupportedOperation.StateError",
  },
  DiskBusy: "ResourceBusy",
  DiskNotAttached: "UnsupportedOperation.StateError",
  DiskElsewhere: "InvalidDisk.NotSupported",
  DiskSlotsExhausted: "LimitExceeded.InstanceAttachedDisk",
  SnapshotNotReady: "InvalidSnapshot.NotSupported",
  DiskTooSmall: "InvalidParameter.DiskSizeNotMatch",
  KeyInUse: "InvalidParameterValue.KeyPairNotSupported",
  GroupNotEmpty: "FailedOperation.PlacementSetNotEmpty",
  CidrOverlap: "InvalidParameterValue.SubnetConflict",
  AddressInUse: "VpcIpIsUsed",
  // Clients repeat a call that is answered so for minutes, and rightly: what is still in a network is often about to end.
  NetworkInUse: {
    by: "what",
    of: { routeTable: "UnsupportedOperation.DelRouteWithSubnet" },
    otherwise: "ResourceInUse",
  },
  NetworkIsDefault: {
    by: "what",
    of: { routeTable: "UnsupportedOperation.DelDefaultRoute" },
    otherwise: "UnsupportedOperation",
  },
  PolicyDuplicate: "UnsupportedOperation.DuplicatePolicy",
  PolicyVersionMismatch: "UnsupportedOperation.VersionMismatch",
  RouteExists: "InvalidParameterValue.Duplicate",
  ElasticAddressBound: "InvalidAddressIdStatus.NotPermit",
  ElasticAddressUnbound: {
    by: byService,
    of: { cvm: "FailedOperation.NotFoundEIP" },
    otherwise: "InvalidAddressIdStatus.NotPermit",
  },
  InstanceHasElasticAddress: "InvalidInstanceId.AlreadyBindEip",
  LastSecurityGroup: "FailedOperation.SecurityGroupActionFailed",
  NameTaken: "InvalidKeyPairName.Duplicate",
  AccountNameTaken: "FailedOperation",
  AccountNotEmpty: "FailedOperation",
  AccountIsDefault: "FailedOperation",
  ClientTokenMismatch: "InvalidParameterCombination",
  HostInUse: "FailedOperation",
  HostCordoned: "FailedOperation",
  HostNotReady: "FailedOperation",
  MigrationSameHost: "FailedOperation",
  MigrationUnfinished: "FailedOperation",
  MigrationQueued: "FailedOperation",
  MigrationPolicyUnavailable: "FailedOperation",
  MigrationTooLate: "FailedOperation",
  HostNotTold: "ResourceUnavailable",
  HostRefused: "FailedOperation",

  InsufficientCapacity: { by: "reason", of: noCapacity, otherwise: "ResourceInsufficient.SpecifiedInstanceType" },
  AddressesExhausted: "FailedOperation.NoAvailableIpAddressCountInSubnet",
  PublicAddressesExhausted: "ResourceInsufficient",
  QuotaExceeded: {
    by: "quota",
    of: {
      instances: "LimitExceeded.InstanceQuota",
      vcpus: "LimitExceeded.CvmInstanceQuota",
      memoryGiB: "LimitExceeded.CvmInstanceQuota",
      images: "ImageQuotaLimitExceeded",
      keys: "InvalidKeyPair.LimitExceeded",
      groups: "LimitExceeded.DisasterRecoverGroup",
      disks: "ResourceInsufficient.OverQuota",
      diskGiB: "ResourceInsufficient.OverQuota",
      snapshots: "InsufficientSnapshotQuota",
      elasticAddresses: "AddressQuotaLimitExceeded",
      natGatewaysPerVpc: "LimitExceeded.NatGatewayPerVpcLimitExceeded",
      groupsPerInstance: "LimitExceeded.AssociateUSGLimitExceeded",
      policiesPerDirection: "LimitExceeded.SecurityGroupPolicySet",
      tagsPerResource: "LimitExceeded.ResourceAttachedTags",
    } satisfies Partial<Record<QuotaName | NetworkLimit, CvmCode>>,
    otherwise: "LimitExceeded",
  },

  HostUnreachable: "ResourceUnavailable",
  PlacementUnavailable: "ResourceUnavailable",
  DatabaseUnavailable: "InternalError",
  // Not ResourceUnavailable: clients would send it again, and the first one may still be on its way.
  DeadlineExceeded: "InternalError",
  Internal: "InternalError",
};

const internal = "Internal error; the server's log has the details under this RequestId.";

/** The refusal that a thrown thing becomes; what is no known failure is our own fault and says nothing of its inside. */
export function refusalOf(error: unknown, service: Service = "cvm"): Refusal {
  if (error instanceof Refusal) return error;
  if (!(error instanceof Failure) || !Object.hasOwn(cvmCodeOf, error.code))
    return new Refusal("InternalError", internal);
  const entry = cvmCodeOf[error.code as FailureCode];
  const message = error.kind === "internal" ? internal : error.message;
  if (typeof entry === "string") return new Refusal(entry, message);
  const key = entry.by === byService ? service : error.detail[entry.by];
  const code = typeof key === "string" && Object.hasOwn(entry.of, key) ? entry.of[key] : undefined;
  return new Refusal(code ?? entry.otherwise, message);
}
