/**
 * What a use case's failure becomes on the CVM wire. The type makes a forgotten code a compile error; docs/errors-cvm.md is
 * written from this table.
 *
 * One code may become several: then one key of the failure's detail decides.
 */
import type { CapacityReason, FailureCode } from "../../core/failure-codes.ts";
import type { InstanceState } from "../../core/instance.ts";
import type { QuotaName } from "../../core/quotas.ts";
import { Failure } from "../../lib/errors.ts";
import { Refusal, type CvmCode } from "./error-codes.ts";

interface ByDetail {
  by: string;
  of: Readonly<Record<string, CvmCode>>;
  otherwise: CvmCode;
}

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
  PublicKeyInvalid: "InvalidPublicKey.Malformed",

  InstanceNotFound: "InvalidInstanceId.NotFound",
  ImageNotFound: "InvalidImageId.NotFound",
  KeyNotFound: "InvalidKeyPairId.NotFound",
  GroupNotFound: "FailedOperation.DisasterRecoverGroupNotFound",
  // Its keys went with it: to whoever still asks, they are gone.
  AccountNotFound: "AuthFailure.SecretIdNotFound",
  HostNotFound: "InvalidHostId.NotFound",
  OperationNotFound: "ResourceNotFound",

  WrongState: { by: "state", of: wrongState, otherwise: "UnsupportedOperation" },
  OperationInProgress: "OperationDenied.InstanceOperationInProgress",
  Protected: "UnsupportedOperation.InstancesProtected",
  KeyInUse: "InvalidParameterValue.KeyPairNotSupported",
  GroupNotEmpty: "FailedOperation.PlacementSetNotEmpty",
  NameTaken: "InvalidKeyPairName.Duplicate",
  ClientTokenMismatch: "InvalidParameterCombination",
  HostRefused: "FailedOperation",

  InsufficientCapacity: { by: "reason", of: noCapacity, otherwise: "ResourceInsufficient.SpecifiedInstanceType" },
  AddressesExhausted: "FailedOperation.NoAvailableIpAddressCountInSubnet",
  QuotaExceeded: {
    by: "quota",
    of: {
      instances: "LimitExceeded.InstanceQuota",
      vcpus: "LimitExceeded.CvmInstanceQuota",
      memoryGiB: "LimitExceeded.CvmInstanceQuota",
      images: "ImageQuotaLimitExceeded",
      keys: "InvalidKeyPair.LimitExceeded",
      groups: "LimitExceeded.DisasterRecoverGroup",
      snapshots: "InsufficientSnapshotQuota",
      elasticAddresses: "AddressQuotaLimitExceeded",
    } satisfies Partial<Record<QuotaName, CvmCode>>,
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
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (!(error instanceof Failure) || !Object.hasOwn(cvmCodeOf, error.code))
    return new Refusal("InternalError", internal);
  const entry = cvmCodeOf[error.code as FailureCode];
  const message = error.kind === "internal" ? internal : error.message;
  if (typeof entry === "string") return new Refusal(entry, message);
  const key = error.detail[entry.by];
  const code = typeof key === "string" && Object.hasOwn(entry.of, key) ? entry.of[key] : undefined;
  return new Refusal(code ?? entry.otherwise, message);
}
