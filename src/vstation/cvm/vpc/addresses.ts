/** Elastic addresses: an account's own addresses towards the outside. Their bandwidth is kept and shown, and nothing is slowed down to it. */
import type { Address } from "tencentcloud-sdk-nodejs/tencentcloud/services/vpc/v20170312/vpc_models.js";
import type { ElasticAddressQuery, ElasticAddressView } from "../../cloud/network.ts";
import { action, utcSeconds, type Context } from "../action.ts";
import { Refusal } from "../error-codes.ts";
import { byIds, byWords, listed, type Narrows } from "../filters.ts";
import { clientToken } from "../instance-values.ts";
import { check, id, idsToChange, idsToRead, ignored, integer, line, oneOf, refused, text } from "../parameters.ts";
import { shownTags, tagsOf } from "../tag-values.ts";
import { byTagKey, coexist, nameOf, tags, vpcFilters } from "./values.ts";

const idLimit = 100;

export const allocateAddresses = action("AllocateAddresses")(
  {
    AddressCount: integer(1, 20).default(1),
    InternetServiceProvider: ignored(),
    InternetChargeType: ignored(),
    IPChargeType: ignored(),
    InternetMaxBandwidthOut: integer(0, 65_535).default(1),
    AddressChargePrepaid: refused("UnsupportedOperation", "asks for prepayment"),
    AddressType: check(
      oneOf(["EIP", "AnycastEIP", "HighQualityEIP", "AntiDDoSEIP", "ResidentialEIP"]),
      "UnsupportedOperation",
      "must be EIP",
      (value) => value === "EIP",
    ).optional(),
    AnycastZone: refused(),
    VipCluster: refused(),
    ApplicableForCLB: refused(),
    Tags: tags(),
    BandwidthPackageId: refused(),
    AddressName: line(128).optional(),
    DedicatedClusterId: refused(),
    IsDedicatedAddressPool: refused(),
    Egress: ignored(),
    AntiDDoSPackageId: refused(),
    ClientToken: clientToken().optional(),
  },
  async ({ cloud, caller }, request) => {
    const ids = await cloud.network.elasticAddresses.allocate(caller, {
      count: request.AddressCount,
      name: request.AddressName ?? "",
      bandwidthMbps: request.InternetMaxBandwidthOut,
      tags: tagsOf(request.Tags),
      clientToken: request.ClientToken ?? null,
    });
    // It is done by now; whoever asks for the task's end is told so.
    return { AddressSet: ids, TaskId: "0" };
  },
);

const narrows: Narrows<ElasticAddressQuery> = {
  "address-id": byIds("elasticAddress", (ids) => ({ ids })),
  "address-name": (names) => ({ names }),
  "address-ip": (ips) => ({ ips }),
  "address-status": byWords(["BIND", "UNBIND"], (asked) => (asked.length > 1 ? {} : { bound: asked[0] === "BIND" })),
  "instance-id": (instanceIds) => ({ instanceIds }),
  "private-ip-address": (privateIps) => ({ privateIps }),
  "network-interface-id": () => null,
  "is-arrears": (values) => (values.includes("FALSE") ? {} : null),
  "instance-type": (values) => (values.includes("CVM") ? { bound: true } : null),
  "address-type": byWords(["EIP", "WanIP"], (asked) => ({
    kinds: asked.map((type) => (type === "EIP" ? "eip" : "wan")),
  })),
  "address-isp": (values) => (values.includes("BGP") ? {} : null),
  "dedicated-cluster-id": () => null,
  ...byTagKey,
};

export const describeAddresses = action("DescribeAddresses")(
  {
    AddressIds: idsToRead("elasticAddress", idLimit).optional(),
    Filters: vpcFilters(Object.keys(narrows)),
    Offset: integer(0, 1_000_000_000).default(0),
    Limit: integer(1, 100).default(20),
  },
  async ({ cloud, caller }, request) => {
    const byId = (request.AddressIds ?? []).length > 0;
    const { total, items } = await listed("AddressIds", request, narrows, coexist, (query) => {
      // Addresses that came with an instance are shown to whoever asks for them by type.
      const shown = byId || query.kinds !== undefined ? query : { ...query, kinds: ["eip" as const] };
      return cloud.network.elasticAddresses.list(caller, shown, { offset: request.Offset, limit: request.Limit });
    });
    return { TotalCount: total, AddressSet: items.map(shownAddress) };
  },
);

export const modifyAddressAttribute = action("ModifyAddressAttribute")(
  { AddressId: id("elasticAddress"), AddressName: line(128).optional(), EipDirectConnection: ignored() },
  async ({ cloud, caller }, request) => {
    const { AddressId, AddressName } = request;
    await cloud.network.elasticAddresses.modify(caller, AddressId, nameOf(AddressName));
    return {};
  },
);

export const modifyAddressesBandwidth = action("ModifyAddressesBandwidth")(
  {
    AddressIds: idsToChange("elasticAddress", idLimit),
    InternetMaxBandwidthOut: integer(1, 65_535),
    StartTime: ignored(),
    EndTime: ignored(),
  },
  async ({ cloud, caller }, request) => {
    const { AddressIds: ids, InternetMaxBandwidthOut: mbps } = request;
    await cloud.network.elasticAddresses.setBandwidth(caller, { ids }, mbps);
    return { TaskId: "0" };
  },
);

export const associateAddress = action("AssociateAddress")(
  {
    AddressId: id("elasticAddress"),
    InstanceId: id("instance"),
    NetworkInterfaceId: refused(),
    PrivateIpAddress: text(15).optional(),
    EipDirectConnection: refused(),
    InstanceRegion: ignored(),
  },
  async (context, request) => {
    const { AddressId, InstanceId, PrivateIpAddress } = request;
    if (PrivateIpAddress !== undefined) await checkPrivate(context, InstanceId, PrivateIpAddress);
    await context.cloud.network.elasticAddresses.associate(context.caller, AddressId, InstanceId);
    return { TaskId: "0" };
  },
);

/** An instance has one address inside; who names it must name that. */
async function checkPrivate(
  { cloud, caller }: Context,
  instanceId: Parameters<typeof cloud.instances.consoleLog>[1],
  ip: string,
): Promise<void> {
  const { items } = await cloud.instances.list(caller, { ids: [instanceId] }, { offset: 0, limit: 1 });
  if (items.length === 0 || items[0]?.ip === ip) return;
  throw new Refusal("InvalidParameterValue.AddressIpNotFound", `The instance does not have the address ${ip}.`);
}

export const disassociateAddress = action("DisassociateAddress")(
  { AddressId: id("elasticAddress"), ReallocateNormalPublicIp: refused() },
  async ({ cloud, caller }, request) => {
    await cloud.network.elasticAddresses.disassociate(caller, request.AddressId);
    return { TaskId: "0" };
  },
);

export const releaseAddresses = action("ReleaseAddresses")(
  { AddressIds: idsToChange("elasticAddress", idLimit) },
  async ({ cloud, caller }, request) => {
    await cloud.network.elasticAddresses.release(caller, request.AddressIds);
    return { TaskId: "0" };
  },
);

function shownAddress(address: ElasticAddressView): Address {
  return {
    AddressId: address.id,
    AddressName: address.name,
    AddressStatus: address.instanceId === null ? "UNBIND" : "BIND",
    AddressIp: address.ip,
    InstanceId: address.instanceId ?? "",
    InstanceType: address.instanceId === null ? "" : "CVM",
    PrivateAddressIp: address.privateIp ?? "",
    NetworkInterfaceId: "",
    CreatedTime: utcSeconds(address.createdAt),
    IsArrears: false,
    IsBlocked: false,
    IsEipDirectConnection: false,
    AddressType: address.kind === "wan" ? "WanIP" : "EIP",
    CascadeRelease: address.kind === "wan",
    EipAlgType: { Ftp: false, Sip: false },
    InternetServiceProvider: "BGP",
    LocalBgp: false,
    Bandwidth: address.bandwidthMbps,
    InternetChargeType: "TRAFFIC_POSTPAID_BY_HOUR",
    TagSet: shownTags(address.tags),
    Egress: "",
    BandwidthPackageId: "",
    UnVpcId: "",
    DedicatedClusterId: "",
  };
}
