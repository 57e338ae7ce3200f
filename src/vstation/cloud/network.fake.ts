/**
 * Networks in memory, for tests of the wire and of what the CLI prints alone: what is made is remembered, and nothing is checked but
 * that it is there. What networks really do is shown in test/real.
 */
import { failure, notFoundCode, type FindableKind } from "../../core/failure-codes.ts";
import { findPolicies, insertPolicies, removePolicies } from "../../core/security-policy.ts";
import { newId, type AccountId, type Id, type SecurityGroupId } from "../../lib/ids.ts";
import type { AnyCaller, Page } from "../cloud.ts";
import type * as use from "./network.ts";
import type { Tags } from "./tags.ts";

const createdAt = new Date("2026-01-02T03:04:05.678Z");

export function fakeTags(): Tags {
  const nothing = () => Promise.resolve({ total: 0, items: [] });
  return { list: nothing, pairs: nothing, change: () => Promise.resolve() };
}

/** Is told of each call, and may throw in its place. */
export type Told = (call: string, args: unknown[]) => void;

/** Things of one kind, by id, with what all kinds have. */
class Things<K extends FindableKind, V extends { id: Id<K>; name: string }> {
  readonly all: V[] = [];
  readonly #kind: K;
  readonly #told: Told;

  constructor(kind: K, told: Told) {
    this.#kind = kind;
    this.#told = told;
  }

  readonly list = async (caller: AnyCaller, query: { ids?: Id<K>[]; names?: string[] }, page: Page) => {
    this.#told(`${this.#kind}.list`, [caller, query, page]);
    const items = this.all.filter(
      ({ id, name }) => (query.ids?.includes(id) ?? true) && (query.names?.some((part) => name.includes(part)) ?? true),
    );
    return { total: items.length, items: items.slice(page.offset, page.offset + page.limit) };
  };

  readonly modify = async (caller: AnyCaller, id: Id<K>, change: object): Promise<void> => {
    this.#told(`${this.#kind}.modify`, [caller, id, change]);
    Object.assign(this.one(id), change);
  };

  readonly delete = async (caller: AnyCaller, id: Id<K>): Promise<void> => {
    this.#told(`${this.#kind}.delete`, [caller, id]);
    this.all.splice(this.all.indexOf(this.one(id)), 1);
  };

  /** Tells of the call, and remembers what is made of the request. */
  add(caller: AnyCaller, request: object, made: Omit<V, "id" | "accountId" | "createdAt">): V {
    this.#told(`${this.#kind}.create`, [caller, request]);
    const accountId = caller.accountId === "any" ? ("acct-00000001" as AccountId) : caller.accountId;
    const view = { id: newId(this.#kind), accountId, createdAt, ...made } as unknown as V;
    this.all.push(view);
    return view;
  }

  one(id: Id<K>): V {
    const found = this.all.find((each) => each.id === id);
    if (found === undefined) throw failure(notFoundCode(this.#kind), `There is no ${this.#kind} ${id}.`);
    return found;
  }
}

export function fakeNetwork(told: Told = () => undefined): use.Network {
  const vpcs = new Things<"vpc", use.VpcView>("vpc", told);
  const subnets = new Things<"subnet", use.SubnetView>("subnet", told);
  const tables = new Things<"routeTable", use.RouteTableView>("routeTable", told);
  const gateways = new Things<"natGateway", use.NatGatewayView>("natGateway", told);
  const groups = new Things<"securityGroup", use.SecurityGroupView>("securityGroup", told);
  const addresses = new Things<"elasticAddress", use.ElasticAddressView>("elasticAddress", told);
  const policies = new Map<SecurityGroupId, use.PolicySet>();
  const policiesOf = (id: SecurityGroupId): use.PolicySet => {
    const set = policies.get(id) ?? { version: 1, ingress: [], egress: [] };
    policies.set(id, set);
    return set;
  };
  const setGroups = async (...args: unknown[]): Promise<void> => told("securityGroup.setGroups", args);

  return {
    vpcs: {
      create: async (caller, request) => vpcs.add(caller, request, { ...request, isDefault: false }),
      list: vpcs.list,
      modify: vpcs.modify,
      delete: vpcs.delete,
    },
    subnets: {
      create: async (caller, request) =>
        subnets.add(caller, request, {
          ...request,
          isDefault: false,
          routeTableId: newId("routeTable"),
          addresses: { total: 253, free: 253 },
        }),
      list: subnets.list,
      modify: subnets.modify,
      delete: subnets.delete,
      usedAddresses: () => Promise.resolve({ total: 0, items: [] }),
    },
    routeTables: {
      create: async (caller, request) =>
        tables.add(caller, request, { ...request, main: false, subnetIds: [], routes: [] }),
      list: tables.list,
      rename: (caller, id, name) => tables.modify(caller, id, { name }),
      delete: tables.delete,
      associate: async (caller, subnetId, id) => {
        tables.one(id);
        await subnets.modify(caller, subnetId, { routeTableId: id });
      },
      addRoutes: async (caller, id, added) => {
        const routes = added.map((each) => ({ ...each, id: 1, itemId: "rti-00000001", createdAt }));
        await tables.modify(caller, id, { routes });
        return tables.one(id);
      },
      removeRoutes: async (caller, id) => {
        await tables.modify(caller, id, { routes: [] });
        return tables.one(id);
      },
    },
    natGateways: {
      create: async (caller, request) => gateways.add(caller, request, request),
      list: gateways.list,
      delete: gateways.delete,
    },
    securityGroups: {
      create: async (caller, request) =>
        groups.add(caller, request, { ...request, isDefault: false, updatedAt: createdAt }),
      list: groups.list,
      modify: groups.modify,
      delete: groups.delete,
      uses: async (_, ids) => ids.map((id) => ({ id, instances: 0, groups: 0 })),
      policies: async (_, id) => policiesOf(id),
      addPolicies: async (caller, id, addition) => {
        told("securityGroup.addPolicies", [caller, id, addition]);
        const set = policiesOf(id);
        const { direction, position } = addition;
        const added = addition.policies.map((policy) => ({ ...policy, modifiedAt: createdAt }));
        set[direction] = insertPolicies(set[direction], added, position ?? set[direction].length);
        set.version++;
      },
      replacePolicies: async (...args) => told("securityGroup.replacePolicies", args),
      removePolicies: async (caller, id, removal) => {
        told("securityGroup.removePolicies", [caller, id, removal]);
        const set = policiesOf(id);
        const { direction, which } = removal;
        const positions = "positions" in which ? which.positions : findPolicies(set[direction], which.policies);
        const left = positions === undefined ? undefined : removePolicies(set[direction], positions);
        if (left === undefined) throw failure("PolicyNotFound", `${id} does not have one of these policies`);
        set[direction] = left;
      },
      setGroups,
      attach: setGroups,
      detach: setGroups,
    },
    elasticAddresses: {
      allocate: async (caller, { count, ...request }) => {
        const made = { ...request, kind: "eip" as const, instanceId: null, privateIp: null };
        return Array.from({ length: count }, () => {
          const ip = `192.0.2.${addresses.all.length + 1}`;
          return addresses.add(caller, request, { ...made, ip }).id;
        });
      },
      list: addresses.list,
      modify: addresses.modify,
      associate: (caller, id, instanceId) => addresses.modify(caller, id, { instanceId }),
      disassociate: (caller, id) => addresses.modify(caller, id, { instanceId: null }),
      setBandwidth: async (...args) => told("elasticAddress.setBandwidth", args),
      release: async (caller, ids) => {
        for (const id of ids) await addresses.delete(caller, id);
      },
    },
  };
}

/** Both of them, as parts of a cloud. */
export function fakeNetworks(): { network: use.Network; tags: Tags } {
  return { network: fakeNetwork(), tags: fakeTags() };
}
