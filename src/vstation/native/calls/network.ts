/** VPCs, subnets, ways out and elastic addresses: the thin part between the wire and the use cases. */
import type { ElasticAddressWire } from "../../../api/native/elastic-addresses.ts";
import type { NatGatewayWire, RouteTableWire, SubnetWire, VpcWire } from "../../../api/native/network.ts";
import type { RouteTableId } from "../../../lib/ids.ts";
import type { AnyCaller } from "../../cloud.ts";
import type {
  ElasticAddressView,
  NatGatewayView,
  RouteTables,
  RouteTableView,
  SubnetView,
  VpcView,
} from "../../cloud/network.ts";
import { narrowed, oneOf, onlyZone, type Calls } from "../call.ts";

/** The only place to which a route leads. */
const outside = "0.0.0.0/0";

export const networkCalls: Calls<
  | "vpcList"
  | "vpcCreate"
  | "vpcModify"
  | "vpcDelete"
  | "subnetList"
  | "subnetCreate"
  | "subnetModify"
  | "subnetDelete"
  | "routeTableList"
  | "routeTableCreate"
  | "routeTableModify"
  | "routeTableDelete"
  | "natGatewayList"
  | "natGatewayCreate"
  | "natGatewayDelete"
  | "elasticAddressList"
  | "elasticAddressAllocate"
  | "elasticAddressModify"
  | "elasticAddressAttach"
  | "elasticAddressDetach"
  | "elasticAddressRelease"
> = {
  async vpcList({ cloud }, { query, operator }) {
    const { total, items } = await cloud.network.vpcs.list(operator, ...narrowed(query));
    return { total, vpcs: items.map(vpcAnswer) };
  },

  async vpcCreate({ cloud }, { request, owner }) {
    return vpcAnswer(await cloud.network.vpcs.create(owner, request));
  },

  async vpcModify({ cloud }, { params, request, operator }) {
    await cloud.network.vpcs.modify(operator, params.id, request);
    return vpcAnswer(await oneOf("vpc", params.id, cloud.network.vpcs, operator));
  },

  async vpcDelete({ cloud }, { params, operator }) {
    await cloud.network.vpcs.delete(operator, params.id);
    return {};
  },

  async subnetList({ cloud }, { query, operator }) {
    const { total, items } = await cloud.network.subnets.list(operator, ...narrowed(query));
    return { total, subnets: items.map(subnetAnswer) };
  },

  async subnetCreate({ cloud }, { request, owner }) {
    return subnetAnswer(
      await cloud.network.subnets.create(owner, { ...request, zone: request.zone ?? onlyZone(cloud) }),
    );
  },

  async subnetModify({ cloud }, { params: { id }, request, operator }) {
    const { subnets, routeTables } = cloud.network;
    if ("name" in request) await subnets.modify(operator, id, request);
    else await routeTables.associate(operator, id, request.routeTableId);
    return subnetAnswer(await oneOf("subnet", id, subnets, operator));
  },

  async subnetDelete({ cloud }, { params, operator }) {
    await cloud.network.subnets.delete(operator, params.id);
    return {};
  },

  async routeTableList({ cloud }, { query, operator }) {
    const { total, items } = await cloud.network.routeTables.list(operator, ...narrowed(query));
    return { total, routeTables: items.map(routeTableAnswer) };
  },

  async routeTableCreate({ cloud }, { request, owner }) {
    return routeTableAnswer(await cloud.network.routeTables.create(owner, request));
  },

  async routeTableModify({ cloud }, { params: { id }, request, operator }) {
    const { routeTables } = cloud.network;
    if ("name" in request) await routeTables.rename(operator, id, request.name);
    else await leadOut(routeTables, operator, id, request.natGatewayId);
    return routeTableAnswer(await oneOf("routeTable", id, routeTables, operator));
  },

  async routeTableDelete({ cloud }, { params, operator }) {
    await cloud.network.routeTables.delete(operator, params.id);
    return {};
  },

  async natGatewayList({ cloud }, { query, operator }) {
    const { total, items } = await cloud.network.natGateways.list(operator, ...narrowed(query));
    return { total, natGateways: items.map(natGatewayAnswer) };
  },

  async natGatewayCreate({ cloud }, { request, owner }) {
    const zone = request.zone ?? onlyZone(cloud);
    return natGatewayAnswer(await cloud.network.natGateways.create(owner, { ...request, zone }));
  },

  async natGatewayDelete({ cloud }, { params, operator }) {
    await cloud.network.natGateways.delete(operator, params.id);
    return {};
  },

  async elasticAddressList({ cloud }, { query, operator }) {
    const { total, items } = await cloud.network.elasticAddresses.list(operator, ...narrowed(query));
    return { total, elasticAddresses: items.map(elasticAddressAnswer) };
  },

  async elasticAddressAllocate({ cloud }, { request, owner }) {
    const ids = await cloud.network.elasticAddresses.allocate(owner, request);
    const { items } = await cloud.network.elasticAddresses.list(owner, { ids }, { offset: 0, limit: ids.length });
    return { elasticAddresses: items.map(elasticAddressAnswer) };
  },

  async elasticAddressModify({ cloud }, { params: { id }, request, operator }) {
    await cloud.network.elasticAddresses.modify(operator, id, request);
    return elasticAddressAnswer(await oneOf("elasticAddress", id, cloud.network.elasticAddresses, operator));
  },

  async elasticAddressAttach({ cloud }, { params: { id }, request, operator }) {
    await cloud.network.elasticAddresses.associate(operator, id, request.instanceId);
    return elasticAddressAnswer(await oneOf("elasticAddress", id, cloud.network.elasticAddresses, operator));
  },

  async elasticAddressDetach({ cloud }, { params: { id }, operator }) {
    await cloud.network.elasticAddresses.disassociate(operator, id);
    return elasticAddressAnswer(await oneOf("elasticAddress", id, cloud.network.elasticAddresses, operator));
  },

  async elasticAddressRelease({ cloud }, { params, operator }) {
    await cloud.network.elasticAddresses.release(operator, [params.id]);
    return {};
  },
};

/** A table with a way out by another gateway keeps that: RouteExists, so that nothing is without a way out in between. */
async function leadOut(
  routeTables: RouteTables,
  caller: AnyCaller,
  id: RouteTableId,
  natGatewayId: RouteTableWire["natGatewayId"],
): Promise<void> {
  const { routes } = await oneOf("routeTable", id, routeTables, caller);
  if (natGatewayId === null) {
    if (routes.length > 0) await routeTables.removeRoutes(caller, id, routes);
  } else if (!routes.some((route) => route.natGatewayId === natGatewayId)) {
    await routeTables.addRoutes(caller, id, [{ destination: outside, natGatewayId, description: "" }]);
  }
}

/** What each of them shows. */
function common<I>(view: { id: I; accountId: VpcView["accountId"]; name: string; tags: object; createdAt: Date }) {
  const { id, accountId, name, tags, createdAt } = view;
  return { id, accountId, name, tags: { ...tags }, createdAt: createdAt.toISOString() };
}

function vpcAnswer(view: VpcView): VpcWire {
  return { ...common(view), cidr: view.cidr, isDefault: view.isDefault };
}

function subnetAnswer(view: SubnetView): SubnetWire {
  const { vpcId, zone, cidr, isDefault, routeTableId, addresses } = view;
  const { total, free } = addresses;
  return { ...common(view), vpcId, zone, cidr, isDefault, routeTableId, addresses: { total, free } };
}

function routeTableAnswer(view: RouteTableView): RouteTableWire {
  const { vpcId, main, routes, subnetIds } = view;
  return { ...common(view), vpcId, main, natGatewayId: routes[0]?.natGatewayId ?? null, subnetIds: [...subnetIds] };
}

function natGatewayAnswer(view: NatGatewayView): NatGatewayWire {
  return { ...common(view), vpcId: view.vpcId, zone: view.zone };
}

function elasticAddressAnswer(view: ElasticAddressView): ElasticAddressWire {
  const { ip, kind, instanceId, privateIp, bandwidthMbps } = view;
  return { ...common(view), ip, kind, instanceId, privateIp, bandwidthMbps };
}
