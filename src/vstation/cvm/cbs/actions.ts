/** The table of the CBS actions that are offered. */
import type { Action } from "../action.ts";
import {
  attachDisks,
  createDisks,
  describeDiskConfigQuota,
  describeDisks,
  detachDisks,
  modifyDiskAttributes,
  modifyDiskExtraPerformance,
  resizeDisk,
  terminateDisks,
} from "./disks.ts";
import { applySnapshot, createSnapshot, deleteSnapshots, describeSnapshots } from "./snapshots.ts";

export const cbsOffered: readonly Action[] = [
  describeDiskConfigQuota,
  createDisks,
  describeDisks,
  modifyDiskAttributes,
  modifyDiskExtraPerformance,
  attachDisks,
  detachDisks,
  resizeDisk,
  terminateDisks,

  createSnapshot,
  describeSnapshots,
  applySnapshot,
  deleteSnapshots,
];
