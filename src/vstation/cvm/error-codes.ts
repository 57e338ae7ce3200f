/**
 * The CVM error codes that this edge answers with, each once, with where it comes from and what it means here.
 *
 * Clients match these texts, so none is invented: a service's codes are constants of tencentcloud-sdk-go,
 * `tencentcloud/<service>/v<version>/errors.go`; `common` ones are the API layer's own list,
 * https://www.tencentcloud.com/document/product/213/33281#common-error-codes.
 *
 * Two families are used with care, because the Terraform provider repeats a call for minutes when it meets them
 * (`ResourceInUse*`, `ResourceUnavailable*`, `ResourceBusy*`, `RequestLimitExceeded`): only for what passes by itself.
 */
import type { Service } from "./known-actions/known-actions.ts";

export const cvmErrorCodes = {
  "AuthFailure.InvalidAuthorization": [
    "common",
    "The `Authorization` header is absent, not TC3-HMAC-SHA256, or malformed.",
  ],
  "AuthFailure.SecretIdNotFound": ["common", "No such API key."],
  "AuthFailure.SignatureExpire": ["common", "The timestamp is more than 300 s away from the server's clock."],
  "AuthFailure.SignatureFailure": ["common", "The signature does not belong to this request and key."],
  "AuthFailure.TokenFailure": ["common", "Session tokens (`X-TC-Token`) are not offered."],
  FailedOperation: ["common", "The host refused."],
  InternalError: ["common", "Our own fault, or the database is away. The log has the details under the `RequestId`."],
  InvalidAction: ["common", "No action of the services here has this name."],
  InvalidParameter: ["common", "A parameter has the wrong type."],
  InvalidParameterValue: ["common", "A parameter has a value that is not accepted; the message says which are."],
  InvalidRequest: ["common", "The body is not a JSON object in UTF-8."],
  LimitExceeded: ["common", "The account has as many of these as it may have; the message says which."],
  MissingParameter: ["common", "A required parameter or `X-TC-` header is absent."],
  NoSuchVersion: ["common", "`X-TC-Version` is not that of the action's service: 2017-03-12, for Tag 2018-08-13."],
  RequestSizeLimitExceeded: ["common", "More than 10 MB of body, or more than 32 KB of query."],
  ResourceInUse: ["common", "Something is still in it or uses it."],
  ResourceInsufficient: ["common", "There is none left; the message says of what."],
  ResourceNotFound: ["common", "No such thing in this account."],
  ResourceUnavailable: ["common", "What the request needs is away for now; nothing was done. Ask again."],
  UnknownParameter: ["common", "The action has no parameter of this name."],
  UnsupportedOperation: ["common", "A documented action or parameter that is not offered here."],
  UnsupportedProtocol: ["common", "Neither POST with a JSON body nor GET."],
  UnsupportedRegion: ["common", "`X-TC-Region` names another region."],

  AddressQuotaLimitExceeded: ["vpc", "The account has as many elastic addresses as it may have."],
  "FailedOperation.DisasterRecoverGroupNotFound": ["cvm", "No such placement group in this account."],
  "FailedOperation.IllegalTagKey": ["cvm", "A tag key is empty, too long, or holds control characters."],
  "FailedOperation.NoAvailableIpAddressCountInSubnet": ["cvm", "The subnet has no free address left."],
  "FailedOperation.PlacementSetNotEmpty": ["cvm", "The group still has instances."],
  "FailedOperation.SecurityGroupActionFailed": ["cvm", "An instance must be in one security group at least."],
  ImageQuotaLimitExceeded: ["cvm", "The account has as many images as it may have."],
  InsufficientSnapshotQuota: ["cbs", "The account has as many snapshots as it may have."],
  "InvalidAddressId.NotFound": ["vpc", "No such elastic address in this account."],
  "InvalidAddressIdStatus.NotPermit": ["vpc", "The elastic address is bound, or is not; the message says which."],
  "InvalidClientToken.TooLong": ["cvm", "`ClientToken` is longer than 64 characters."],
  InvalidFilter: ["cvm", "The action has no filter of this name, or it is named twice."],
  "InvalidFilterValue.LimitExceeded": ["cvm", "A filter has more values than the action takes."],
  "InvalidHostId.NotFound": ["cvm", "No such host."],
  "InvalidImageId.Malformed": ["cvm", "Not an image id."],
  "InvalidImageId.NotFound": ["cvm", "No such image."],
  "InvalidInstanceId.AlreadyBindEip": ["vpc", "The instance has an address towards the outside."],
  "InvalidInstanceId.Malformed": ["cvm", "Not an instance id."],
  "InvalidInstanceId.NotFound": ["cvm", "No such instance in this account."],
  "InvalidKeyPair.LimitExceeded": ["cvm", "The account has as many key pairs as it may have."],
  "InvalidKeyPairId.Malformed": ["cvm", "Not a key pair id."],
  "InvalidKeyPairId.NotFound": ["cvm", "No such key pair in this account."],
  "InvalidKeyPairName.Duplicate": ["cvm", "The account has a key pair of this name."],
  InvalidKeyPairNameEmpty: ["cvm", "A key pair needs a name."],
  InvalidKeyPairNameIncludeIllegalChar: ["cvm", "Letters, digits and underscores only."],
  InvalidKeyPairNameTooLong: ["cvm", "More than 25 characters."],
  "InvalidParameter.AtMostOne": ["cvm", "One attribute per call."],
  "InvalidParameter.InternetAccessibleNotSupported": ["cvm", "Bandwidth packages and the like are not offered."],
  "InvalidParameter.InvalidParameterCoexistImageIdsFilters": ["cvm", "Give `ImageIds` or `Filters`, not both."],
  "InvalidParameter.ParameterConflict": ["cvm", "Two login settings exclude each other."],
  "InvalidParameter.PasswordNotSupported": ["cvm", "Passwords are not offered: use a key pair or user data."],
  InvalidParameterCombination: [
    "cvm",
    "Two parameters exclude each other; or a client token came again with another request.",
  ],
  "InvalidParameterValue.DisasterRecoverGroupIdMalformed": ["cvm", "Not a placement group id."],
  "InvalidParameterValue.Duplicate": ["cvm", "The same id twice."],
  "InvalidParameterValue.DuplicateTags": ["cvm", "The same tag key twice."],
  "InvalidParameterValue.IllegalHostName": ["cvm", "Not a host name."],
  "InvalidParameterValue.IncorrectFormat": ["cvm", "The text has characters that are not accepted here."],
  "InvalidParameterValue.InstanceTypeNotFound": ["cvm", "No such instance type."],
  "InvalidParameterValue.InvalidImageForGivenInstanceType": ["cvm", "The image needs more memory than the type has."],
  "InvalidParameterValue.InvalidTimeFormat": ["cvm", "Neither `YYYY-MM-DD hh:mm:ss` (UTC) nor ISO 8601."],
  "InvalidParameterValue.InvalidUserDataFormat": ["cvm", "User data must be Base64."],
  "InvalidParameterValue.KeyPairNotSupported": ["cvm", "The key pair is in use by an instance."],
  "InvalidParameterValue.LimitExceeded": ["cvm", "More values than the action takes."],
  "InvalidParameterValue.AddressIdMalformed": ["vpc", "Not the id of an elastic address."],
  "InvalidParameterValue.Malformed": [
    "vpc",
    "Not an id, an address, a block of addresses or a port of the right form.",
  ],
  "InvalidParameterValue.NotEmpty": ["cvm", "An empty value where one is needed."],
  "InvalidParameterValue.Range": ["cvm", "A number outside its range."],
  "InvalidParameterValue.ResourceIdInvalid": ["tag", "No such resource in this account."],
  "InvalidParameterValue.SubnetConflict": ["vpc", "Another subnet of the VPC has some of these addresses."],
  "InvalidParameterValue.SubnetIdMalformed": ["cvm", "Not a subnet id."],
  "InvalidParameterValue.SubnetNotExist": ["cvm", "No such subnet in this account."],
  "InvalidParameterValue.SubnetRange": [
    "vpc",
    "The subnet is not inside its VPC, or larger or smaller than a subnet may be.",
  ],
  "InvalidParameterValue.TagQuotaLimitExceeded": ["cvm", "More tags than an instance takes."],
  "InvalidParameterValue.TooLong": ["cvm", "A text longer than the action takes."],
  "InvalidParameterValue.VpcIdMalformed": ["cvm", "Not a VPC id."],
  "InvalidParameterValue.VpcIdNotExist": ["cvm", "No such VPC in this account, or the subnet is not in it."],
  "InvalidParameterValue.VpcNotSupportIpv6Address": ["cvm", "IPv6 is not offered."],
  InvalidParameterValueLimit: ["cvm", "`Limit` outside its range."],
  InvalidParameterValueOffset: ["cvm", "`Offset` below 0."],
  "InvalidProjectId.NotFound": ["cvm", "Only project 0 exists."],
  "InvalidPublicKey.Malformed": ["cvm", "Neither an OpenSSH RSA nor an ed25519 public key, or a damaged one."],
  "InvalidRouteTableId.Malformed": ["vpc", "Not a route table id."],
  "InvalidSecurityGroupID.Malformed": ["vpc", "Not a security group id."],
  "InvalidSecurityGroupId.NotFound": ["cvm", "No such security group in this account."],
  "InvalidSgId.Malformed": ["cvm", "Not a security group id."],
  "InvalidVpcId.Malformed": ["vpc", "Not a VPC id."],
  "InvalidZone.MismatchRegion": ["cvm", "The region has no such zone."],
  "LimitExceeded.AssociateUSGLimitExceeded": ["cvm", "More security groups than an instance may be in."],
  "LimitExceeded.CvmInstanceQuota": [
    "cvm",
    "The account's instances have as many vCPUs or as much memory as they may have.",
  ],
  "LimitExceeded.DisasterRecoverGroup": ["cvm", "The account has as many placement groups as it may have."],
  "LimitExceeded.NatGatewayPerVpcLimitExceeded": ["vpc", "The VPC has as many NAT gateways as it may have."],
  "LimitExceeded.ResourceAttachedTags": ["tag", "The resource has as many tags as it may have."],
  "LimitExceeded.SecurityGroupPolicySet": ["vpc", "More policies than a security group may have in one direction."],
  "LimitExceeded.InstanceQuota": ["cvm", "The account has as many instances as it may have."],
  "MissingParameter.AtLeastOne": ["cvm", "At least one of several parameters is needed."],
  "OperationDenied.InstanceOperationInProgress": [
    "cvm",
    "Another operation of this instance is under way; wait for its end.",
  ],
  "ResourceInsufficient.DisasterRecoverGroupCvmQuota": [
    "cvm",
    "The group has no room: too few hosts, or none free of its members.",
  ],
  "ResourceInsufficient.SpecifiedInstanceType": [
    "cvm",
    "No host has room for this type now, or none is large enough for it; the message says which.",
  ],
  "UnsupportedOperation.DelDefaultRoute": ["vpc", "The main route table goes with its VPC."],
  "UnsupportedOperation.DelRouteWithSubnet": ["vpc", "A subnet has this route table."],
  "UnsupportedOperation.DuplicatePolicy": ["vpc", "The security group has this policy, or it is given twice."],
  "UnsupportedOperation.InstanceChargeType": ["cvm", "Only `POSTPAID_BY_HOUR`; nothing is billed."],
  "UnsupportedOperation.InstanceStateLaunchFailed": [
    "cvm",
    "The instance never started; only TerminateInstances is left.",
  ],
  "UnsupportedOperation.InstanceStatePending": ["cvm", "The instance is being created."],
  "UnsupportedOperation.InstanceStateRebooting": ["cvm", "The instance reboots."],
  "UnsupportedOperation.InstanceStateRunning": ["cvm", "The instance runs."],
  "UnsupportedOperation.InstanceStateStarting": ["cvm", "The instance is being started."],
  "UnsupportedOperation.InstanceStateStopped": ["cvm", "The instance is stopped."],
  "UnsupportedOperation.InstanceStateStopping": ["cvm", "The instance is being stopped."],
  "UnsupportedOperation.InstanceStateTerminating": ["cvm", "The instance is being terminated."],
  "UnsupportedOperation.InstancesProtected": ["cvm", "Termination protection is on; switch it off first."],
  "UnsupportedOperation.InvalidRegionDiskEncrypt": ["cvm", "Disk encryption is not offered."],
  "UnsupportedOperation.SpotUnsupportedRegion": ["cvm", "Spot instances are not offered."],
  "UnsupportedOperation.StoppedModeStopCharging": ["cvm", "A stopped instance keeps its resources."],
  "UnsupportedOperation.VersionMismatch": ["vpc", "The security group was changed since this version; read it again."],
  "UnsupportedOperation.VpcMismatch": ["vpc", "Two things that must be in one VPC are in two."],
  VpcAddrNotInSubNet: ["cvm", "Not an address that the subnet gives to instances."],
  VpcIpIsUsed: ["cvm", "The private address is in use."],
} as const satisfies Record<string, readonly [source: "common" | Service, meaning: string]>;

export type CvmCode = keyof typeof cvmErrorCodes;

/** A request that this edge itself refuses; failures of the use cases are mapped in failure-mapping.ts. */
export class Refusal extends Error {
  readonly code: CvmCode;

  constructor(code: CvmCode, message: string) {
    super(message);
    this.name = "Refusal";
    this.code = code;
  }
}
