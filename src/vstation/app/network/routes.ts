/**
 * Route tables and NAT gateways. A subnet has a way out when a route of its table leads to a NAT gateway of its VPC; inside of the VPC
 * everything is reached without a route.
 */
import { failure } from "../../../core/failure-codes.ts";
import { networkLimits } from "../../../core/network-limits.ts";
import { newId, type NatGatewayId, type RouteTableId } from "../../../lib/ids.ts";
import type { AnyCaller } from "../../cloud.ts";
import type { NatGateways, NatGatewayView, RouteTables, RouteTableView } from "../../cloud/network.ts";
import type { Reader, Tx } from "../../store/database.ts";
import { vpcHostsBump } from "../../store/network-hosts.ts";
import {
  natGatewayDelete,
  natGatewayInsert,
  natGatewayList,
  natGatewayNotFound,
  routeDelete,
  routeInsert,
  routeTableDelete,
  routeTableInsert,
  routeTableList,
  routeTableNotFound,
  routeTableRename,
} from "../../store/routes.ts";
import { subnetFind, subnetNotFound, subnetSetRouteTable } from "../../store/subnets.ts";
import { vpcLock } from "../../store/vpcs.ts";
import type { AppContext } from "../context.ts";
import { inUse, isDefault, onViolation } from "./failures.ts";

export const everywhere = "0.0.0.0/0";

async function tableOf(db: Reader, caller: AnyCaller, id: RouteTableId): Promise<RouteTableView> {
  const { items } = await routeTableList(db, caller.accountId, { ids: [id] }, null);
  return items[0] ?? Promise.reject(routeTableNotFound(id));
}

async function gatewayOf(db: Reader, caller: AnyCaller, id: NatGatewayId): Promise<NatGatewayView> {
  const { items } = await natGatewayList(db, caller.accountId, { ids: [id] }, null);
  return items[0] ?? Promise.reject(natGatewayNotFound(id));
}

/** The table as it is under its VPC's lock. */
async function lockTable(tx: Tx, caller: AnyCaller, id: RouteTableId): Promise<RouteTableView> {
  const { vpcId } = await tableOf(tx.db, caller, id);
  await vpcLock(tx, caller.accountId, vpcId);
  return tableOf(tx.db, caller, id);
}

function mismatch(a: string, b: string): Error {
  return failure("VpcMismatch", `${a} and ${b} are not in one VPC`);
}

function tooMany(quota: keyof typeof networkLimits, words: string): Error {
  const limit = networkLimits[quota];
  return failure("QuotaExceeded", `a VPC may have ${limit} ${words}`, { detail: { quota, limit } });
}

export function routeTables({ store }: AppContext): RouteTables {
  return {
    async create(caller, { vpcId, name, tags }) {
      const { accountId } = caller;
      const id = newId("routeTable");
      await store.transaction(async (tx) => {
        await vpcLock(tx, accountId, vpcId);
        const { total } = await routeTableList(tx.db, accountId, { vpcIds: [vpcId] }, null);
        if (total >= networkLimits.routeTablesPerVpc) throw tooMany("routeTablesPerVpc", "route tables");
        await routeTableInsert(tx, { id, accountId, vpcId, name, tags });
      });
      return store.read((db) => tableOf(db, caller, id));
    },
    list: (caller, query, page) => store.read((db) => routeTableList(db, caller.accountId, query, page)),
    rename: (caller, id, name) =>
      store.transaction(async (tx) => {
        await lockTable(tx, caller, id);
        await routeTableRename(tx, id, name);
      }),
    delete: (caller, id) =>
      onViolation(
        () =>
          store.transaction(async (tx) => {
            const table = await lockTable(tx, caller, id);
            if (table.main) throw isDefault("routeTable", `the main route table ${id} goes with its VPC`);
            await routeTableDelete(tx, id);
          }),
        () => inUse("routeTable", `a subnet has route table ${id}`),
      ),
    associate: (caller, subnetId, id) =>
      store.transaction(async (tx) => {
        const table = await lockTable(tx, caller, id);
        const subnet = await subnetFind(tx.db, caller.accountId, subnetId);
        if (subnet === undefined) throw subnetNotFound(subnetId);
        if (subnet.vpc_id !== table.vpcId) throw mismatch(`subnet ${subnetId}`, `route table ${id}`);
        await subnetSetRouteTable(tx, subnetId, id);
        await vpcHostsBump(tx, table.vpcId);
      }),
    async addRoutes(caller, id, routes) {
      if (routes.some((route) => route.destination !== everywhere)) {
        throw failure("CidrInvalid", `a route is for ${everywhere}: what is inside the VPC needs none`, {
          detail: { of: "route" },
        });
      }
      await onViolation(
        () =>
          store.transaction(async (tx) => {
            const { vpcId } = await lockTable(tx, caller, id);
            for (const { natGatewayId } of routes) {
              const gateway = await gatewayOf(tx.db, caller, natGatewayId);
              if (gateway.vpcId !== vpcId) throw mismatch(`NAT gateway ${natGatewayId}`, `route table ${id}`);
            }
            await routeInsert(tx, id, routes);
            await vpcHostsBump(tx, vpcId);
          }),
        () => failure("RouteExists", `route table ${id} has a route for ${everywhere}`),
      );
      return store.read((db) => tableOf(db, caller, id));
    },
    async removeRoutes(caller, id, routes) {
      await store.transaction(async (tx) => {
        const table = await lockTable(tx, caller, id);
        const found = routes.map((named) =>
          table.routes.find((route) => ("id" in named ? route.id === named.id : route.itemId === named.itemId)),
        );
        if (found.includes(undefined)) {
          throw failure("RouteNotFound", `route table ${id} does not have one of these routes`);
        }
        await routeDelete(
          tx,
          id,
          found.flatMap((route) => (route === undefined ? [] : [route.id])),
        );
        await vpcHostsBump(tx, table.vpcId);
      });
      return store.read((db) => tableOf(db, caller, id));
    },
  };
}

export function natGateways({ store, config }: AppContext): NatGateways {
  return {
    async create(caller, { vpcId, name, zone, tags }) {
      const { accountId } = caller;
      if (zone !== config.zone) throw failure("ZoneUnknown", `there is no zone ${zone} here`);
      const id = newId("natGateway");
      await store.transaction(async (tx) => {
        await vpcLock(tx, accountId, vpcId);
        const { total } = await natGatewayList(tx.db, accountId, { vpcIds: [vpcId] }, null);
        if (total >= networkLimits.natGatewaysPerVpc) throw tooMany("natGatewaysPerVpc", "NAT gateways");
        await natGatewayInsert(tx, { id, accountId, vpcId, zone, name, tags });
      });
      return store.read((db) => gatewayOf(db, caller, id));
    },
    list: (caller, query, page) => store.read((db) => natGatewayList(db, caller.accountId, query, page)),
    delete: (caller, id) =>
      onViolation(
        () =>
          store.transaction(async (tx) => {
            const { vpcId } = await gatewayOf(tx.db, caller, id);
            await vpcLock(tx, caller.accountId, vpcId);
            await natGatewayDelete(tx, id);
          }),
        () => inUse("natGateway", `a route leads to NAT gateway ${id}`),
      ),
  };
}
