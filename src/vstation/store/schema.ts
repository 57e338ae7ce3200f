/** The tables as Kysely types; the columns' meaning stands in the migrations and in the core types they are read into. */
import type { ColumnType, Generated, Insertable, Selectable } from "kysely";
import type { Inventory, Login, Readiness } from "../../api/agent.ts";
import type { BootMode, DiskFormat, GuestMachine, ImageSource, ImageState, ImportStep } from "../../core/image.ts";
import type { ImageManifest } from "../../core/image-manifest.ts";
import type { OperationKind, OperationState, RestartPolicy, StopMode } from "../../core/instance.ts";
import type { Promised } from "../../core/machine.ts";
import type { MigrationPolicy } from "../../core/migration/policy.ts";
import type { JobSpec, JobState, SeenDisk, StorageDriver } from "../../api/agent-storage.ts";
import type { DiskType, DiskUsage, DiskWork } from "../../core/disk.ts";
import type { Amounts } from "../../core/quotas.ts";
import type { SeenPhase } from "../../core/seen.ts";
import type { Edge } from "../cloud-tenancy.ts";
import type { Failed, GonePurpose, OtherAddress } from "../../core/wanted.ts";
import type { MigrationRequestTable, MigrationStoryTable, MigrationTable } from "./schema-migration.ts";
import type { NetworkTables } from "./schema-network.ts";
import type {
  AccountId,
  DiskId,
  GroupId,
  HostId,
  ImageId,
  InstanceId,
  JobId,
  KeyId,
  OperationId,
  SnapshotId,
  SubnetId,
  VpcId,
} from "../../lib/ids.ts";
import type { EventSubject } from "./wake.ts";

type Json<T> = ColumnType<T, T, T>;
/** Read as a Date, written as a Date or an ISO string. */
type Time = ColumnType<Date, Date | string, Date | string>;
type MaybeTime = ColumnType<Date | null, Date | string | null, Date | string | null>;

export interface AccountTable {
  id: AccountId;
  name: string;
  /** Its own limits, where they are not the defaults. */
  quotas: Json<Amounts>;
  created_at: Generated<Date>;
  deleted_at: MaybeTime;
}

export interface AccessKeyTable {
  secret_id: string;
  secret_key: string;
  account_id: AccountId;
  /** For the person who keeps it; several may have one name. */
  name: Generated<string>;
  enabled: Generated<boolean>;
  last_used_at: MaybeTime;
  created_at: Generated<Date>;
}

export interface OperatorTokenTable {
  name: string;
  token: string;
  created_at: Generated<Date>;
}

export interface ZoneTable {
  name: string;
  peer_generation: Generated<number>;
  lease_holder: string | null;
  lease_epoch: Generated<number>;
  lease_expires_at: MaybeTime;
  lease_address: string | null;
  image_folder: string | null;
}

export interface HostTable {
  id: HostId;
  zone: string;
  name: string;
  /** The joining that its certificates name; of one from before there was that, the certificate's own serial. */
  certificate_serial: string;
  joined_at: Generated<Date>;
  wanted_generation: Generated<number>;
  /** The Compute process that speaks for it now, and the VStation process it is connected to; null = out of reach. */
  session: string | null;
  replica: string | null;
  boot_id: string | null;
  underlay_address: string | null;
  inventory: Json<Inventory | null>;
  readiness: Json<Readiness | null>;
  overcommit_cpu: number | null;
  overcommit_memory: number | null;
  seen_at: MaybeTime;
  /** Takes no new instances. */
  cordoned: Generated<boolean>;
  /** Its guests are to go elsewhere, since then. */
  drain_began: MaybeTime;
  /** By which policy they go, and how far `finish` lets a pause grow; those of the last drain where there is none. */
  drain_policy: Generated<MigrationPolicy>;
  drain_ceiling_ms: Generated<number>;
  /** Taken out of the zone; its certificate is good for nothing but to be told so. */
  removed_at: MaybeTime;
}

export interface JoinTokenTable {
  /** SHA-256 of the token, hex. */
  hash: string;
  name: string;
  expires_at: Time;
  created_at: Generated<Date>;
  used_at: MaybeTime;
  /** SHA-256 of the public key that used it: the same key may ask again, because the answer may have been lost. */
  used_by_key: string | null;
  host_id: HostId | null;
}

export interface KeyPairTable {
  id: KeyId;
  account_id: AccountId;
  name: string;
  description: Generated<string>;
  public_key: string;
  created_at: Generated<Date>;
}

export interface GroupTable {
  id: GroupId;
  account_id: AccountId;
  name: string;
  type: "HOST";
  affinity: number;
  created_at: Generated<Date>;
}

export interface InstanceTable {
  id: InstanceId;
  account_id: AccountId;
  uuid: string;
  zone: string;
  name: string;
  hostname: string;
  instance_type: string;
  vcpus: number;
  memory_mib: number;
  machine: Json<Promised | null>;
  image_id: ImageId;
  disk_id: DiskId;
  disk_gib: number;
  subnet_id: SubnetId;
  vpc_id: VpcId;
  ip: string;
  mac: string;
  group_id: GroupId | null;
  user_data: string | null;
  public_keys: Json<string[]>;
  login: Json<Login | null>;
  restart_policy: RestartPolicy;
  termination_protection: boolean;
  created_at: Time;
  deleted_at: MaybeTime;

  host_id: HostId | null;
  epoch: number;
  generation: number;
  incarnation: number;
  resets: Generated<number>;
  power: "running" | "stopped" | "gone";
  stop_how: StopMode | null;
  gone_for: GonePurpose | null;

  seen: Json<SeenPhase | null>;
  seen_epoch: Generated<number>;
  seen_generation: Generated<number>;
  seen_at: MaybeTime;
  seen_disks: Json<SeenDisk[] | null>;

  launched: Generated<boolean>;
  running_since: MaybeTime;
  quick_ends: Generated<number>;
  not_before: MaybeTime;
  tried_hosts: Json<HostId[]>;
  failure: Json<Failed | null>;
  due_at: MaybeTime;
}

export interface InstanceKeyTable {
  instance_id: InstanceId;
  key_id: KeyId;
  position: number;
}

export interface AddressTable {
  id: Generated<number>;
  subnet_id: SubnetId;
  ip: string;
  mac: string;
  zone: string;
  instance_id: InstanceId;
  host_id: HostId | null;
  vtep: string | null;
  peer_generation: number;
  created_at: Generated<Date>;
  released_at: MaybeTime;
  /** Its own is where the instance is found; the other two are only kept from everybody else. */
  held_as: Generated<"own" | OtherAddress>;
}

export interface OperationTable {
  id: OperationId;
  kind: OperationKind;
  instance_id: InstanceId;
  account_id: AccountId;
  request_id: string;
  state: OperationState;
  how: StopMode | null;
  deadline: Time;
  error_code: string | null;
  error_message: string | null;
  created_at: Generated<Date>;
  ended_at: MaybeTime;
}

export interface OperationStepTable {
  id: Generated<number>;
  operation_id: OperationId;
  at: Time;
  name: string;
  note: string | null;
}

export interface ClientTokenTable {
  account_id: AccountId;
  action: string;
  token: string;
  request_hash: string;
  answer: Json<unknown>;
  created_at: Generated<Date>;
}

export interface DiskTable {
  id: DiskId;
  account_id: AccountId;
  zone: string;
  name: string;
  usage: DiskUsage;
  disk_type: DiskType;
  driver: StorageDriver;
  size_gib: number;
  limit_bytes: number | null;
  limit_iops: number | null;
  instance_id: InstanceId | null;
  slot: number | null;
  delete_with_instance: boolean;
  host_id: HostId | null;
  made: boolean;
  work: Json<DiskWork | null>;
  generation: number;
  due_at: MaybeTime;
  problem: string | null;
  snapshot_id: SnapshotId | null;
  tags: Json<Record<string, string>>;
  created_at: Time;
  deleted_at: MaybeTime;
}

export interface SnapshotTable {
  id: SnapshotId;
  account_id: AccountId;
  zone: string;
  name: string;
  disk_id: DiskId;
  disk_usage: DiskUsage;
  size_gib: number;
  driver: StorageDriver;
  host_id: HostId | null;
  state: "CREATING" | "NORMAL" | "FAILED";
  percent: Generated<number>;
  bytes: number | null;
  job_id: JobId | null;
  problem: string | null;
  tags: Json<Record<string, string>>;
  created_at: Time;
  deleted_at: MaybeTime;
}

export interface HostJobTable {
  id: JobId;
  zone: string;
  host_id: HostId;
  generation: number;
  /** The disk, snapshot or image that it is about. */
  subject: string;
  spec: Json<JobSpec>;
  seen: Json<JobState | null>;
  created_at: Generated<Date>;
  ended_at: MaybeTime;
}

/** What an import was asked for. */
export interface ImageRequest {
  format: DiskFormat;
  bootMode: BootMode;
  osName: string;
  platform: string;
  minMemoryMiB: number;
  /** Absent in rows of a release that knew none. */
  machine?: GuestMachine;
  /**
   * A file that the client sends, of so many bytes; one that is fetched; or the copy of an instance's disk that its host sends.
   * `kernelOf`: the image whose kernel and initrd it goes on to start from.
   */
  from: { upload: number } | { url: string } | { instance: InstanceId; kernelOf?: ImageId };
}

export interface ImageTable {
  id: ImageId;
  account_id: AccountId | null;
  name: string;
  description: Generated<string>;
  state: ImageState;
  source: ImageSource;
  step: ImportStep | null;
  progress: Generated<number>;
  failure: Json<Failed | null>;
  request: Json<ImageRequest>;
  manifest: Json<ImageManifest | null>;
  size_bytes: Generated<number>;
  created_at: Generated<Date>;
  deadline: MaybeTime;
  deleted_at: MaybeTime;
  swept_at: MaybeTime;
}

export interface EventTable {
  id: Generated<string>;
  at: Generated<Date>;
  subject: EventSubject;
  subject_id: string;
}

export interface AuditTable {
  id: Generated<string>;
  at: Time;
  edge: Edge;
  action: string;
  changes: boolean;
  account_id: string | null;
  actor: string | null;
  resource_ids: Json<string[]>;
  source: string;
  agent: string | null;
  request_id: string;
  outcome: string | null;
  duration_ms: number | null;
}

export interface Tables extends NetworkTables {
  audit: AuditTable;
  account: AccountTable;
  access_key: AccessKeyTable;
  operator_token: OperatorTokenTable;
  zone: ZoneTable;
  host: HostTable;
  join_token: JoinTokenTable;
  key_pair: KeyPairTable;
  disaster_recover_group: GroupTable;
  instance: InstanceTable;
  instance_key: InstanceKeyTable;
  address: AddressTable;
  operation: OperationTable;
  operation_step: OperationStepTable;
  client_token: ClientTokenTable;
  disk: DiskTable;
  snapshot: SnapshotTable;
  host_job: HostJobTable;
  image: ImageTable;
  event: EventTable;
  migration: MigrationTable;
  migration_story: MigrationStoryTable;
  migration_request: MigrationRequestTable;
}

export type InstanceRow = Selectable<InstanceTable>;
export type NewInstanceRow = Insertable<InstanceTable>;
export type DiskRow = Selectable<DiskTable>;
export type SnapshotRow = Selectable<SnapshotTable>;
export type HostJobRow = Selectable<HostJobTable>;
export type HostRow = Selectable<HostTable>;
export type OperationRow = Selectable<OperationTable>;
