/** The actions that read instances. An id that is not there is no error: the set is empty, as clients that poll a deletion expect. */
import { instanceStates } from "../../core/instance.ts";
import type { InstanceQuery } from "../cloud.ts";
import { action } from "./action.ts";
import { Refusal } from "./error-codes.ts";
import { byIds, byWords, filters, listed, type Narrows } from "./filters.ts";
import { shownInstance } from "./instance-view.ts";
import { check, idsToRead, list, oneOf, page } from "./parameters.ts";

const idLimit = 100;

const narrows: Narrows<InstanceQuery> = {
  zone: (zones) => ({ zones }),
  "project-id": (values) => (values.includes("0") ? {} : null),
  "host-id": byIds("host", (hostIds) => ({ hostIds })),
  "dedicated-cluster-id": () => null,
  "vpc-id": (vpcIds) => ({ vpcIds }),
  "subnet-id": (subnetIds) => ({ subnetIds }),
  "instance-id": byIds("instance", (ids) => ({ ids })),
  uuid: (uuids) => ({ uuids }),
  "security-group-id": (securityGroupIds) => ({ securityGroupIds }),
  "instance-name": (names) => ({ names }),
  "instance-charge-type": (values) => (values.includes("POSTPAID_BY_HOUR") ? {} : null),
  "instance-state": byWords(instanceStates, (states) => ({ states })),
  "private-ip-address": (ips) => ({ ips }),
  "public-ip-address": (elasticIps) => ({ elasticIps }),
  "ipv6-address": () => null,
  "tag-key": (tagKeys) => ({ tagKeys }),
  "tag-value": (tagValues) => ({ tagValues }),
  "creation-start-time": (values) => ({ createdFrom: widestFrom(values) }),
  "creation-end-time": (values) => ({ createdTo: widestTo(values) }),
};

const instanceFilters = filters([...Object.keys(narrows), "tag:"], 5);

export const describeInstances = action("DescribeInstances")(
  { InstanceIds: idsToRead("instance", idLimit).optional(), Filters: instanceFilters, ...page },
  async ({ cloud, caller }, request) => {
    const { total, items } = await listed("InstanceIds", request, narrows, "InvalidParameterCombination", (query) =>
      cloud.instances.list(caller, query, { offset: request.Offset, limit: request.Limit }),
    );
    return { TotalCount: total, InstanceSet: items.map(shownInstance) };
  },
);

export const describeInstancesStatus = action("DescribeInstancesStatus")(
  { InstanceIds: idsToRead("instance", idLimit).optional(), ...page },
  async ({ cloud, caller }, request) => {
    const given = request.InstanceIds ?? [];
    const { total, items } = await cloud.instances.list(caller, given.length > 0 ? { ids: given } : {}, {
      offset: request.Offset,
      limit: request.Limit,
    });
    return {
      TotalCount: total,
      InstanceStatusSet: items.map((view) => ({ InstanceId: view.id, InstanceState: view.state })),
    };
  },
);

export const describeInstancesAttributes = action("DescribeInstancesAttributes")(
  {
    Attributes: check(
      list(oneOf(["UserData"]), 10),
      "InvalidParameterValue.NotEmpty",
      "is empty",
      (names) => names.length > 0,
    ),
    InstanceIds: check(
      idsToRead("instance", idLimit),
      "InvalidParameterValue.NotEmpty",
      "is empty",
      (given) => given.length > 0,
    ),
  },
  async ({ cloud, caller }, request) => {
    const { items } = await cloud.instances.list(caller, { ids: request.InstanceIds }, { offset: 0, limit: idLimit });
    return {
      InstanceSet: items.map((view) => ({ InstanceId: view.id, Attributes: { UserData: view.userData ?? "" } })),
    };
  },
);

/** Any value of a filter may hold, so of several ends the widest counts. */
function widestFrom(values: string[]): Date {
  return new Date(Math.min(...values.map(timeOf)));
}

function widestTo(values: string[]): Date {
  return new Date(Math.max(...values.map(timeOf)));
}

/** `2023-06-01 00:00:00`, taken as UTC, or ISO 8601 with a zone. */
function timeOf(value: string): number {
  const form = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(Z|[+-]\d{2}:\d{2})?)?$/.exec(value);
  const time =
    form === null
      ? Number.NaN
      : Date.parse(`${value.replace(" ", "T")}${value.length > 10 && form[1] === undefined ? "Z" : ""}`);
  if (Number.isNaN(time)) {
    throw new Refusal(
      "InvalidParameterValue.InvalidTimeFormat",
      "A creation time must be `YYYY-MM-DD hh:mm:ss`, in UTC.",
    );
  }
  return time;
}
