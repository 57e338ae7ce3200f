/** Where instances are found, inside and from outside: the networks that RunInstances names, and the actions that change them afterwards. */
import type {
  InternetAccessible,
  VirtualPrivateCloud,
} from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/v20170312/cvm_models.js";
import type * as z from "zod";
import { parseId } from "../../lib/ids.ts";
import type { InstanceRunRequest } from "../cloud.ts";
import { action } from "./action.ts";
import { Refusal } from "./error-codes.ts";
import { privateAddress } from "./instance-values.ts";
import { boolean, check, idOr, idsToChange, ignored, integer, list, refused, structure } from "./parameters.ts";

export function network() {
  return structure<VirtualPrivateCloud>()({
    VpcId: idOr("vpc", "DEFAULT", "InvalidParameterValue.VpcIdMalformed"),
    SubnetId: idOr("subnet", "DEFAULT", "InvalidParameterValue.SubnetIdMalformed"),
    AsVpcGateway: refused(),
    PrivateIpAddresses: list(privateAddress(), 100).optional(),
    Ipv6AddressCount: refused("InvalidParameterValue.VpcNotSupportIpv6Address", "asks for IPv6"),
  });
}

const publicAddress = () =>
  refused("InvalidParameter.InternetAccessibleNotSupported", "asks for a bandwidth package or the like");

export function internet() {
  return structure<InternetAccessible>()({
    InternetChargeType: ignored(),
    InternetMaxBandwidthOut: integer(0, 65_535).default(0),
    PublicIpAssigned: boolean().optional(),
    BandwidthPackageId: publicAddress(),
    InternetServiceProvider: ignored(),
    IPv4AddressType: ignored(),
    IPv6AddressType: ignored(),
    AntiDDoSPackageId: publicAddress(),
  });
}

/** The network that is named, or the account's default one. */
export function networkOf(
  given: z.output<ReturnType<typeof network>> | undefined,
  count: number,
): Pick<InstanceRunRequest, "network" | "addresses"> {
  if (given === undefined) return { network: null, addresses: null };
  const addresses = given.PrivateIpAddresses ?? [];
  if (addresses.length > 0 && addresses.length !== count) {
    throw new Refusal("InvalidParameterCombination", "Give as many `PrivateIpAddresses` as instances, or none.");
  }
  const vpcId = parseId("vpc", given.VpcId);
  const subnetId = parseId("subnet", given.SubnetId);
  if ((vpcId === undefined) !== (subnetId === undefined)) {
    throw new Refusal("InvalidParameterCombination", "Give both `VpcId` and `SubnetId`, or DEFAULT for both.");
  }
  return {
    network: subnetId === undefined ? null : { vpcId: vpcId ?? null, subnetId },
    addresses: addresses.length === 0 ? null : addresses,
  };
}

/**
 * Whoever names no address is left where it is if that is in the named subnet, and else gets any there. Who names one that it has, or is about to
 * have, has said the same twice.
 */
export const modifyInstancesVpcAttribute = action("ModifyInstancesVpcAttribute")(
  {
    InstanceIds: idsToChange("instance", 100),
    VirtualPrivateCloud: network(),
    ForceStop: boolean().default(true),
    ReserveHostName: boolean().default(true),
  },
  async ({ cloud, caller }, request) => {
    const { InstanceIds: ids, ForceStop: mayStop, ReserveHostName: keepHostname } = request;
    const to = networkOf(request.VirtualPrivateCloud, ids.length);
    await cloud.instances.renumber(caller, ids, { ...to, mayStop, keepHostname });
    return {};
  },
);

/** At once, whatever the instance is doing. Bandwidth is kept and shown, and nothing is slowed down to it. */
export const resetInstancesInternetMaxBandwidth = action("ResetInstancesInternetMaxBandwidth")(
  {
    InstanceIds: idsToChange("instance", 100),
    InternetAccessible: check(
      internet(),
      "InvalidParameterValue.Range",
      "has no `InternetMaxBandwidthOut` above 0",
      ({ InternetMaxBandwidthOut }) => InternetMaxBandwidthOut > 0,
    ),
    StartTime: refused("UnsupportedOperation", "is for prepaid bandwidth"),
    EndTime: refused("UnsupportedOperation", "is for prepaid bandwidth"),
  },
  async ({ cloud, caller }, request) => {
    const { InstanceIds: instanceIds, InternetAccessible: wanted } = request;
    await cloud.network.elasticAddresses.setBandwidth(caller, { instanceIds }, wanted.InternetMaxBandwidthOut);
    return {};
  },
);
