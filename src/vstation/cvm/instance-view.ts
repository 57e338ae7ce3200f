/** An instance as CVM shows it. Every structure that clients dereference without looking is present, whatever the state. */
import type { DataDisk, Instance } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/v20170312/cvm_models.js";
import type { OperationKind, OperationState } from "../../core/instance.ts";
import type { InstanceView, OperationView } from "../cloud.ts";
import { utcSeconds, type AnswerOf } from "./action.ts";
import { throughputOf } from "./cbs/values.ts";
import type { ActionName } from "./known-actions/known-actions.ts";
import { shownTags } from "./tag-values.ts";

const operationNames: Readonly<Record<Exclude<OperationKind, "instance.migrate">, ActionName>> = {
  "instance.run": "RunInstances",
  "instance.start": "StartInstances",
  "instance.stop": "StopInstances",
  "instance.reboot": "RebootInstances",
  "instance.resize": "ResetInstancesType",
  "instance.renumber": "ModifyInstancesVpcAttribute",
  "instance.reinstall": "ResetInstance",
  "instance.terminate": "TerminateInstances",
  // What CVM's words come nearest to: VStation started it again by itself.
  "instance.recover": "StartInstances",
};

const operationStates: Readonly<Record<OperationState, "OPERATING" | "SUCCESS" | "FAILED">> = {
  PENDING: "OPERATING",
  RUNNING: "OPERATING",
  SUCCEEDED: "SUCCESS",
  FAILED: "FAILED",
};

type Shown = NonNullable<AnswerOf<"DescribeInstances">["InstanceSet"]>[number];

export function shownInstance(view: InstanceView): Shown {
  return {
    // No HostId: that field is about hosts that a tenant has bought.
    Placement: { Zone: view.zone, ProjectId: 0 },
    InstanceId: view.id,
    InstanceName: view.name,
    InstanceState: view.state,
    InstanceType: view.instanceType,
    CPU: view.vcpus,
    Memory: view.memoryMiB / 1024,
    InstanceChargeType: "POSTPAID_BY_HOUR",
    RestrictState: "NORMAL",
    StopChargingMode: view.state === "STOPPED" ? "KEEP_CHARGING" : "NOT_APPLICABLE",
    SystemDisk: { DiskType: view.systemDisk.type, DiskId: view.systemDisk.id, DiskSize: view.systemDisk.sizeGiB },
    DataDisks: view.dataDisks.map(shownDataDisk),
    PrivateIpAddresses: [view.ip],
    PublicIpAddresses: view.elastic === null ? [] : [view.elastic.ip],
    IPv6Addresses: [],
    PublicIPv6Addresses: [],
    RdmaIpAddresses: [],
    InternetAccessible: {
      // Of an address that came with the instance; an elastic one has its own.
      InternetMaxBandwidthOut: view.elastic?.kind === "wan" ? view.elastic.bandwidthMbps : 0,
      PublicIpAssigned: view.elastic?.kind === "wan",
    },
    VirtualPrivateCloud: { VpcId: view.vpcId, SubnetId: view.subnetId, AsVpcGateway: false },
    SecurityGroupIds: view.securityGroupIds,
    LoginSettings: { KeyIds: view.keyIds },
    ImageId: view.imageId,
    Uuid: view.uuid,
    CreatedTime: utcSeconds(view.createdAt),
    Tags: shownTags(view.tags),
    DisasterRecoverGroupId: view.groupId ?? "",
    DisasterRecoverGroupIds: view.groupId === null ? [] : [view.groupId],
    DisableApiTermination: view.terminationProtection,
    EnableJumboFrame: false,
    IsolatedSource: "NOTISOLATED",
    CamRoleName: "",
    HpcClusterId: "",
    DedicatedClusterId: "",
    ...latestOperation(view.latestOperation, view.attention),
  };
}

/** In agreement with what CBS's DescribeDisks says of the same disk. */
function shownDataDisk(disk: InstanceView["dataDisks"][number]): DataDisk {
  return {
    DiskId: disk.id,
    DiskType: disk.type,
    DiskSize: disk.sizeGiB,
    DiskName: disk.name,
    DeleteWithInstance: disk.deleteWithInstance,
    Encrypt: false,
    ThroughputPerformance: throughputOf(disk.limits),
  };
}

/** CVM's only channel for how an accepted request ended; what needs attention since then is said in the same place. */
function latestOperation(operation: OperationView | null, attention: string | null): Partial<Instance> {
  // Where its guest runs is no tenant's affair.
  if (operation === null || operation.kind === "instance.migrate") {
    return {
      LatestOperation: "",
      LatestOperationState: "SUCCESS",
      LatestOperationRequestId: "",
      LatestOperationErrorMsg: attention ?? "",
    };
  }
  const { error } = operation;
  return {
    LatestOperation: operationNames[operation.kind],
    LatestOperationState: operationStates[operation.state],
    LatestOperationRequestId: operation.requestId,
    LatestOperationErrorMsg: error === null ? (attention ?? "") : `${error.code}: ${error.message}`,
  };
}
