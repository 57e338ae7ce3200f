/** The tables of actions that are offered, in the order of a walk through each API. */
import type { Action } from "./action.ts";
import {
  modifyInstancesAttribute,
  rebootInstances,
  startInstances,
  stopInstances,
  terminateInstances,
} from "./change-instances.ts";
import { describeImages } from "./describe-images.ts";
import { describeInstances, describeInstancesAttributes, describeInstancesStatus } from "./describe-instances.ts";
import { describeRegions, describeZones } from "./describe-places.ts";
import { describeInstanceTypeConfigs, describeZoneInstanceConfigInfos } from "./describe-types.ts";
import {
  createDisasterRecoverGroup,
  deleteDisasterRecoverGroups,
  describeDisasterRecoverGroups,
} from "./disaster-recover-groups.ts";
import { associateSecurityGroups, disassociateSecurityGroups } from "./instance-security-groups.ts";
import {
  deleteImages,
  describeImageQuota,
  describeImportImageOs,
  importImage,
  modifyImageAttribute,
} from "./images.ts";
import { createKeyPair, deleteKeyPairs, describeKeyPairs, importKeyPair } from "./key-pairs.ts";
import { cbsOffered } from "./cbs/actions.ts";
import type { Service } from "./known-actions/known-actions.ts";
import { runInstances } from "./run-instances.ts";
import { tagOffered } from "./tag/actions.ts";
import { vpcOffered } from "./vpc/actions.ts";

const cvmOffered: readonly Action[] = [
  describeRegions,
  describeZones,
  describeInstanceTypeConfigs,
  describeZoneInstanceConfigInfos,
  describeImages,

  importImage,
  modifyImageAttribute,
  deleteImages,
  describeImageQuota,
  describeImportImageOs,

  runInstances,
  describeInstances,
  describeInstancesStatus,
  describeInstancesAttributes,
  startInstances,
  stopInstances,
  rebootInstances,
  terminateInstances,
  modifyInstancesAttribute,
  associateSecurityGroups,
  disassociateSecurityGroups,

  createKeyPair,
  importKeyPair,
  describeKeyPairs,
  deleteKeyPairs,

  createDisasterRecoverGroup,
  describeDisasterRecoverGroups,
  deleteDisasterRecoverGroups,
];

export const offered: Readonly<Record<Service, readonly Action[]>> = {
  cvm: cvmOffered,
  vpc: vpcOffered,
  cbs: cbsOffered,
  tag: tagOffered,
};
export const actions: readonly Action[] = Object.values(offered).flat();
