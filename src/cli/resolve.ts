/** Ids or names: wherever a command takes an id it takes a name that only one thing has. */
import type { NativeClient } from "../api/native/client.ts";
import { maxPage } from "../api/native/requests.ts";
import type { OperationWire } from "../api/native/resources.ts";
import type { RouteAnswer, RouteInput } from "../api/native/routes.ts";
import { notFoundCode } from "../core/failure-codes.ts";
import { Failure } from "../lib/errors.ts";
import { kindPlural, kindWords, parseId, type Id } from "../lib/ids.ts";

/** Kinds that the API lists, by the name that the things have in its answer. */
const lists = {
  instance: "instances",
  host: "hosts",
  image: "images",
  key: "keys",
  group: "groups",
  account: "accounts",
  disk: "disks",
  snapshot: "snapshots",
  vpc: "vpcs",
  subnet: "subnets",
  routeTable: "routeTables",
  natGateway: "natGateways",
  securityGroup: "securityGroups",
  elasticAddress: "elasticAddresses",
} as const;

export type ListedKind = keyof typeof lists;
export type Item<K extends ListedKind> =
  RouteAnswer<`${K}List`> extends Record<(typeof lists)[K], (infer T)[]> ? T : never;
type Filter<K extends ListedKind> = Omit<NonNullable<RouteInput<`${K}List`>["query"]>, "offset" | "limit">;

/** Everything of a kind, page by page; a list that changes meanwhile may show a thing twice, so ids decide. */
export async function listAll<K extends ListedKind>(
  client: NativeClient,
  kind: K,
  filter?: Filter<K>,
): Promise<Item<K>[]> {
  const found = new Map<string, Item<K>>();
  for (let offset = 0; ; offset += maxPage) {
    const query = { ...filter, offset, limit: maxPage };
    const answer = await client.call(`${kind}List`, { query } as never);
    // Which of the routes it was is known to the table above alone.
    const items = (answer as unknown as Record<string, (Item<K> & { id: string })[]>)[lists[kind]] ?? [];
    for (const item of items) found.set(item.id, item);
    if (items.length === 0 || offset + items.length >= answer.total) return [...found.values()];
  }
}

export type InstanceFilter = Filter<"instance">;
export type OperationFilter = Omit<NonNullable<RouteInput<"operationList">["query"]>, "offset" | "limit">;

/** What a list command prints for programs: the API's own shape. */
export function listDocument(kind: ListedKind, items: readonly unknown[]): Record<string, unknown> {
  return { total: items.length, [lists[kind]]: items };
}

/** The newest `limit` operations, or as many as there are. */
export async function newestOperations(
  client: NativeClient,
  filter: OperationFilter,
  limit: number,
): Promise<{ total: number; operations: OperationWire[] }> {
  return await client.call("operationList", { query: { ...filter, offset: 0, limit } });
}

/** Names are looked up in one reading of the list, and only when there is one; what is given twice comes once. */
export async function idsOf<K extends ListedKind>(
  client: NativeClient,
  kind: K,
  given: readonly string[],
): Promise<Id<K>[]> {
  const names = given.filter((text) => parseId(kind, text) === undefined);
  // Of instances there may be very many.
  const filter = kind === "instance" ? { name: [...new Set(names)] } : {};
  const things = names.length === 0 ? [] : await listAll(client, kind, filter as Filter<K>);
  return [...new Set(given.map((text) => pick(kind, text, things as readonly Named<K>[])))];
}

export async function idOf<K extends ListedKind>(client: NativeClient, kind: K, given: string): Promise<Id<K>> {
  const [id] = await idsOf(client, kind, [given]);
  if (id === undefined) throw new Error(`no ${kind} of one`);
  return id;
}

interface Named<K extends ListedKind> {
  id: Id<K>;
  name: string;
  /** What people know an elastic address by. */
  ip?: string;
}

/** The one thing with that id or name. Throws not_found, or conflict when several have the name. */
function pick<K extends ListedKind>(kind: K, given: string, things: readonly Named<K>[]): Id<K> {
  const id = parseId(kind, given);
  if (id !== undefined) return id;
  const called = things.filter(({ name, ip }) => name === given || (kind === "elasticAddress" && ip === given));
  const [first, ...others] = called;
  if (first === undefined) {
    throw new Failure("not_found", notFoundCode(kind), `there is no ${kindWords(kind)} with the id or name "${given}"`);
  }
  if (others.length === 0) return first.id;
  const ids = called.map((thing) => thing.id).join(", ");
  throw new Failure(
    "conflict",
    "NameAmbiguous",
    `${called.length} ${kindPlural(kind)} are named "${given}": use an id (${ids})`,
  );
}
