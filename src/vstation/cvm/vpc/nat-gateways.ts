/**
 * NAT gateways. One has no address of its own: every host translates what leaves the VPC to its own address, so nothing is between a
 * guest and the outside that could fail or be too slow. What asks for certain public addresses is refused, because nobody would see them.
 */
import type { NatGateway } from "tencentcloud-sdk-nodejs/tencentcloud/services/vpc/v20170312/vpc_models.js";
import type { NatGatewayQuery, NatGatewayView } from "../../cloud/network.ts";
import { action } from "../action.ts";
import { byIds, listed, type Narrows } from "../filters.ts";
import { id, idsToRead, ignored, integer, refused, text } from "../parameters.ts";
import { shownTags, tagsOf } from "../tag-values.ts";
import { byTagKey, coexist, networkName, tags, vpcFilters, vpcTime } from "./values.ts";

const noAddress = () =>
  refused("UnsupportedOperation", "asks for public addresses of the gateway, and each host's own is used");

export const createNatGateway = action("CreateNatGateway")(
  {
    NatGatewayName: networkName(),
    VpcId: id("vpc"),
    // Nothing is between a guest and the outside that would have a limit.
    InternetMaxBandwidthOut: ignored(),
    MaxConcurrentConnection: ignored(),
    AddressCount: noAddress(),
    PublicIpAddresses: noAddress(),
    Zone: text(64, "InvalidZone.MismatchRegion").optional(),
    Tags: tags(),
    SubnetId: ignored(),
    StockPublicIpAddressesBandwidthOut: ignored(),
    PublicIpAddressesBandwidthOut: ignored(),
    PublicIpFromSameZone: ignored(),
    NatProductVersion: ignored(),
    DeletionProtectionEnabled: refused(),
    ExclusiveType: refused(),
  },
  async ({ cloud, caller, place }, request) => {
    const gateway = await cloud.network.natGateways.create(caller, {
      vpcId: request.VpcId,
      name: request.NatGatewayName,
      zone: request.Zone ?? place.zones[0] ?? "",
      tags: tagsOf(request.Tags),
    });
    return { NatGatewaySet: [shownGateway(gateway)], TotalCount: 1 };
  },
);

const narrows: Narrows<NatGatewayQuery> = {
  "nat-gateway-id": byIds("natGateway", (ids) => ({ ids })),
  "vpc-id": (vpcIds) => ({ vpcIds }),
  "nat-gateway-name": (names) => ({ names }),
  ...byTagKey,
};

export const describeNatGateways = action("DescribeNatGateways")(
  {
    NatGatewayIds: idsToRead("natGateway", 100).optional(),
    Filters: vpcFilters(Object.keys(narrows)),
    Offset: integer(0, 1_000_000_000).default(0),
    Limit: integer(1, 100).default(20),
  },
  async ({ cloud, caller }, request) => {
    const { total, items } = await listed("NatGatewayIds", request, narrows, coexist, (query) =>
      cloud.network.natGateways.list(caller, query, { offset: request.Offset, limit: request.Limit }),
    );
    return { NatGatewaySet: items.map(shownGateway), TotalCount: total };
  },
);

export const deleteNatGateway = action("DeleteNatGateway")(
  { NatGatewayId: id("natGateway"), IgnoreOperationRisk: ignored() },
  async ({ cloud, caller }, request) => {
    await cloud.network.natGateways.delete(caller, request.NatGatewayId);
    return {};
  },
);

function shownGateway(gateway: NatGatewayView): NatGateway {
  return {
    NatGatewayId: gateway.id,
    NatGatewayName: gateway.name,
    CreatedTime: vpcTime(gateway.createdAt),
    State: "AVAILABLE",
    InternetMaxBandwidthOut: 0,
    MaxConcurrentConnection: 0,
    PublicIpAddressSet: [],
    NetworkState: "AVAILABLE",
    DestinationIpPortTranslationNatRuleSet: [],
    VpcId: gateway.vpcId,
    Zone: gateway.zone,
    DirectConnectGatewayIds: [],
    SubnetId: "",
    TagSet: shownTags(gateway.tags),
    SecurityGroupSet: [],
    SourceIpTranslationNatRuleSet: [],
    IsExclusive: false,
    RestrictState: "NORMAL",
    NatProductVersion: 1,
    StrictSnatMode: false,
    DeletionProtectionEnabled: false,
  };
}
