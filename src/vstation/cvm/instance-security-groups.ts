/** Which security groups instances are in: live, in order, and never none. ModifyInstancesAttribute replaces them as a whole. */
import { action } from "./action.ts";
import { securityGroupIds } from "./instance-values.ts";
import { check, idsToChange } from "./parameters.ts";

const InstanceIds = idsToChange("instance", 100);

export function someSecurityGroups() {
  return check(securityGroupIds(), "InvalidParameterValue.NotEmpty", "is empty", (ids) => ids.length > 0);
}

export const associateSecurityGroups = action("AssociateSecurityGroups")(
  { InstanceIds, SecurityGroupIds: someSecurityGroups() },
  async ({ cloud, caller }, request) => {
    await cloud.network.securityGroups.attach(caller, request.InstanceIds, request.SecurityGroupIds);
    return {};
  },
);

export const disassociateSecurityGroups = action("DisassociateSecurityGroups")(
  { InstanceIds, SecurityGroupIds: someSecurityGroups() },
  async ({ cloud, caller }, request) => {
    await cloud.network.securityGroups.detach(caller, request.InstanceIds, request.SecurityGroupIds);
    return {};
  },
);
