/** The use cases of disks and snapshots; see cloud.ts for the rules that hold for all use cases. */
import type { DiskState, DiskType, DiskUsage } from "../core/disk.ts";
import type { AccountId, DiskId, InstanceId, SnapshotId } from "../lib/ids.ts";
import type { AnyCaller, Caller, Listed, Page } from "./cloud.ts";

export interface DiskLimitsView {
  /** Per second, reads and writes together; null = as much as there is. */
  bytes: number | null;
  iops: number | null;
}

export interface DiskView {
  id: DiskId;
  accountId: AccountId;
  name: string;
  zone: string;
  usage: DiskUsage;
  type: DiskType;
  /** `shared` can be attached on any host; `local` lies on one host from its first attach on. */
  driver: "local" | "shared";
  sizeGiB: number;
  limits: DiskLimitsView;
  state: DiskState;
  instanceId: InstanceId | null;
  deleteWithInstance: boolean;
  /** How far the snapshot is that is being put into it. */
  percent: number | null;
  snapshots: { count: number; sizeGiB: number };
  fromSnapshotId: SnapshotId | null;
  /** Why the last thing that was asked of it did not come about, and what to do; null when all is well. */
  problem: string | null;
  tags: Record<string, string>;
  createdAt: Date;
}

export interface DiskCreateRequest {
  zone: string;
  type: DiskType;
  name: string;
  /** null: as large as the snapshot. */
  sizeGiB: number | null;
  snapshotId: SnapshotId | null;
  limits: DiskLimitsView;
  count: number;
  tags: Record<string, string>;
  clientToken: string | null;
}

export interface DiskQuery {
  ids?: DiskId[];
  names?: string[];
  usages?: DiskUsage[];
  types?: DiskType[];
  states?: DiskState[];
  instanceIds?: InstanceId[];
  attached?: boolean;
  zones?: string[];
  snapshotIds?: SnapshotId[];
}

export interface DiskChange {
  name?: string;
  deleteWithInstance?: boolean;
  /** What is left out stays. */
  limits?: Partial<DiskLimitsView>;
}

export interface Disks {
  create(caller: Caller, request: DiskCreateRequest): Promise<DiskId[]>;
  list(caller: AnyCaller, query: DiskQuery, page: Page): Promise<Listed<DiskView>>;
  /** All or nothing. The instance runs or is stopped; the disks are in the zone and reachable from its host. */
  attach(caller: AnyCaller, ids: DiskId[], instanceId: InstanceId, deleteWithInstance: boolean | null): Promise<void>;
  /** `instanceId`: they must be attached to that one. A guest that holds on to a disk keeps it, and the disk says so. */
  detach(caller: AnyCaller, ids: DiskId[], instanceId: InstanceId | null): Promise<void>;
  /** Larger only; a guest that runs sees it at once. System disks too. */
  resize(caller: AnyCaller, id: DiskId, sizeGiB: number): Promise<void>;
  modify(caller: AnyCaller, ids: DiskId[], change: DiskChange): Promise<void>;
  /** For good. Only what is attached nowhere. */
  delete(caller: AnyCaller, ids: DiskId[]): Promise<void>;
}

export interface SnapshotView {
  id: SnapshotId;
  accountId: AccountId;
  name: string;
  zone: string;
  diskId: DiskId;
  diskUsage: DiskUsage;
  sizeGiB: number;
  state: "CREATING" | "NORMAL" | "FAILED";
  percent: number;
  /** What it takes of the storage; null until it is complete. */
  bytes: number | null;
  problem: string | null;
  tags: Record<string, string>;
  createdAt: Date;
}

export interface SnapshotQuery {
  ids?: SnapshotId[];
  names?: string[];
  diskIds?: DiskId[];
  usages?: DiskUsage[];
  states?: SnapshotView["state"][];
  zones?: string[];
}

export interface Snapshots {
  /** Of a disk as it is at one moment after the call, also while a guest writes to it. */
  create(
    caller: AnyCaller,
    request: { diskId: DiskId; name: string; tags: Record<string, string> },
  ): Promise<SnapshotId>;
  list(caller: AnyCaller, query: SnapshotQuery, page: Page): Promise<Listed<SnapshotView>>;
  /** The disk is attached nowhere, or its instance is stopped. What it holds now is lost. */
  apply(caller: AnyCaller, request: { snapshotId: SnapshotId; diskId: DiskId }): Promise<void>;
  delete(caller: AnyCaller, ids: SnapshotId[]): Promise<void>;
}
