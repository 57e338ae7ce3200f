/** A walk through the small actions on a stopped instance, its key pairs and its group; each may be sent again without harm. */
import { imageId, instanceType } from "../../../bench/delivery/guest.ts";
import type { LabSession } from "../../../bench/lab-session.ts";
import type { InstanceId } from "../../../src/lib/ids.ts";
import { expectThat } from "../../until.ts";
import { insist } from "../requests.ts";

export async function smallActions(
  lab: LabSession,
  id: InstanceId,
  keyIds: readonly string[],
  groupId: string,
): Promise<void> {
  const { sdk, zone } = lab.cloud;
  const InstanceIds = [id];
  const DisasterRecoverGroupIds = [groupId];
  const [KeyId = ""] = keyIds;
  const keysOf = async () => (await insist(() => lab.cloud.instance(id))).keyIds;
  await insist(() => sdk.DisassociateInstancesKeyPairs({ InstanceIds, KeyIds: [KeyId] }));
  expectThat(!(await keysOf()).includes(KeyId as never), "a key pair is there that was taken off");
  await insist(() => sdk.AssociateInstancesKeyPairs({ InstanceIds, KeyIds: [KeyId] }));
  expectThat((await keysOf()).includes(KeyId as never), "a key pair is not there that was bound");
  await insist(() => sdk.ModifyKeyPairAttribute({ KeyId, Description: "walked" }));
  await insist(() => sdk.DeleteInstancesDisasterRecoverGroups({ InstanceIds, DisasterRecoverGroupIds }));
  await insist(() => sdk.ModifyDisasterRecoverGroupAttribute({ DisasterRecoverGroupId: groupId, Name: "walked" }));
  await insist(() => sdk.ModifyInstancesDisasterRecoverGroup({ InstanceIds, DisasterRecoverGroupIds }));
  expectThat((await insist(() => lab.cloud.instance(id))).groupId === groupId, "it is not in its group");
  await insist(() => sdk.ModifyInstancesAttribute({ InstanceIds, HostName: "walked", AutoReboot: false }));
  await insist(() => sdk.ResetInstancesPassword({ InstanceIds, Password: "walked-Over-1" }));
  await insist(() => sdk.ModifyInstancesProject({ InstanceIds, ProjectId: 0 }));

  await insist(() => sdk.DescribeAccountQuota({}));
  await insist(() => sdk.DescribeDisasterRecoverGroupQuota());
  await insist(() => sdk.DescribeInstancesModification({ InstanceIds }));
  await insist(() => sdk.DescribeInstancesOperationLimit({ InstanceIds, Operation: "INSTANCE_DEGRADE" }));
  const ImageId = imageId;
  await insist(() => sdk.InquiryPriceRunInstances({ Placement: { Zone: zone }, ImageId, InstanceType: instanceType }));
  await insist(() => sdk.InquiryPriceResetInstancesType({ InstanceIds, InstanceType: instanceType }));
  await insist(() => sdk.InquiryPriceResizeInstanceDisks({ InstanceId: id, SystemDisk: { DiskSize: 100 } }));
}
