/** Subnets, and which of their addresses are in use. */
import type { Subnet } from "tencentcloud-sdk-nodejs/tencentcloud/services/vpc/v20170312/vpc_models.js";
import type { SubnetQuery, SubnetView } from "../../cloud/network.ts";
import { action } from "../action.ts";
import { byIds, filters, filterValues, listed, notBoth, type Narrows } from "../filters.ts";
import { privateAddress } from "../instance-values.ts";
import { id, idsToRead, ignored, integer, list, refused, text } from "../parameters.ts";
import { shownTags, tagsOf } from "../tag-values.ts";
import {
  byTagKey,
  coexist,
  nameOf,
  networkName,
  pageOf,
  tags,
  textPage,
  truthFilter,
  vpcFilters,
  vpcTime,
} from "./values.ts";

export const createSubnet = action("CreateSubnet")(
  {
    VpcId: id("vpc"),
    SubnetName: networkName(),
    CidrBlock: text(18, "InvalidParameterValue.Malformed"),
    Zone: text(64, "InvalidZone.MismatchRegion"),
    Tags: tags(),
    CdcId: refused(),
  },
  async ({ cloud, caller }, request) => {
    const subnet = await cloud.network.subnets.create(caller, {
      vpcId: request.VpcId,
      name: request.SubnetName,
      cidr: request.CidrBlock,
      zone: request.Zone,
      tags: tagsOf(request.Tags),
    });
    return { Subnet: shownSubnet(subnet) };
  },
);

const narrows: Narrows<SubnetQuery> = {
  "subnet-id": byIds("subnet", (ids) => ({ ids })),
  "vpc-id": (vpcIds) => ({ vpcIds }),
  "cidr-block": (cidrs) => ({ cidrs }),
  "is-default": truthFilter("isDefault"),
  // There is none of these.
  "is-remote-vpc-snat": (values) => (values.includes("false") ? {} : null),
  "is-cdc-subnet": (values) => (values.includes("0") ? {} : null),
  "cdc-id": () => null,
  "ipv6-cidr-block": () => null,
  "subnet-name": (names) => ({ names }),
  zone: (zones) => ({ zones }),
  ...byTagKey,
};

export const describeSubnets = action("DescribeSubnets")(
  {
    SubnetIds: idsToRead("subnet", 100).optional(),
    Filters: vpcFilters(Object.keys(narrows)),
    ...textPage,
    MaxResults: refused("UnsupportedOperation", "asks for tokens in place of `Offset` and `Limit`"),
    NextToken: refused("UnsupportedOperation", "asks for tokens in place of `Offset` and `Limit`"),
  },
  async ({ cloud, caller }, request) => {
    const { total, items } = await listed("SubnetIds", request, narrows, coexist, (query) =>
      cloud.network.subnets.list(caller, query, pageOf(request)),
    );
    return { TotalCount: total, SubnetSet: items.map(shownSubnet) };
  },
);

export const modifySubnetAttribute = action("ModifySubnetAttribute")(
  {
    SubnetId: id("subnet"),
    SubnetName: networkName().optional(),
    // Between hosts nothing is flooded, whatever it says; what guests ask by broadcast (ARP, DHCP) is answered by their host.
    EnableBroadcast: ignored(),
  },
  async ({ cloud, caller }, request) => {
    await cloud.network.subnets.modify(caller, request.SubnetId, nameOf(request.SubnetName));
    return {};
  },
);

export const deleteSubnet = action("DeleteSubnet")({ SubnetId: id("subnet") }, async ({ cloud, caller }, request) => {
  await cloud.network.subnets.delete(caller, request.SubnetId);
  return {};
});

export const describeUsedIpAddress = action("DescribeUsedIpAddress")(
  {
    VpcId: id("vpc"),
    SubnetId: id("subnet").optional(),
    IpAddresses: list(privateAddress(), 100).optional(),
    Filters: filters(["ip-addresses", "resource-id"], 100, "InvalidParameter.FilterInvalidKey"),
    Offset: integer(0, 1_000_000_000).default(0),
    Limit: integer(1, 100).default(20),
  },
  async ({ cloud, caller }, request) => {
    const given = request.IpAddresses ?? [];
    notBoth(given, request.Filters, "IpAddresses", coexist);
    const filter = filterValues(request.Filters);
    const ips = given.length > 0 ? given : filter.get("ip-addresses");
    const instanceIds = filter.get("resource-id");
    const { total, items } = await cloud.network.subnets.usedAddresses(
      caller,
      {
        vpcId: request.VpcId,
        ...(request.SubnetId === undefined ? {} : { subnetId: request.SubnetId }),
        ...(ips === undefined ? {} : { ips }),
        ...(instanceIds === undefined ? {} : { instanceIds }),
      },
      { offset: request.Offset, limit: request.Limit },
    );
    return {
      TotalCount: total,
      IpAddressStates: items.map(({ vpcId, subnetId, ip, instanceId }) => ({
        VpcId: vpcId,
        SubnetId: subnetId,
        IpAddress: ip,
        ResourceType: "CVM",
        ResourceId: instanceId,
      })),
    };
  },
);

/** Every field that clients dereference without looking is there. */
function shownSubnet(subnet: SubnetView): Subnet {
  return {
    SubnetId: subnet.id,
    VpcId: subnet.vpcId,
    SubnetName: subnet.name,
    CidrBlock: subnet.cidr,
    IsDefault: subnet.isDefault,
    EnableBroadcast: true,
    Zone: subnet.zone,
    RouteTableId: subnet.routeTableId,
    CreatedTime: vpcTime(subnet.createdAt),
    AvailableIpAddressCount: subnet.addresses.free,
    TotalIpAddressCount: subnet.addresses.total,
    Ipv6CidrBlock: "",
    NetworkAclId: "",
    IsRemoteVpcSnat: false,
    TagSet: shownTags(subnet.tags),
    CdcId: "",
    IsCdcSubnet: 0,
  };
}
