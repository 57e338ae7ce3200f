/**
 * Every failure code of VStation, once: what a use case throws, what a host is told when it joins, and how an operation ends.
 * Codes are stable names that clients may match; each API maps them to its own wire, and the type makes a forgotten one a
 * compile error there. Messages are for the person who asked and may change.
 */
import { Failure, type ErrorKind, type FailureOptions } from "../lib/errors.ts";
import type { IdKind } from "../lib/ids.ts";
import type { SeenReason } from "./seen.ts";

/** Thrown by the use cases in src/vstation/cloud.ts. `detail` names the keys that mappers may rely on. */
export const failureKinds = {
  /** A value is out of its range or form. detail.parameter: which one, in our own naming. */
  InvalidParameter: "invalid",
  /** Smaller than the image needs. detail.minimumGiB */
  SystemDiskTooSmall: "invalid",
  /** The type has less memory than the image needs. detail.minimumMiB */
  MemoryTooSmall: "invalid",
  InstanceTypeUnknown: "invalid",
  ZoneUnknown: "invalid",
  /** Not a block of addresses that this may have. detail.of: "vpc" | "subnet" | "route" */
  CidrInvalid: "invalid",
  /** The subnet is not inside its VPC. */
  CidrOutside: "invalid",
  /** A certain address is not one that the subnet gives to instances. detail.ip */
  AddressOutside: "invalid",
  /** A policy names a position or a rule that the group does not have. */
  PolicyNotFound: "invalid",
  /** Two things that must be in one VPC are in two. */
  VpcMismatch: "invalid",
  /** Neither OpenSSH RSA nor ed25519, or damaged. */
  PublicKeyInvalid: "invalid",

  /** detail.instanceId */
  InstanceNotFound: "not_found",
  ImageNotFound: "not_found",
  KeyNotFound: "not_found",
  GroupNotFound: "not_found",
  AccountNotFound: "not_found",
  AccessKeyNotFound: "not_found",
  HostNotFound: "not_found",
  OperationNotFound: "not_found",
  VpcNotFound: "not_found",
  SubnetNotFound: "not_found",
  RouteTableNotFound: "not_found",
  RouteNotFound: "not_found",
  NatGatewayNotFound: "not_found",
  SecurityGroupNotFound: "not_found",
  ElasticAddressNotFound: "not_found",
  /** A tag names something that is not there. detail.resourceId */
  ResourceNotFound: "not_found",
  DiskNotFound: "not_found",
  SnapshotNotFound: "not_found",
  MigrationNotFound: "not_found",

  /** detail.state: InstanceState, detail.action: InstanceAction, detail.instanceId */
  WrongState: "conflict",
  /** It runs, and the request does not say that it may be stopped and started again for it. detail.instanceId */
  MustStop: "conflict",
  /** detail.operation: OperationKind, detail.instanceId */
  OperationInProgress: "conflict",
  /** Termination protection is on. detail.instanceId */
  Protected: "conflict",
  /** detail.instanceIds */
  KeyInUse: "conflict",
  /** detail.instanceIds */
  GroupNotEmpty: "conflict",
  /** Another subnet of the VPC has addresses of this one. detail.subnetId */
  CidrOverlap: "conflict",
  /** Somebody has this private address. detail.ip */
  AddressInUse: "conflict",
  /** Something is still in it or bound to it, or it is what everything else falls back on. detail.what: which kind of thing */
  NetworkInUse: "conflict",
  /** The default VPC, subnet, group or main route table is not deleted. detail.what */
  NetworkIsDefault: "conflict",
  /** The same policy twice in one direction. */
  PolicyDuplicate: "conflict",
  /** The group was changed since the version that the change was made for. detail.version */
  PolicyVersionMismatch: "conflict",
  /** The route table has a route to this destination. */
  RouteExists: "conflict",
  /** The elastic address is bound already. */
  ElasticAddressBound: "conflict",
  /** The elastic address is bound to nothing. */
  ElasticAddressUnbound: "conflict",
  /** The instance has an address towards the outside. detail.instanceId */
  InstanceHasElasticAddress: "conflict",
  /** An instance is in one group at least. detail.instanceId */
  LastSecurityGroup: "conflict",
  /** The disk's present state does not allow it. detail.state: DiskState, detail.diskId */
  DiskWrongState: "conflict",
  /** Something else is under way with the disk or a snapshot of it; it passes by itself. detail.diskId */
  DiskBusy: "conflict",
  /** Another instance has it, or none. detail.diskId */
  DiskNotAttached: "conflict",
  /** A disk on a host's own storage, and an instance on another host. detail.diskId */
  DiskElsewhere: "conflict",
  /** The machine has no free place for another disk. */
  DiskSlotsExhausted: "limit",
  /** It is not complete. detail.snapshotId */
  SnapshotNotReady: "conflict",
  /** A disk only grows; or it is smaller than the snapshot that is to be put into it. detail.minimumGiB */
  DiskTooSmall: "invalid",
  /** An image of this account has that name. */
  ImageNameTaken: "conflict",
  /** It is still on its way, or ended without a disk. detail.state: ImageState */
  ImageNotUsable: "conflict",
  /** It awaits no file, or not from there on. detail.received: bytes that are here */
  ImageNotReceiving: "conflict",
  /** Everybody's: it is not this account's to change. */
  ImagePublic: "forbidden",
  /** A key of this account has that name. */
  NameTaken: "conflict",
  AccountNameTaken: "conflict",
  /** detail.owns: how many of what it still has, by the names of quotas */
  AccountNotEmpty: "conflict",
  AccountIsDefault: "conflict",
  ClientTokenMismatch: "conflict",
  /** Instances, disks, snapshots or jobs are on it. detail.ids */
  HostInUse: "conflict",
  /** It takes no new instances. detail.hostId */
  HostCordoned: "conflict",
  /** Its readiness says that something is broken. detail.hostId */
  HostNotReady: "conflict",
  /** It is on that host already. detail.hostId */
  MigrationSameHost: "conflict",
  /** An earlier move of it is not cleared up at both hosts. detail.migrationId, detail.hostId: whose word is missing */
  MigrationUnfinished: "conflict",
  /** Another request to move it waits. detail.migrationId */
  MigrationQueued: "conflict",
  /** The guest cannot be moved by the policy that was asked for, wherever to. detail.policy */
  MigrationPolicyUnavailable: "conflict",
  /** Nothing can be called off any more. detail.migrationId */
  MigrationTooLate: "conflict",
  /** It cannot be told that it is removed. detail.hostId */
  HostNotTold: "conflict",
  /** The host understood the question and refused it. detail.refusal: the host's own code */
  HostRefused: "conflict",

  /** detail.reason: {@link CapacityReason}; detail.available: how many would fit; detail.away: hosts out of reach that may have room */
  InsufficientCapacity: "no_capacity",
  /** The subnet has no free address left. detail.available */
  AddressesExhausted: "no_capacity",
  /** The zone has no address towards the outside left, or none at all. detail.available */
  PublicAddressesExhausted: "no_capacity",
  /** detail.quota: a name of src/core/quotas.ts or network-limits.ts; detail.limit, detail.used, detail.asked */
  QuotaExceeded: "limit",

  /** The instance's host is not connected: nothing was done. detail.hostId */
  HostUnreachable: "unavailable",
  /** Another VStation replica places in this zone, or this one is starting: ask again, or ask that one. */
  PlacementUnavailable: "unavailable",
  DatabaseUnavailable: "unavailable",
  /** No answer in time: the outcome is unknown (src/lib/retry.ts throws it). */
  DeadlineExceeded: "timeout",
  /** Our own fault; details are in the log under the request id. */
  Internal: "internal",
} as const satisfies Record<string, ErrorKind>;

export type FailureCode = keyof typeof failureKinds;

/** Builds the failure of a code with the kind that belongs to it. */
export function failure(code: FailureCode, message: string, options: FailureOptions = {}): Failure {
  return new Failure(failureKinds[code], code, message, options);
}

type NotFoundOf<K extends IdKind> = `${Capitalize<K>}NotFound`;

/** Kinds of things that may be asked for by id. */
export type FindableKind = { [K in IdKind]: NotFoundOf<K> extends FailureCode ? K : never }[IdKind];

/** The code of a thing of this kind that is not there, or is another account's. */
export function notFoundCode(kind: FindableKind): FailureCode {
  return `${kind.charAt(0).toUpperCase()}${kind.slice(1)}NotFound` as NotFoundOf<typeof kind>;
}

/** `no_host`: the zone has none; `type_too_large`: all of them have said what they offer, and it fits into none of them even empty. */
export type CapacityReason = "no_host" | "type_too_large" | "no_room" | "group";

/** What POST /join and POST /renew answer to a host that may not have a certificate, in `{code, message}`. */
export const joinFailureKinds = {
  JoinRequestInvalid: "invalid",
  JoinTokenUnknown: "unauthenticated",
  JoinTokenExpired: "unauthenticated",
  JoinTokenUsed: "unauthenticated",
  /** The token was made for a host of another name. */
  JoinNameMismatch: "conflict",
  /** The certificate that asks for the next one is of no joining that counts. */
  CertificateUnknown: "unauthenticated",
  HostRemoved: "forbidden",
} as const satisfies Record<string, ErrorKind>;

export type JoinFailureCode = keyof typeof joinFailureKinds;

/** The `error.code` with which an operation may end FAILED; its message says why, and docs/ what to do about it. */
export const operationFailureCodes = [
  /** libvirt or QEMU refused, on every host that was tried. */
  "StartFailed",
  "ImageMissing",
  /** No host that was tried can give it the processors, hugepages or processor model that its type promises. */
  "MachineUnavailable",
  /** The instance ran before and its disk is gone; it is never replaced by an empty one. */
  "DiskMissing",
  "OutOfSpace",
  "IoError",
  "NetworkFailed",
  /** The guest ended soon after each of several starts. */
  "CrashLoop",
  /** The guest ended while it was being started or rebooted, and its restart policy is `never`. */
  "GuestEnded",
  /** A soft stop or reboot that the guest did not follow in time. */
  "GuestDidNotStop",
  /** Not done before its deadline; what was wanted stays wanted, and the attention sentence says what it waits for. */
  "DeadlineExceeded",
  /** A later request (termination) took its place. */
  "Superseded",
  /** A migration was called off; the guest runs where it was. */
  "MigrationCancelled",
  /** The target could make no machine that takes the guest; the guest runs where it was. */
  "MigrationTargetRefused",
  /** The two hosts lost each other; the guest runs where it was. */
  "MigrationLinkLost",
  /** A certificate of one of the two hosts is not good; the guest runs where it was. */
  "MigrationNotTrusted",
  /** libvirt or QEMU gave up; the guest runs where it was. */
  "MigrationCopyFailed",
  /** The guest changed its memory faster than it could be copied; it runs where it was. */
  "MigrationNotInTime",
  /** A program at one of the two hosts began anew in the middle; the guest runs where it was. */
  "MigrationInterrupted",
  // What the two hosts found before any memory moved (core/migration/preflight.ts); the guest runs where it was.
  "MigrationGuestNotRunning",
  "MigrationGuestBusy",
  "MigrationGuestBlocked",
  "MigrationCpuDiffers",
  "MigrationMachineDiffers",
  "MigrationDiskMissing",
  "MigrationDiskDiffers",
  "MigrationStateLocal",
  "MigrationMemoryMissing",
  "MigrationPortsTaken",
  "MigrationPolicyUnavailable",
  "MigrationClockDiffers",
] as const;

export type OperationFailureCode = (typeof operationFailureCodes)[number];

/** The operation code that a host's reason becomes. */
export const operationFailureOf: Readonly<Record<SeenReason, OperationFailureCode>> = {
  guest_shutdown: "GuestEnded",
  guest_crashed: "GuestEnded",
  host_restarted: "GuestEnded",
  start_failed: "StartFailed",
  image_missing: "ImageMissing",
  machine_unavailable: "MachineUnavailable",
  disk_missing: "DiskMissing",
  out_of_space: "OutOfSpace",
  io_error: "IoError",
  network_failed: "NetworkFailed",
  paused_outside: "DeadlineExceeded",
};
