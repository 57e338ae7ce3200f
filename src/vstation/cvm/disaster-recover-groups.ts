/**
 * Placement groups: instances of one group are spread over hosts, at most `Affinity` of them on each. Groups over switches and racks
 * are refused and not spread over hosts instead: nobody has told which hosts share one, and a promise kept by chance is none.
 */
import type * as z from "zod";
import type { GroupView } from "../cloud.ts";
import { action, utcSeconds } from "./action.ts";
import { Refusal } from "./error-codes.ts";
import { filters } from "./filters.ts";
import { clientToken } from "./instance-values.ts";
import { check, id, idsToChange, idsToRead, ignored, integer, line, list, oneOf, page, refused } from "./parameters.ts";

const idLimit = 10;
const groupName = check(line(60), "InvalidParameterValue.NotEmpty", "is empty", (name) => name !== "");

export const createDisasterRecoverGroup = action("CreateDisasterRecoverGroup")(
  {
    Name: groupName,
    Type: check(
      oneOf(["HOST", "SW", "RACK"]),
      "UnsupportedOperation",
      "must be HOST: which switch or rack a host is at is not known",
      (value) => value === "HOST",
    ) as z.ZodType<"HOST">,
    Affinity: integer(1, 10).default(1),
    ClientToken: clientToken().optional(),
    Strategy: check(
      oneOf(["SPREAD", "PARTITION"]),
      "UnsupportedOperation",
      "must be SPREAD",
      (value) => value === "SPREAD",
    ).optional(),
    PartitionCount: refused("UnsupportedOperation", "asks for a partitioned group"),
    TagSpecification: refused("UnsupportedOperation", "asks for tags, which only instances have here"),
  },
  async ({ cloud, caller }, request) => {
    const group = await cloud.groups.create(caller, {
      name: request.Name,
      type: request.Type,
      affinity: request.Affinity,
      clientToken: request.ClientToken ?? null,
    });
    const { InstanceIds: _, Affinity: __, ...shown } = shownGroup(group);
    return shown;
  },
);

export const describeDisasterRecoverGroups = action("DescribeDisasterRecoverGroups")(
  {
    DisasterRecoverGroupIds: idsToRead("group", idLimit).optional(),
    Name: line(60).optional(),
    ...page,
    Filters: filters(["tag-key", "tag-value", "tag:"], 5),
  },
  async ({ cloud, caller }, request) => {
    // Every filter asks for tags, and no group has one.
    if ((request.Filters ?? []).length > 0) return { TotalCount: 0, DisasterRecoverGroupSet: [] };
    const ids = request.DisasterRecoverGroupIds ?? [];
    const { total, items } = await cloud.groups.list(
      caller,
      { ...(ids.length > 0 ? { ids } : {}), ...(request.Name ? { name: request.Name } : {}) },
      { offset: request.Offset, limit: request.Limit },
    );
    return { TotalCount: total, DisasterRecoverGroupSet: items.map((group) => ({ ...shownGroup(group), Tags: [] })) };
  },
);

export const deleteDisasterRecoverGroups = action("DeleteDisasterRecoverGroups")(
  { DisasterRecoverGroupIds: idsToChange("group", idLimit) },
  async ({ cloud, caller }, request) => {
    await cloud.groups.delete(caller, request.DisasterRecoverGroupIds);
    return {};
  },
);

export const modifyDisasterRecoverGroupAttribute = action("ModifyDisasterRecoverGroupAttribute")(
  { DisasterRecoverGroupId: id("group"), Name: groupName, Affinity: integer(1, 10).optional() },
  async ({ cloud, caller }, request) => {
    const { DisasterRecoverGroupId, Name: name, Affinity: affinity } = request;
    const change = affinity === undefined ? { name } : { name, affinity };
    await cloud.groups.modify(caller, DisasterRecoverGroupId, change);
    return {};
  },
);

/** Nothing is moved for it: `Force` may ask for a move, and an instance whose host is full of members is refused all the same. */
export const modifyInstancesDisasterRecoverGroup = action("ModifyInstancesDisasterRecoverGroup")(
  {
    InstanceIds: idsToChange("instance", 100),
    DisasterRecoverGroupId: id("group").optional(),
    DisasterRecoverGroupIds: list(id("group"), 1).optional(),
    Force: ignored(),
    PartitionNumber: refused("UnsupportedOperation", "asks for a partition"),
  },
  async ({ cloud, caller }, request) => {
    const group = request.DisasterRecoverGroupIds?.[0] ?? request.DisasterRecoverGroupId;
    if (group === undefined)
      throw new Refusal("MissingParameter", "The parameter `DisasterRecoverGroupIds` is required.");
    await cloud.groups.put(caller, request.InstanceIds, group);
    return {};
  },
);

export const deleteInstancesDisasterRecoverGroups = action("DeleteInstancesDisasterRecoverGroups")(
  { InstanceIds: idsToChange("instance", 100), DisasterRecoverGroupIds: idsToChange("group", idLimit) },
  async ({ cloud, caller }, request) => {
    await cloud.groups.takeOut(caller, request.InstanceIds, request.DisasterRecoverGroupIds);
    return {};
  },
);

function shownGroup(group: GroupView) {
  return {
    DisasterRecoverGroupId: group.id,
    Name: group.name,
    Type: group.type,
    Affinity: group.affinity,
    Strategy: "SPREAD",
    PartitionCount: 0,
    CvmQuotaTotal: group.capacity,
    CurrentNum: group.instanceIds.length,
    InstanceIds: group.instanceIds,
    CreateTime: utcSeconds(group.createdAt),
  };
}
