/** Security groups themselves; their policies are in policies.ts. */
import type { SecurityGroup } from "tencentcloud-sdk-nodejs/tencentcloud/services/vpc/v20170312/vpc_models.js";
import type { SecurityGroupQuery, SecurityGroupView } from "../../cloud/network.ts";
import { action } from "../action.ts";
import { byIds, listed, type Narrows } from "../filters.ts";
import { check, id, idsToRead, line, list, oneOf, text } from "../parameters.ts";
import { shownTags, tagsOf } from "../tag-values.ts";
import { byTagKey, coexist, networkName, pageOf, tags, textPage, vpcFilters, vpcTime } from "./values.ts";

/** The one project there is. */
const projectId = () =>
  check(
    text(20),
    "InvalidParameterValue",
    "must be 0: there are no projects",
    (value) => value === "0" || value === "",
  );

export const createSecurityGroup = action("CreateSecurityGroup")(
  { GroupName: networkName(), GroupDescription: line(100), ProjectId: projectId().optional(), Tags: tags() },
  async ({ cloud, caller }, request) => {
    const group = await cloud.network.securityGroups.create(caller, {
      name: request.GroupName,
      description: request.GroupDescription,
      tags: tagsOf(request.Tags),
    });
    return { SecurityGroup: shownGroup(group) };
  },
);

const narrows: Narrows<SecurityGroupQuery> = {
  "security-group-id": byIds("securityGroup", (ids) => ({ ids })),
  "project-id": (values) => (values.includes("0") ? {} : null),
  "security-group-name": (names) => ({ names }),
  ...byTagKey,
};

export const describeSecurityGroups = action("DescribeSecurityGroups")(
  {
    SecurityGroupIds: idsToRead("securityGroup", 100).optional(),
    Filters: vpcFilters(Object.keys(narrows)),
    ...textPage,
    // Oldest first is the one order there is; the other way around would need another page.
    OrderField: oneOf(["CreatedTime"]).optional(),
    OrderDirection: oneOf(["ASC"]).optional(),
  },
  async ({ cloud, caller }, request) => {
    const { total, items } = await listed("SecurityGroupIds", request, narrows, coexist, (query) =>
      cloud.network.securityGroups.list(caller, query, pageOf(request)),
    );
    return { TotalCount: total, SecurityGroupSet: items.map(shownGroup) };
  },
);

export const modifySecurityGroupAttribute = action("ModifySecurityGroupAttribute")(
  { SecurityGroupId: id("securityGroup"), GroupName: networkName().optional(), GroupDescription: line(100).optional() },
  async ({ cloud, caller }, request) => {
    const { SecurityGroupId, GroupName, GroupDescription } = request;
    await cloud.network.securityGroups.modify(caller, SecurityGroupId, {
      ...(GroupName === undefined ? {} : { name: GroupName }),
      ...(GroupDescription === undefined ? {} : { description: GroupDescription }),
    });
    return {};
  },
);

export const deleteSecurityGroup = action("DeleteSecurityGroup")(
  { SecurityGroupId: id("securityGroup") },
  async ({ cloud, caller }, request) => {
    await cloud.network.securityGroups.delete(caller, request.SecurityGroupId);
    return {};
  },
);

export const describeSecurityGroupAssociationStatistics = action("DescribeSecurityGroupAssociationStatistics")(
  { SecurityGroupIds: list(id("securityGroup"), 100) },
  async ({ cloud, caller }, request) => {
    const uses = await cloud.network.securityGroups.uses(caller, request.SecurityGroupIds);
    return {
      SecurityGroupAssociationStatisticsSet: uses.map(({ id: SecurityGroupId, instances, groups }) => ({
        SecurityGroupId,
        CVM: instances,
        CDB: 0,
        ENI: 0,
        SG: groups,
        CLB: 0,
        InstanceStatistics: [{ InstanceType: "CVM", InstanceCount: instances }],
        TotalCount: instances,
      })),
    };
  },
);

/** Every field that clients dereference without looking is there; the project's number is a text. */
function shownGroup(group: SecurityGroupView): SecurityGroup {
  return {
    SecurityGroupId: group.id,
    SecurityGroupName: group.name,
    SecurityGroupDesc: group.description,
    ProjectId: "0",
    IsDefault: group.isDefault,
    CreatedTime: vpcTime(group.createdAt),
    UpdateTime: vpcTime(group.updatedAt),
    TagSet: shownTags(group.tags),
  };
}
