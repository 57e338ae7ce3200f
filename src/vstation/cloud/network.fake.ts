/**
 * Networks in memory, for tests of the wire alone: an account that has none, and what it makes is shown once and forgotten. What
 * networks really do is shown in test/real.
 */
import { failure } from "../../core/failure-codes.ts";
import { newId } from "../../lib/ids.ts";
import type { Network } from "./network.ts";
import type { Tags } from "./tags.ts";

const createdAt = new Date("2026-01-02T03:04:05.678Z");
const nothing = () => Promise.resolve({ total: 0, items: [] });
const done = () => Promise.resolve();

export function fakeTags(): Tags {
  return { list: nothing, pairs: nothing, change: done };
}

export function fakeNetwork(): Network {
  return {
    vpcs: {
      create: (_, { name, cidr, tags }) =>
        Promise.resolve({ id: newId("vpc"), name, cidr, isDefault: false, createdAt, tags }),
      list: nothing,
      modify: (_, id) => Promise.reject(failure("VpcNotFound", `There is no VPC ${id}.`)),
      delete: (_, id) => Promise.reject(failure("VpcNotFound", `There is no VPC ${id}.`)),
    },
    subnets: {
      create: (_, { vpcId, name, zone, cidr, tags }) =>
        Promise.resolve({
          id: newId("subnet"),
          vpcId,
          name,
          zone,
          cidr,
          isDefault: false,
          routeTableId: newId("routeTable"),
          createdAt,
          addresses: { total: 253, free: 253 },
          tags,
        }),
      list: nothing,
      modify: (_, id) => Promise.reject(failure("SubnetNotFound", `There is no subnet ${id}.`)),
      delete: (_, id) => Promise.reject(failure("SubnetNotFound", `There is no subnet ${id}.`)),
      usedAddresses: nothing,
    },
    routeTables: {
      create: (_, { vpcId, name, tags }) =>
        Promise.resolve({
          id: newId("routeTable"),
          vpcId,
          name,
          main: false,
          createdAt,
          subnetIds: [],
          routes: [],
          tags,
        }),
      list: nothing,
      rename: (_, id) => Promise.reject(failure("RouteTableNotFound", `There is no route table ${id}.`)),
      delete: (_, id) => Promise.reject(failure("RouteTableNotFound", `There is no route table ${id}.`)),
      associate: (_, __, id) => Promise.reject(failure("RouteTableNotFound", `There is no route table ${id}.`)),
      addRoutes: (_, id) => Promise.reject(failure("RouteTableNotFound", `There is no route table ${id}.`)),
      removeRoutes: (_, id) => Promise.reject(failure("RouteTableNotFound", `There is no route table ${id}.`)),
    },
    natGateways: {
      create: (_, { vpcId, name, zone, tags }) =>
        Promise.resolve({ id: newId("natGateway"), vpcId, name, zone, createdAt, tags }),
      list: nothing,
      delete: (_, id) => Promise.reject(failure("NatGatewayNotFound", `There is no NAT gateway ${id}.`)),
    },
    securityGroups: {
      create: (_, { name, description, tags }) =>
        Promise.resolve({
          id: newId("securityGroup"),
          name,
          description,
          isDefault: false,
          createdAt,
          updatedAt: createdAt,
          tags,
        }),
      list: nothing,
      modify: done,
      delete: done,
      uses: () => Promise.resolve([]),
      policies: () => Promise.resolve({ version: 1, ingress: [], egress: [] }),
      addPolicies: done,
      replacePolicies: done,
      removePolicies: done,
      setGroups: done,
      attach: done,
      detach: done,
    },
    elasticAddresses: {
      allocate: (_, { count }) => Promise.resolve(Array.from({ length: count }, () => newId("elasticAddress"))),
      list: nothing,
      modify: (_, id) => Promise.reject(failure("ElasticAddressNotFound", `There is no elastic address ${id}.`)),
      associate: (_, id) => Promise.reject(failure("ElasticAddressNotFound", `There is no elastic address ${id}.`)),
      disassociate: (_, id) => Promise.reject(failure("ElasticAddressNotFound", `There is no elastic address ${id}.`)),
      release: done,
    },
  };
}

/** Both of them, as parts of a cloud. */
export function fakeNetworks(): { network: Network; tags: Tags } {
  return { network: fakeNetwork(), tags: fakeTags() };
}
