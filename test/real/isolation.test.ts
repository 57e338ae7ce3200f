/**
 * What belongs to one account is not there for another: every action of all services, and every native route, with a foreign id in every
 * place where an id can be. Which actions, routes and places there are is read from their own tables and schemas, so what is
 * added later is tried without being named; what cannot be tried fails the test and says what it lacks.
 *
 * For each place: with the victim's id the answer is "not found", or for a read an empty one; the victim's rows are what they were
 * before; and with an id of one's own the same request gets another answer, so that it was not refused for another reason.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NativeClient } from "../../src/api/native/client.ts";
import { routeNames, routes, type RouteName } from "../../src/api/native/routes.ts";
import type { IdKind } from "../../src/lib/ids.ts";
import type { Action } from "../../src/vstation/cvm/action.ts";
import { actions } from "../../src/vstation/cvm/actions.ts";
import { nativePlacesOf, placeName, placesOf, type Place } from "./support/isolation/places.ts";
import { put, sample } from "./support/isolation/sample.ts";
import { digestOf, ownKinds, Tenant, type Outcome } from "./support/isolation/tenant.ts";
import { TestPostgres } from "./support/postgres.ts";
import { imageId, TestVstation } from "./support/vstation.ts";

/** Kinds that are nobody's own: everybody has the public image, and hosts and accounts are the operator's. */
const shared: ReadonlySet<IdKind> = new Set(["host", "account", "operation"]);

/** What an action needs beside what its schema demands, to get as far as looking at its ids. */
const more: Readonly<Record<string, (place: Place) => Record<string, unknown>>> = {
  ModifyInstancesAttribute: ({ path }) => (path[0] === "SecurityGroups" ? {} : { InstanceName: "renamed" }),
  ModifyKeyPairAttribute: () => ({ Description: "described" }),
  DeleteRoutes: () => ({ Routes: [{ RouteId: 1 }] }),
  ResizeInstanceDisks: ({ path }) => (path[0] === "DataDisks" ? {} : { SystemDisk: { DiskSize: 100 } }),
  CreateSecurityGroupPolicies: policies,
  DeleteSecurityGroupPolicies: policies,
  ModifySecurityGroupPolicies: (place) => {
    const { SecurityGroupPolicySet } = policies(place);
    return { SecurityGroupPolicySet: { Ingress: [], Egress: [], ...SecurityGroupPolicySet } };
  },
};

/** As {@link more}, where it is a list of ids of the attacker's own, unless such an id is what is tried. */
const moreIds: Readonly<Record<string, readonly [parameter: string, kind: IdKind]>> = {
  ModifyInstancesDisasterRecoverGroup: ["DisasterRecoverGroupIds", "group"],
};

/** A policy with somebody on its other side, unless that is what is tried. */
function policies({ path }: Place): { SecurityGroupPolicySet: Record<string, unknown> } {
  const [, direction] = path;
  if (typeof direction === "string") return { SecurityGroupPolicySet: { [direction]: [{ Action: "DROP" }] } };
  return { SecurityGroupPolicySet: { Ingress: [{ Action: "DROP", CidrBlock: "10.0.0.0/8" }] } };
}

/** Filters for what hangs on a thing, where a fresh thing has nothing that hangs on it: the empty list is the same for everybody. */
const nothingOfOnesOwn: ReadonlySet<string> = new Set([
  "DescribeInstances Filters vpc-id",
  "DescribeInstances Filters subnet-id",
  "DescribeInstances Filters security-group-id",
  "DescribeDisks Filters snapshot-id",
  "DescribeSnapshots Filters disk-id",
  "DescribeSubnets Filters vpc-id",
  "DescribeNatGateways Filters vpc-id",
  "DescribeAddresses Filters instance-id",
  "DescribeSecurityGroupPolicies Filters security-group-id",
]);

/** Where a fresh thing of one's own lacks what the request is about: not found, but for another reason. */
const lacksWhatIsNamed: ReadonlySet<string> = new Set([
  "DeleteRoutes RouteTableId",
  "ResetInstancesInternetMaxBandwidth InstanceIds",
]);

const notFound = /NotFound|NotExist/;
const isRead = (name: string): boolean => /^(Describe|Inquir)/.test(name);

const postgres = new TestPostgres();
let vstation: TestVstation;
let victim: Tenant;
let attacker: Tenant;
const victims = new Map<IdKind, string>();
const owns = new Map<IdKind, string>();

beforeAll(async () => {
  await postgres.start();
  vstation = await TestVstation.create(postgres);
  await vstation.start();
  await vstation.addHosts(2, { shape: { cores: 512, memoryMiB: 1_048_576, diskGiB: 100_000 } });
  victim = await Tenant.create(vstation, "victim");
  attacker = await Tenant.create(vstation, "attacker");
});
afterAll(async () => {
  await vstation.close();
  await postgres.close();
});

async function victimsOf(kind: IdKind): Promise<string> {
  const id = victims.get(kind) ?? (await victim.make(kind));
  victims.set(kind, id);
  return id;
}

/** One that many requests may name; what is under test gets a fresh one each. */
async function ownOf(kind: IdKind): Promise<string> {
  if (kind === "image") return imageId;
  const id = owns.get(kind) ?? (kind === "vpc" ? await attacker.home() : await attacker.make(kind));
  owns.set(kind, id);
  return id;
}

/** The request with this id in this place; every other place that must be filled holds an id of the attacker's own. */
async function requestWith(action: Action, place: Place, id: string): Promise<object> {
  const given: Record<string, unknown> = structuredClone(more[action.name]?.(place) ?? {});
  const [parameter, kind] = moreIds[action.name] ?? [];
  if (parameter !== undefined && kind !== undefined && place.is !== "text" && place.kind !== kind)
    given[parameter] = [await ownOf(kind)];
  if (place.is === "filter") put(given, place.path, [{ Name: place.name, Values: [id] }]);
  else put(given, place.path, id);
  const kinds = new Set(placesOf(action).flatMap((one) => (one.is === "text" ? [] : [one.kind])));
  const ids = new Map<IdKind, string>();
  for (const each of kinds) if (!shared.has(each)) ids.set(each, await ownOf(each));
  return sample(action.parameters, given, (each) => ids.get(each) ?? "", action.name);
}

function isEmpty({ answer }: Outcome): boolean {
  const counts = Object.entries(answer).filter(([name]) => name.endsWith("TotalCount"));
  return counts.every(([, count]) => Number(count) === 0);
}

describe.each(actions.map((action) => [action.name, action] as const))("%s", (_name, action) => {
  const places = placesOf(action);

  it("declares what its ids are ids of", () => {
    expect(places.filter(({ is }) => is === "text").map((place) => placeName(action, place))).toEqual([]);
  });

  const tried = places.flatMap((place) => (place.is === "text" || shared.has(place.kind) ? [] : [place]));
  it.each(tried.map((place) => [placeName(action, place), place] as const))("%s", async (_place, place) => {
    expect(await problemsWith(action, place)).toEqual([]);
  });
});

/** What is wrong with the answers to another's id in this place, and to one's own. */
async function problemsWith(action: Action, place: Place & { is: "id" | "filter" }): Promise<string[]> {
  const theirs = await victimsOf(place.kind);
  const before = await digestOf(vstation, victim.id);
  const refused = await attacker.call(action.name, await requestWith(action, place, theirs));
  const after = await digestOf(vstation, victim.id);
  const changed = Object.keys(after).filter((table) => after[table] !== before[table]);
  // A VPC that is named beside a subnet is the one that the subnet is in.
  const besideSubnet = place.kind === "vpc" && placesOf(action).some((one) => one.is === "id" && one.kind === "subnet");
  const mine = besideSubnet ? await attacker.home() : await attacker.make(place.kind);
  const allowed = await attacker.call(action.name, await requestWith(action, place, mine));

  // Refused by another name is as good, if nobody's id is refused by the same.
  const nobodys = `${theirs.split("-")[0] ?? ""}-zzzzzzzz`;
  const nobody = await attacker.call(action.name, await requestWith(action, place, nobodys));
  const likeNobodys =
    refused.code !== "ok" && JSON.stringify(refused).replaceAll(theirs, nobodys) === JSON.stringify(nobody);

  const said = JSON.stringify(refused);
  const told = { theirs: said, mine: JSON.stringify(allowed) };
  const emptyRead = isRead(action.name) && refused.code === "ok" && isEmpty(refused) && !said.includes(theirs);
  return [
    ...changed.map((table) => `the victim's ${table} changed`),
    ...(notFound.test(refused.code) || emptyRead || likeNobodys
      ? []
      : [`another's id was not answered with "not found": ${told.theirs}`]),
    ...(notFound.test(allowed.code) && !lacksWhatIsNamed.has(placeName(action, place))
      ? [`one's own id was not found: ${told.mine}`]
      : []),
    ...(told.theirs === told.mine && !nothingOfOnesOwn.has(placeName(action, place))
      ? [`one's own id is answered like another's: ${told.mine}`]
      : []),
  ];
}

/** One change at a time: where an id is what is changed to, it stands alone. */
const renamed = ({ path: [part] }: Place): object => (part === "request" ? {} : { name: "renamed" });

function rules({ path }: Place): object {
  const rule = { action: "accept", protocol: "all" };
  const peer = path.includes("peer") ? {} : { peer: { cidr: "10.0.0.0/8" } };
  return { direction: "ingress", rules: [{ ...rule, ...peer }] };
}

/** What a native route is asked with beside ids: what its schema demands, and enough that there is something to do. */
const bodies: Partial<Record<RouteName, object | ((place: Place) => object)>> = {
  instanceRun: { instanceType: "T1.SMALL1", imageId },
  instanceModify: renamed,
  instanceMigrate: {},
  instanceResize: { instanceType: "T1.MEDIUM2", mayStop: true },
  diskCreate: { sizeGiB: 10 },
  diskModify: { name: "renamed" },
  imageCreate: { name: "copy" },
  imageModify: { name: "renamed" },
  vpcModify: { name: "renamed" },
  subnetCreate: { name: "subnet", cidr: "10.77.250.0/24" },
  subnetModify: renamed,
  routeTableCreate: { name: "table" },
  routeTableModify: renamed,
  natGatewayCreate: { name: "gateway" },
  securityGroupModify: { name: "renamed" },
  securityGroupAddRules: rules,
  securityGroupRemoveRules: rules,
  elasticAddressModify: { name: "renamed" },
};

/** Ids that a native route demands: they are the attacker's own while another place is tried. */
function isDemanded({ path: [part, name] }: Place): boolean {
  return part === "params" || ["id", "ids", "instanceId", "diskId"].includes(String(name));
}

const nativeTries = routeNames.flatMap((name) => {
  const places = nativePlacesOf(routes[name], [...ownKinds, ...shared]);
  const tried = places.filter((place) => place.is === "text" || !shared.has(place.kind));
  return tried.map((place) => [placeName({ name }, place), name, place, places] as const);
});

describe("the native API on behalf of an account", () => {
  const clientOf = (tenant: Tenant): NativeClient => vstation.native.forAccount(tenant.name);

  it.each(nativeTries)("%s finds nothing of another's", async (_place, name, place, places) => {
    if (place.is === "text") throw new Error("an id of what? Give it an idSchema");
    const body = bodies[name];
    const request = typeof body === "function" ? body(place) : structuredClone(body);
    const input: Record<string, unknown> = request === undefined ? {} : { request };
    for (const other of places) {
      if (other.is === "id" && other !== place && isDemanded(other)) put(input, other.path, await ownOf(other.kind));
    }
    const theirs = await victimsOf(place.kind);
    put(input, place.path, theirs);
    const before = await digestOf(vstation, victim.id);
    const refusal: unknown = await clientOf(attacker)
      .call(name, input as never)
      .catch((error: unknown) => error);
    // What is not found is what was tried, and nothing that stands beside it.
    expect(refusal).toMatchObject({
      kind: "not_found",
      code: expect.stringMatching(new RegExp(`^${place.kind}`, "i")),
    });
    expect(await digestOf(vstation, victim.id)).toEqual(before);
  });

  it.each(["instanceStart", "instanceStop", "instanceReboot", "instanceTerminate"] as const)(
    "%s finds nothing of another's, and does nothing to one's own beside it",
    async (name) => {
      const ids = [await ownOf("instance"), await victimsOf("instance")] as never[];
      const before = [await digestOf(vstation, victim.id), await digestOf(vstation, attacker.id)];
      await expect(clientOf(attacker).call(name, { request: { ids } })).rejects.toMatchObject({
        code: "InstanceNotFound",
      });
      expect([await digestOf(vstation, victim.id), await digestOf(vstation, attacker.id)]).toEqual(before);
    },
  );

  it.each(ownKinds)("%sList shows nothing of another's", async (kind) => {
    const [theirs, mine] = [await victimsOf(kind), await ownOf(kind)];
    const list = async (query: object): Promise<string> =>
      JSON.stringify(await clientOf(attacker).call(`${kind}List`, { query }));
    expect(await list({ id: [mine] })).toContain(mine);
    for (const query of [{}, { id: [theirs] }]) expect(await list(query)).not.toContain(theirs);
  });

  it("lists no operations and calls of another's", async () => {
    const { operations } = await clientOf(attacker).call("operationList", { query: {} });
    expect(operations.map(({ accountId }) => accountId).filter((account) => account !== attacker.id)).toEqual([]);
    const { records } = await clientOf(attacker).call("auditList", { query: { limit: 500 } });
    expect(records.map(({ accountId }) => accountId).filter((account) => account !== attacker.id)).toEqual([]);
  });
});
