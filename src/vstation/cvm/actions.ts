/** The tables of actions that are offered, in the order of a walk through each API. */
import { describeAccountQuota, describeDisasterRecoverGroupQuota } from "./account-quota.ts";
import type { Action } from "./action.ts";
import {
  modifyInstancesAttribute,
  modifyInstancesProject,
  resetInstancesPassword,
  rebootInstances,
  resetInstancesType,
  startInstances,
  stopInstances,
  terminateInstances,
} from "./change-instances.ts";
import { resetInstance, resizeInstanceDisks } from "./change-disks.ts";
import { describeImages } from "./describe-images.ts";
import { describeInstances, describeInstancesAttributes, describeInstancesStatus } from "./describe-instances.ts";
import { describeRegions, describeZones } from "./describe-places.ts";
import {
  describeInstanceFamilyConfigs,
  describeInstanceTypeConfigs,
  describeInstancesModification,
  describeInternetChargeTypeConfigs,
  describeZoneInstanceConfigInfos,
} from "./describe-types.ts";
import {
  createDisasterRecoverGroup,
  deleteDisasterRecoverGroups,
  deleteInstancesDisasterRecoverGroups,
  describeDisasterRecoverGroups,
  modifyDisasterRecoverGroupAttribute,
  modifyInstancesDisasterRecoverGroup,
} from "./disaster-recover-groups.ts";
import { modifyInstancesVpcAttribute, resetInstancesInternetMaxBandwidth } from "./instance-addresses.ts";
import { associateSecurityGroups, disassociateSecurityGroups } from "./instance-security-groups.ts";
import {
  createImage,
  deleteImages,
  describeImageQuota,
  describeImportImageOs,
  importImage,
  modifyImageAttribute,
} from "./images.ts";
import {
  associateInstancesKeyPairs,
  createKeyPair,
  deleteKeyPairs,
  describeKeyPairs,
  disassociateInstancesKeyPairs,
  importKeyPair,
  modifyKeyPairAttribute,
} from "./key-pairs.ts";
import {
  describeInstancesOperationLimit,
  inquiryPriceResetInstancesType,
  inquiryPriceResizeInstanceDisks,
  inquiryPriceRunInstances,
} from "./prices.ts";
import { cbsOffered } from "./cbs/actions.ts";
import type { Service } from "./known-actions/known-actions.ts";
import { runInstances } from "./run-instances.ts";
import { tagOffered } from "./tag/actions.ts";
import { vpcOffered } from "./vpc/actions.ts";

const cvmOffered: readonly Action[] = [
  describeRegions,
  describeZones,
  describeInstanceTypeConfigs,
  describeInstanceFamilyConfigs,
  describeZoneInstanceConfigInfos,
  describeInternetChargeTypeConfigs,
  inquiryPriceRunInstances,
  inquiryPriceResetInstancesType,
  inquiryPriceResizeInstanceDisks,
  describeAccountQuota,
  describeImages,

  importImage,
  createImage,
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
  resetInstancesType,
  terminateInstances,
  modifyInstancesAttribute,
  modifyInstancesProject,
  modifyInstancesVpcAttribute,
  resetInstancesInternetMaxBandwidth,
  resetInstancesPassword,
  describeInstancesModification,
  describeInstancesOperationLimit,
  associateSecurityGroups,
  disassociateSecurityGroups,
  resizeInstanceDisks,
  resetInstance,

  createKeyPair,
  importKeyPair,
  describeKeyPairs,
  modifyKeyPairAttribute,
  associateInstancesKeyPairs,
  disassociateInstancesKeyPairs,
  deleteKeyPairs,

  createDisasterRecoverGroup,
  describeDisasterRecoverGroups,
  describeDisasterRecoverGroupQuota,
  modifyDisasterRecoverGroupAttribute,
  modifyInstancesDisasterRecoverGroup,
  deleteInstancesDisasterRecoverGroups,
  deleteDisasterRecoverGroups,
];

export const offered: Readonly<Record<Service, readonly Action[]>> = {
  cvm: cvmOffered,
  vpc: vpcOffered,
  cbs: cbsOffered,
  tag: tagOffered,
};
export const actions: readonly Action[] = Object.values(offered).flat();
