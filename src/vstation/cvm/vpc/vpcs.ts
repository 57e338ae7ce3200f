/** VPCs. Name servers and DHCP domains are those of the zone: what asks for others is refused, because guests would not get them. */
import type { Vpc } from "tencentcloud-sdk-nodejs/tencentcloud/services/vpc/v20170312/vpc_models.js";
import type { VpcQuery, VpcView } from "../../cloud/network.ts";
import { action } from "../action.ts";
import { byIds, listed, type Narrows } from "../filters.ts";
import { check, id, idsToRead, ignored, refused, text } from "../parameters.ts";
import { shownTags, tagsOf } from "../tag-values.ts";
import {
  byTagKey,
  coexist,
  nameOf,
  networkName,
  pageOf,
  tags,
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

const narrows: Narrows<VpcQuery> = {
  "vpc-id": byIds("vpc", (ids) => ({ ids })),
  "vpc-name": (names) => ({ names }),
  "is-default": truthFilter("isDefault"),
  "cidr-block": (cidrs) => ({ cidrs }),
  ...byTagKey,
};

export const describeVpcs = action("DescribeVpcs")(
  { VpcIds: idsToRead("vpc", 100).optional(), Filters: vpcFilters(Object.keys(narrows)), ...textPage },
  async ({ cloud, caller }, request) => {
    const { total, items } = await listed("VpcIds", request, narrows, coexist, (query) =>
      cloud.network.vpcs.list(caller, query, pageOf(request)),
    );
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
