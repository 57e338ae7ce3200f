/** Route tables. The one kind of route there is leads out of the VPC: 0.0.0.0/0 to a NAT gateway. What is inside needs none. */
import type { Route, RouteTable } from "tencentcloud-sdk-nodejs/tencentcloud/services/vpc/v20170312/vpc_models.js";
import type { RouteTableQuery, RouteTableView, RouteView } from "../../cloud/network.ts";
import { action } from "../action.ts";
import { Refusal } from "../error-codes.ts";
import { byIds, listed, type Narrows } from "../filters.ts";
import {
  boolean,
  check,
  id,
  idsToRead,
  ignored,
  integer,
  line,
  list,
  refused,
  structure,
  text,
} from "../parameters.ts";
import { shownTags, tagsOf } from "../tag-values.ts";
import { byTagKey, coexist, networkName, pageOf, tags, textPage, truthFilter, vpcFilters, vpcTime } from "./values.ts";

export const createRouteTable = action("CreateRouteTable")(
  { VpcId: id("vpc"), RouteTableName: networkName(), Tags: tags() },
  async ({ cloud, caller }, request) => {
    const table = await cloud.network.routeTables.create(caller, {
      vpcId: request.VpcId,
      name: request.RouteTableName,
      tags: tagsOf(request.Tags),
    });
    return { RouteTable: shownTable(table) };
  },
);

const narrows: Narrows<RouteTableQuery> = {
  "route-table-id": byIds("routeTable", (ids) => ({ ids })),
  "route-table-name": (names) => ({ names }),
  "vpc-id": (vpcIds) => ({ vpcIds }),
  "association.main": truthFilter("main"),
  ...byTagKey,
};

export const describeRouteTables = action("DescribeRouteTables")(
  {
    Filters: vpcFilters(Object.keys(narrows)),
    RouteTableIds: idsToRead("routeTable", 100).optional(),
    ...textPage,
    NeedRouterInfo: boolean().default(true),
  },
  async ({ cloud, caller }, request) => {
    const { total, items } = await listed("RouteTableIds", request, narrows, coexist, (query) =>
      cloud.network.routeTables.list(caller, query, pageOf(request)),
    );
    const shown = items.map((table) => shownTable(request.NeedRouterInfo ? table : { ...table, routes: [] }));
    return { TotalCount: total, RouteTableSet: shown };
  },
);

export const modifyRouteTableAttribute = action("ModifyRouteTableAttribute")(
  { RouteTableId: id("routeTable"), RouteTableName: networkName() },
  async ({ cloud, caller }, request) => {
    await cloud.network.routeTables.rename(caller, request.RouteTableId, request.RouteTableName);
    return {};
  },
);

export const deleteRouteTable = action("DeleteRouteTable")(
  { RouteTableId: id("routeTable") },
  async ({ cloud, caller }, request) => {
    await cloud.network.routeTables.delete(caller, request.RouteTableId);
    return {};
  },
);

export const replaceRouteTableAssociation = action("ReplaceRouteTableAssociation")(
  { SubnetId: id("subnet"), RouteTableId: id("routeTable") },
  async ({ cloud, caller }, request) => {
    await cloud.network.routeTables.associate(caller, request.SubnetId, request.RouteTableId);
    return {};
  },
);

const newRoute = structure<Route>()({
  DestinationCidrBlock: text(18, "InvalidParameterValue.Malformed"),
  GatewayType: check(
    text(32),
    "UnsupportedOperation",
    "must be NAT: a route leads to a NAT gateway",
    (value) => value.toUpperCase() === "NAT",
  ),
  GatewayId: id("natGateway"),
  RouteId: ignored(),
  RouteDescription: line(100).optional(),
  Enabled: check(boolean(), "UnsupportedOperation", "must be true", (value) => value).optional(),
  RouteType: ignored(),
  RouteTableId: ignored(),
  DestinationIpv6CidrBlock: refused(),
  RouteItemId: ignored(),
  PublishedToVbc: ignored(),
  CreatedTime: ignored(),
  CdcId: refused(),
});

export const createRoutes = action("CreateRoutes")(
  {
    RouteTableId: id("routeTable"),
    Routes: check(list(newRoute, 50), "InvalidParameterValue.NotEmpty", "is empty", (routes) => routes.length > 0),
  },
  async ({ cloud, caller }, request) => {
    const table = await cloud.network.routeTables.addRoutes(
      caller,
      request.RouteTableId,
      request.Routes.map((route) => ({
        destination: route.DestinationCidrBlock,
        natGatewayId: route.GatewayId,
        description: route.RouteDescription ?? "",
      })),
    );
    // Clients take the only route of the answer for the one that they asked for.
    const added = table.routes.filter((route) =>
      request.Routes.some((asked) => asked.DestinationCidrBlock === route.destination),
    );
    return { TotalCount: 1, RouteTableSet: [shownTable({ ...table, routes: added })] };
  },
);

const namedRoute = structure<Route>()({
  DestinationCidrBlock: ignored(),
  GatewayType: ignored(),
  GatewayId: ignored(),
  RouteId: integer(0, Number.MAX_SAFE_INTEGER).optional(),
  RouteDescription: ignored(),
  Enabled: ignored(),
  RouteType: ignored(),
  RouteTableId: ignored(),
  DestinationIpv6CidrBlock: ignored(),
  RouteItemId: text(32).optional(),
  PublishedToVbc: ignored(),
  CreatedTime: ignored(),
  CdcId: ignored(),
});

export const deleteRoutes = action("DeleteRoutes")(
  {
    RouteTableId: id("routeTable"),
    Routes: check(list(namedRoute, 50), "InvalidParameterValue.NotEmpty", "is empty", (routes) => routes.length > 0),
  },
  async ({ cloud, caller }, request) => {
    const named = request.Routes.map(({ RouteId, RouteItemId }) => {
      if (RouteItemId !== undefined && RouteItemId !== "") return { itemId: RouteItemId };
      if (RouteId !== undefined) return { id: RouteId };
      throw new Refusal("MissingParameter", "Each of `Routes` needs a `RouteItemId` or a `RouteId`.");
    });
    const { items } = await cloud.network.routeTables.list(
      caller,
      { ids: [request.RouteTableId] },
      { offset: 0, limit: 1 },
    );
    const before = items[0]?.routes ?? [];
    const { routes: left } = await cloud.network.routeTables.removeRoutes(caller, request.RouteTableId, named);
    const gone = before.filter((route) => !left.some((one) => one.id === route.id));
    return { RouteSet: gone.map((route) => shownRoute(request.RouteTableId, route)) };
  },
);

/** Every field that clients dereference without looking is there. */
function shownTable(table: RouteTableView): RouteTable {
  return {
    RouteTableId: table.id,
    VpcId: table.vpcId,
    RouteTableName: table.name,
    AssociationSet: table.subnetIds.map((SubnetId) => ({ SubnetId, RouteTableId: table.id })),
    RouteSet: table.routes.map((route) => shownRoute(table.id, route)),
    Main: table.main,
    CreatedTime: vpcTime(table.createdAt),
    TagSet: shownTags(table.tags),
    LocalCidrForCcn: [],
  };
}

function shownRoute(tableId: string, route: RouteView): Route {
  return {
    DestinationCidrBlock: route.destination,
    GatewayType: "NAT",
    GatewayId: route.natGatewayId,
    RouteId: route.id,
    RouteItemId: route.itemId,
    RouteDescription: route.description,
    Enabled: true,
    RouteType: "USER",
    RouteTableId: tableId,
    DestinationIpv6CidrBlock: "",
    PublishedToVbc: false,
    CreatedTime: vpcTime(route.createdAt),
    CdcId: "",
  };
}
