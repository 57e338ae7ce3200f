/**
 * The use cases of VStation, as both edges (CVM API 3.0 and the native API) call them: one call each, no business state above.
 * Everything here speaks the project's own nouns and throws `Failure`; each edge maps kinds and codes to its own wire.
 *
 * Ids belong to accounts: every tenant call carries the account, and what belongs to another one is not found, never forbidden.
 * An operator's call has `accountId: "any"`.
 */
import type { Ask, Inventory, Readiness } from "../api/agent.ts";
import type { Accounts, AuditTrail } from "./cloud-tenancy.ts";
import type { DiskType } from "../core/disk.ts";
import type { DiskLimitsView, Disks, Snapshots } from "./cloud-storage.ts";
import type { InstanceState, OperationKind, OperationState, RestartPolicy, StopMode } from "../core/instance.ts";
import type { MigrationPolicy } from "../core/migration/policy.ts";
import type { Amounts, Limits } from "../core/quotas.ts";
import type { InstanceType } from "../core/instance-types.ts";
import type {
  AccountId,
  DiskId,
  GroupId,
  HostId,
  ImageId,
  InstanceId,
  KeyId,
  MigrationId,
  OperationId,
  SecurityGroupId,
  SubnetId,
  VpcId,
} from "../lib/ids.ts";
import type { Network } from "./cloud/network.ts";
import type { Images } from "./cloud/images.ts";
import type { Migrations } from "./cloud/migrations.ts";
import type { Tags } from "./cloud/tags.ts";

export interface Caller {
  accountId: AccountId;
  /** Echoed to the client, written to the operation and the log. */
  requestId: string;
}
export interface OperatorCaller {
  accountId: "any";
  requestId: string;
}
export type AnyCaller = Caller | OperatorCaller;

/** A slice of a list; both are already bounded by the edge. */
export interface Page {
  offset: number;
  limit: number;
}
export interface Listed<T> {
  /** Of the whole selection, not of the slice. */
  total: number;
  items: T[];
}

export interface InstanceRunRequest {
  zone: string;
  instanceType: string;
  imageId: ImageId;
  /** Wanted number; at least `minCount` or nothing. */
  count: number;
  minCount: number;
  /** Pattern as CVM's ({R:x}); null = "unnamed". With count > 1 and no pattern a number is appended from 1. */
  name: string | null;
  hostname: string | null;
  systemDiskGiB: number | null;
  /** null: all threads of each core, as the host has them. */
  cpuTopology: { cores: number; threadsPerCore: 1 | 2 } | null;
  /** null: the host's own storage. */
  systemDiskType: DiskType | null;
  dataDisks: {
    type: DiskType;
    sizeGiB: number;
    name: string | null;
    deleteWithInstance: boolean;
    limits: DiskLimitsView;
  }[];
  keyIds: KeyId[];
  /** user null: the image's default one. The password is hashed before anything is stored. */
  login: { user: string | null; password: string } | null;
  groupId: GroupId | null;
  /** null: the account's default subnet in the zone. */
  network: { vpcId: VpcId | null; subnetId: SubnetId } | null;
  /** Certain addresses of the subnet, one for each instance; null: any. */
  addresses: string[] | null;
  /** In order; empty: the account's default one. */
  securityGroupIds: SecurityGroupId[];
  /** An address towards the outside that goes with the instance. */
  publicAddress: { bandwidthMbps: number } | null;
  /** Base64 of at most 16 KB raw. */
  userData: string | null;
  restartPolicy: RestartPolicy;
  terminationProtection: boolean;
  tags: Record<string, string>;
  /** Same token + same request = same answer; same token + another request = Failure conflict/ClientTokenMismatch. */
  clientToken: string | null;
  /** Check everything including capacity, create nothing. */
  dryRun: boolean;
}

export interface InstanceView {
  id: InstanceId;
  accountId: AccountId;
  uuid: string;
  name: string;
  state: InstanceState;
  instanceType: string;
  vcpus: number;
  memoryMiB: number;
  imageId: ImageId;
  zone: string;
  hostId: HostId | null;
  vpcId: VpcId;
  subnetId: SubnetId;
  ip: string;
  mac: string;
  /** Its address towards the outside; null: none of its own. */
  elastic: { ip: string; kind: "eip" | "wan"; bandwidthMbps: number } | null;
  securityGroupIds: SecurityGroupId[];
  systemDisk: { id: DiskId; type: DiskType; sizeGiB: number };
  /** In the order of their places in the machine; one that is being attached or detached is among them. */
  dataDisks: {
    id: DiskId;
    type: DiskType;
    sizeGiB: number;
    name: string;
    deleteWithInstance: boolean;
    limits: DiskLimitsView;
  }[];
  keyIds: KeyId[];
  groupId: GroupId | null;
  userData: string | null;
  restartPolicy: RestartPolicy;
  terminationProtection: boolean;
  tags: Record<string, string>;
  createdAt: Date;
  /** Guest starts so far, by request or by the restart policy. */
  incarnation: number;
  epoch: number;
  generation: number;
  /** True while the host is out of reach: the rest is what was last seen. */
  stale: boolean;
  /** Paused for lack of space, failed to start, crash loop ...: one sentence that names what to do; null when all is well. */
  attention: string | null;
  latestOperation: OperationView | null;
}

export interface OperationView {
  id: OperationId;
  kind: OperationKind;
  instanceId: InstanceId;
  accountId: AccountId;
  requestId: string;
  state: OperationState;
  error: { code: string; message: string } | null;
  createdAt: Date;
  endedAt: Date | null;
  /** Past it the operation ends FAILED with a reason, or says why it still waits. */
  deadline: Date;
  steps: { at: Date; name: string; note: string | null }[];
}

/** Every condition must hold; inside one list any value does. */
export interface InstanceQuery {
  ids?: InstanceId[];
  states?: InstanceState[];
  names?: string[];
  zones?: string[];
  instanceTypes?: string[];
  imageIds?: ImageId[];
  hostIds?: HostId[];
  uuids?: string[];
  ips?: string[];
  vpcIds?: string[];
  subnetIds?: string[];
  groupIds?: GroupId[];
  securityGroupIds?: string[];
  elasticIps?: string[];
  tags?: Record<string, string[]>;
  tagKeys?: string[];
  tagValues?: string[];
  createdFrom?: Date;
  createdTo?: Date;
}

export type InstanceChange =
  | { kind: "name"; name: string }
  /** The guest takes it in when it starts; with `restart`, running ones are restarted for it. */
  | { kind: "hostname"; hostname: string; restart: boolean }
  | { kind: "userData"; userData: string }
  | { kind: "terminationProtection"; on: boolean }
  | { kind: "restartPolicy"; policy: RestartPolicy };

export interface InstanceReinstallRequest {
  /** null everywhere: as it is. */
  imageId: ImageId | null;
  systemDiskGiB: number | null;
  keyIds: KeyId[] | null;
  hostname: string | null;
  userData: string | null;
}

export interface InstanceRenumberRequest {
  /** null: the account's default one. */
  network: InstanceRunRequest["network"];
  /** Certain addresses of the subnet, one for each instance in order; null: any. */
  addresses: string[] | null;
  /** One that runs is stopped for it and started again; else it must be off. */
  mayStop: boolean;
  /** Else it is called what an instance is called for which no name was given. */
  keepHostname: boolean;
}

export interface Instances {
  run(caller: Caller, request: InstanceRunRequest): Promise<{ instanceIds: InstanceId[]; operationIds: OperationId[] }>;
  list(caller: AnyCaller, query: InstanceQuery, page: Page): Promise<Listed<InstanceView>>;
  /** All or nothing: every id is checked first. One operation per instance, in the order of the ids. */
  start(caller: AnyCaller, ids: InstanceId[]): Promise<OperationId[]>;
  stop(caller: AnyCaller, ids: InstanceId[], how: StopMode): Promise<OperationId[]>;
  reboot(caller: AnyCaller, ids: InstanceId[], how: StopMode): Promise<OperationId[]>;
  /** One that runs is stopped for it and started again, if `mayStop`; else it must be off. Empty: it is of that type already. */
  resize(caller: AnyCaller, id: InstanceId, to: { instanceType: string; mayStop: boolean }): Promise<OperationId[]>;
  /** To another address, subnet or VPC; elastic address, groups and MAC stay. One that is there already is left as it is. */
  renumber(caller: Caller, ids: InstanceId[], request: InstanceRenumberRequest): Promise<OperationId[]>;
  terminate(caller: AnyCaller, ids: InstanceId[]): Promise<OperationId[]>;
  /** A new system disk from an image, and a start from it; addresses and data disks stay. What was on the former one is lost. */
  reinstall(caller: AnyCaller, id: InstanceId, request: InstanceReinstallRequest): Promise<OperationId>;
  modify(caller: AnyCaller, ids: InstanceId[], change: InstanceChange): Promise<void>;
  /** The guest has it from its next start on. Instances are stopped, or with `force` restarted for it. */
  setPassword(
    caller: AnyCaller,
    ids: InstanceId[],
    login: { user: string | null; password: string },
    force: boolean,
  ): Promise<void>;
  consoleLog(caller: AnyCaller, id: InstanceId, bytes: number): Promise<{ data: Buffer; truncated: boolean }>;
  /** The serial console as a two-way stream; closing either side closes the other. */
  consoleOpen(caller: AnyCaller, id: InstanceId): Promise<ConsoleSession>;
}

export interface ConsoleSession {
  readonly output: AsyncIterable<Buffer>;
  write(data: Buffer): void;
  close(): void;
}

export interface KeyView {
  id: KeyId;
  name: string;
  description: string;
  publicKey: string;
  createdAt: Date;
  instanceIds: InstanceId[];
}

export interface Keys {
  /** The private key (PEM) is returned once and never stored. */
  create(caller: Caller, name: string): Promise<{ key: KeyView; privateKey: string }>;
  import(caller: Caller, name: string, publicKey: string): Promise<KeyView>;
  list(caller: Caller, query: { ids?: KeyId[]; names?: string[] }, page: Page): Promise<Listed<KeyView>>;
  /** Refused while an instance uses one of them. */
  delete(caller: Caller, ids: KeyId[]): Promise<void>;
  modify(caller: Caller, id: KeyId, change: { name?: string; description?: string }): Promise<void>;
  /** The guest lets them in from its next start on. Instances are stopped, or with `force` restarted for it. */
  bind(caller: Caller, instanceIds: InstanceId[], keyIds: KeyId[], force: boolean): Promise<void>;
  unbind(caller: Caller, instanceIds: InstanceId[], keyIds: KeyId[], force: boolean): Promise<void>;
}

export interface GroupView {
  id: GroupId;
  name: string;
  /** Instances allowed on one host. */
  affinity: number;
  type: "HOST";
  capacity: number;
  instanceIds: InstanceId[];
  createdAt: Date;
}

export interface Groups {
  create(
    caller: Caller,
    request: { name: string; type: "HOST"; affinity: number; clientToken: string | null },
  ): Promise<GroupView>;
  list(caller: Caller, query: { ids?: GroupId[]; name?: string }, page: Page): Promise<Listed<GroupView>>;
  /** Refused while it has members. */
  delete(caller: Caller, ids: GroupId[]): Promise<void>;
  /** An affinity can only be raised: members may share hosts already. */
  modify(caller: Caller, id: GroupId, change: { name?: string; affinity?: number }): Promise<void>;
  /** Makes instances members, each where it is; refused where its host has as many members as the affinity allows. */
  put(caller: Caller, instanceIds: InstanceId[], id: GroupId): Promise<void>;
  /** Those of the instances that are members of one of these are no members any more. */
  takeOut(caller: Caller, instanceIds: InstanceId[], ids: GroupId[]): Promise<void>;
}

export interface HostView {
  id: HostId;
  name: string;
  /** joining: has a certificate, not heard of yet; ready: connected and takes instances; degraded: connected, an error in its readiness; unreachable: its state is unknown. */
  state: "joining" | "ready" | "degraded" | "unreachable";
  /** Takes no new instances. */
  cordoned: boolean;
  /** Null: it is not drained. */
  drain: DrainView | null;
  underlayAddress: string;
  inventory: Inventory;
  readiness: Readiness;
  overcommit: { cpu: number; memory: number };
  /** Of the vCPUs, `dedicated` have a processor of their own; memory includes hugepages. */
  used: { vcpus: number; dedicated: number; memoryMiB: number; diskGiB: number; instances: number };
  seenAt: Date;
  joinedAt: Date;
}

/** How far a drain is: what went, and what is left of it. */
export interface DrainView {
  since: Date;
  /** By which the moves go that have not begun. */
  policy: MigrationPolicy;
  /** null: the pause may not grow. */
  ceilingMs: number | null;
  /** Guests that this drain has moved. */
  moved: number;
  /** What is on the host, by instance. */
  left: {
    instanceId: InstanceId;
    /** stuck: something has to be done about it; stopped: nothing runs, and it stays until it is ended or started elsewhere. */
    is: "moving" | "queued" | "stuck" | "stopped";
    migrationId: MigrationId | null;
    /** What stands in its way. */
    reason: { code: string; message: string } | null;
  }[];
}

export interface DrainRequest {
  policy: MigrationPolicy | null;
  /** Milliseconds that a pause may grow to by `finish`; null: as much as it takes without being told. */
  ceilingMs: number | null;
}

export interface Hosts {
  list(page: Page): Promise<Listed<HostView>>;
  get(id: HostId): Promise<HostView>;
  ask(id: HostId, ask: Ask): Promise<unknown>;
  /** A token with which one machine may join under this name within the hour; `again`: one that has joined before. */
  invite(name: string, again: boolean): Promise<HostInvitation>;
  /** One that takes new instances again is not drained any more. */
  cordon(id: HostId, cordoned: boolean): Promise<void>;
  /**
   * Cordons it, and moves what runs there elsewhere. Asked again, what was given up is tried again, and another policy is that of the
   * moves that have not begun. `policy` null: as it is drained already, else by `gentle`.
   */
  drain(id: HostId, how: DrainRequest): Promise<void>;
  /** Ends that; `cancel`: calls off what is on its way, too. */
  undrain(id: HostId, cancel: boolean): Promise<void>;
  /** Refused while instances, disks or snapshots are on it, and, unless `dead`, while it cannot be told. */
  remove(id: HostId, dead: boolean): Promise<{ told: boolean }>;
}

export interface HostInvitation {
  name: string;
  token: string;
  expiresAt: Date;
  /** Where hosts dial in, `address:port`. */
  servers: string[];
  /** VStation's CA certificate, PEM: what the machine believes at its first contact. */
  ca: string;
}

export interface Operations {
  list(
    caller: AnyCaller,
    query: { instanceIds?: InstanceId[]; states?: OperationState[] },
    page: Page,
  ): Promise<Listed<OperationView>>;
  get(caller: AnyCaller, id: OperationId): Promise<OperationView>;
}

export interface Catalogue {
  region: string;
  zones: readonly string[];
  types: readonly InstanceType[];
  /** How many more instances of each type would fit now; from the placement projection. */
  room(): Promise<ReadonlyMap<string, number>>;
}

/** Something changed; carries no state, only what to read again. `id` only grows and survives a restart: resume from it. */
export interface ChangeEvent {
  id: bigint;
  at: Date;
  subject: "instance" | "operation" | "host" | "disk" | "snapshot" | "migration";
  subjectId: string;
}

export interface Events {
  /** Everything after `since`, then live; ends when the signal aborts. Undefined `since` = from now on. */
  follow(since: bigint | undefined, signal: AbortSignal): AsyncIterable<ChangeEvent>;
}

/** An API key as TC3 verification needs it. */
export interface AccessKey {
  secretId: string;
  secretKey: string;
  accountId: AccountId;
}

export interface Cloud {
  instances: Instances;
  disks: Disks;
  snapshots: Snapshots;
  keys: Keys;
  groups: Groups;
  network: Network;
  tags: Tags;
  images: Images;
  hosts: Hosts;
  migrations: Migrations;
  operations: Operations;
  catalogue: Catalogue;
  events: Events;
  accounts: Accounts;
  /** What the caller's account may have, and has. */
  quotas(caller: Caller): Promise<{ limits: Limits; used: Amounts }>;
  audit: AuditTrail;
  /** Undefined also for a key that is disabled, or whose account is gone. */
  accessKey(secretId: string): Promise<AccessKey | undefined>;
  /** Constant-time check of the operator's bearer token. */
  operatorTokenValid(token: string): boolean;
}
