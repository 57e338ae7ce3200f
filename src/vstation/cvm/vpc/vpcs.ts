/** VPCs. Name servers and DHCP domains are those of the zone: what asks for others is refused, because guests would not get them. */
import type { Vpc } from "tencentcloud-sdk-nodejs/tencentcloud/services/vpc/v20170312/vpc_models.js";
import { parseId } from "../../../lib/ids.ts";
import type { VpcQuery, VpcView } from "../../cloud/network.ts";
import { action } from "../action.ts";
import { check, id, idsToRead, ignored, refused, text } from "../parameters.ts";
import {
  nameOf,
  networkName,
  notBoth,
  pageOf,
  queryOf,
  shownTags,
  tags,
  tagsOf,
  textPage,
  truth,
  truthFilter,
  vpcFilters,
  vpcTime,
} from "./values.ts";

const noMulticast = () =>
  check(
    truth(),
    "UnsupportedOperation.EnableMulticast",
    "asks for multicast",
    (value) => value.toLowerCase() === "false",
  );

const nameServers = () => refused("UnsupportedOperation", "asks for other name servers than the subnet's own");

export const createVpc = action("CreateVpc")(
  {
    VpcName: networkName(),
    CidrBlock: text(18, "InvalidParameterValue.Malformed"),
    EnableMulticast: noMulticast().optional(),
    DnsServers: nameServers(),
    DomainName: refused(),
    Tags: tags(),
    // About networks of several regions, of which there is one.
    EnableRouteVpcPublish: ignored(),
    EnableRouteVpcPublishIpv6: ignored(),
  },
  async ({ cloud, caller }, request) => {
    const vpc = await cloud.network.vpcs.create(caller, {
      name: request.VpcName,
      cidr: request.CidrBlock,
      tags: tagsOf(request.Tags),
    });
    return { Vpc: shownVpc(vpc) };
  },
);

const narrows: Readonly<Record<string, (values: string[]) => Partial<VpcQuery> | null>> = {
  "vpc-id": (values) => {
    const ids = values.map((value) => parseId("vpc", value)).filter((value) => value !== undefined);
    return ids.length === 0 ? null : { ids };
  },
  "vpc-name": (names) => ({ names }),
  "is-default": truthFilter("isDefault"),
  "cidr-block": (cidrs) => ({ cidrs }),
};

export const describeVpcs = action("DescribeVpcs")(
  { VpcIds: idsToRead("vpc", 100).optional(), Filters: vpcFilters(Object.keys(narrows)), ...textPage },
  async ({ cloud, caller }, request) => {
    const ids = request.VpcIds ?? [];
    notBoth(ids, request.Filters, "VpcIds");
    const query = ids.length > 0 ? { ids } : queryOf<VpcQuery>(request.Filters, narrows);
    if (query === null) return { TotalCount: 0, VpcSet: [] };
    const { total, items } = await cloud.network.vpcs.list(caller, query, pageOf(request));
    return { TotalCount: total, VpcSet: items.map(shownVpc) };
  },
);

export const modifyVpcAttribute = action("ModifyVpcAttribute")(
  {
    VpcId: id("vpc"),
    VpcName: networkName().optional(),
    EnableMulticast: noMulticast().optional(),
    DnsServers: nameServers(),
    DomainName: refused(),
    EnableRouteVpcPublish: ignored(),
    EnableRouteVpcPublishIpv6: ignored(),
    EnableCdcPublish: ignored(),
  },
  async ({ cloud, caller }, request) => {
    await cloud.network.vpcs.modify(caller, request.VpcId, nameOf(request.VpcName));
    return {};
  },
);

export const deleteVpc = action("DeleteVpc")({ VpcId: id("vpc") }, async ({ cloud, caller }, request) => {
  await cloud.network.vpcs.delete(caller, request.VpcId);
  return {};
});

/** Every field that clients dereference without looking is there. */
function shownVpc(vpc: VpcView): Vpc {
  return {
    VpcId: vpc.id,
    VpcName: vpc.name,
    CidrBlock: vpc.cidr,
    IsDefault: vpc.isDefault,
    EnableMulticast: false,
    CreatedTime: vpcTime(vpc.createdAt),
    DnsServerSet: [],
    DomainName: "",
    DhcpOptionsId: "",
    EnableDhcp: true,
    Ipv6CidrBlock: "",
    TagSet: shownTags(vpc.tags),
    AssistantCidrSet: [],
    EnableRouteVpcPublish: false,
    EnableRouteVpcPublishIpv6: false,
  };
}
