/** Ids or names: wherever a command takes an id it takes a name that only one thing has. */
import type { NativeClient } from "../api/native/client.ts";
import { maxPage } from "../api/native/requests.ts";
import type { RouteInput } from "../api/native/routes.ts";
import type { GroupWire, HostWire, ImageWire, InstanceWire, KeyWire, OperationWire } from "../api/native/resources.ts";
import type { AccountWire } from "../api/native/tenancy.ts";
import type { DiskWire, SnapshotWire } from "../api/native/storage.ts";
import { Failure } from "../lib/errors.ts";
import {
  parseId,
  type AccountId,
  type DiskId,
  type GroupId,
  type HostId,
  type Id,
  type ImageId,
  type IdKind,
  type InstanceId,
  type KeyId,
  type SnapshotId,
} from "../lib/ids.ts";

/** Reads every page of a list; a list that changes meanwhile may show a thing twice, so ids decide. */
async function everyPage<T extends { id: string }>(
  read: (page: { offset: number; limit: number }) => Promise<{ total: number; items: T[] }>,
): Promise<T[]> {
  const found = new Map<string, T>();
  for (let offset = 0; ; offset += maxPage) {
    const { total, items } = await read({ offset, limit: maxPage });
    for (const item of items) found.set(item.id, item);
    if (items.length === 0 || offset + items.length >= total) return [...found.values()];
  }
}

export type InstanceFilter = Omit<NonNullable<RouteInput<"instanceList">["query"]>, "offset" | "limit">;
export type OperationFilter = Omit<NonNullable<RouteInput<"operationList">["query"]>, "offset" | "limit">;

export function allInstances(client: NativeClient, filter: InstanceFilter = {}): Promise<InstanceWire[]> {
  return everyPage(async (page) => {
    const { total, instances } = await client.call("instanceList", { query: { ...filter, ...page } });
    return { total, items: instances };
  });
}

export function allHosts(client: NativeClient): Promise<HostWire[]> {
  return everyPage(async (query) => {
    const { total, hosts } = await client.call("hostList", { query });
    return { total, items: hosts };
  });
}

export function allImages(client: NativeClient): Promise<ImageWire[]> {
  return everyPage(async (query) => {
    const { total, images } = await client.call("imageList", { query });
    return { total, items: images };
  });
}

export function allKeys(client: NativeClient): Promise<KeyWire[]> {
  return everyPage(async (query) => {
    const { total, keys } = await client.call("keyList", { query });
    return { total, items: keys };
  });
}

export function allGroups(client: NativeClient): Promise<GroupWire[]> {
  return everyPage(async (query) => {
    const { total, groups } = await client.call("groupList", { query });
    return { total, items: groups };
  });
}

export function allAccounts(client: NativeClient): Promise<AccountWire[]> {
  return everyPage(async (query) => {
    const { total, accounts } = await client.call("accountList", { query });
    return { total, items: accounts };
  });
}

export function allDisks(client: NativeClient): Promise<DiskWire[]> {
  return everyPage(async (query) => {
    const { total, disks } = await client.call("diskList", { query });
    return { total, items: disks };
  });
}

export function allSnapshots(client: NativeClient): Promise<SnapshotWire[]> {
  return everyPage(async (query) => {
    const { total, snapshots } = await client.call("snapshotList", { query });
    return { total, items: snapshots };
  });
}

/** The newest `limit` operations, or as many as there are. */
export async function newestOperations(
  client: NativeClient,
  filter: OperationFilter,
  limit: number,
): Promise<{ total: number; operations: OperationWire[] }> {
  return await client.call("operationList", { query: { ...filter, offset: 0, limit } });
}

export async function instanceIds(client: NativeClient, given: readonly string[]): Promise<InstanceId[]> {
  const names = given.filter((text) => parseId("instance", text) === undefined);
  const named = names.length === 0 ? [] : await allInstances(client, { name: [...new Set(names)] });
  return [...new Set(given.map((text) => pick("instance", text, named).id))];
}

export async function instanceId(client: NativeClient, given: string): Promise<InstanceId> {
  const [id] = await instanceIds(client, [given]);
  if (id === undefined) throw new Failure("not_found", "InstanceNotFound", `there is no instance ${given}`);
  return id;
}

/** Names are looked up in one reading of the list, and only when there is one; what is given twice comes once. */
async function idsOf<K extends IdKind>(
  kind: K,
  given: readonly string[],
  all: () => Promise<readonly Named<K>[]>,
): Promise<Id<K>[]> {
  const things = given.every((text) => parseId(kind, text) !== undefined) ? [] : await all();
  return [...new Set(given.map((text) => pick(kind, text, things).id))];
}

async function idOf<K extends IdKind>(kind: K, given: string, all: () => Promise<readonly Named<K>[]>): Promise<Id<K>> {
  return parseId(kind, given) ?? pick(kind, given, await all()).id;
}

export function hostId(client: NativeClient, given: string): Promise<HostId> {
  return idOf("host", given, () => allHosts(client));
}

export function keyIds(client: NativeClient, given: readonly string[]): Promise<KeyId[]> {
  return idsOf("key", given, () => allKeys(client));
}

export function imageId(client: NativeClient, given: string): Promise<ImageId> {
  return idOf("image", given, () => allImages(client));
}

export function imageIds(client: NativeClient, given: readonly string[]): Promise<ImageId[]> {
  return idsOf("image", given, () => allImages(client));
}

export function groupId(client: NativeClient, given: string): Promise<GroupId> {
  return idOf("group", given, () => allGroups(client));
}

export function accountId(client: NativeClient, given: string): Promise<AccountId> {
  return idOf("account", given, () => allAccounts(client));
}

export function diskId(client: NativeClient, given: string): Promise<DiskId> {
  return idOf("disk", given, () => allDisks(client));
}

export function diskIds(client: NativeClient, given: readonly string[]): Promise<DiskId[]> {
  return idsOf("disk", given, () => allDisks(client));
}

export function snapshotId(client: NativeClient, given: string): Promise<SnapshotId> {
  return idOf("snapshot", given, () => allSnapshots(client));
}

export function snapshotIds(client: NativeClient, given: readonly string[]): Promise<SnapshotId[]> {
  return idsOf("snapshot", given, () => allSnapshots(client));
}

const notFound: Partial<Record<IdKind, string>> = {
  instance: "InstanceNotFound",
  host: "HostNotFound",
  key: "KeyNotFound",
  group: "GroupNotFound",
  image: "ImageNotFound",
  account: "AccountNotFound",
  disk: "DiskNotFound",
  snapshot: "SnapshotNotFound",
};

interface Named<K extends IdKind> {
  id: Id<K>;
  name: string;
}

/** The one thing with that id or name. Throws not_found, or conflict when several have the name. */
function pick<K extends IdKind>(kind: K, given: string, things: readonly Named<K>[]): { id: Id<K> } {
  const id = parseId(kind, given);
  if (id !== undefined) return { id };
  const named = things.filter(({ name }) => name === given);
  const [first, ...others] = named;
  if (first === undefined) {
    throw new Failure("not_found", notFound[kind] ?? "NotFound", `there is no ${kind} with the id or name "${given}"`);
  }
  if (others.length === 0) return { id: first.id };
  const ids = named.map((thing) => thing.id).join(", ");
  throw new Failure("conflict", "NameAmbiguous", `${named.length} ${kind}s are named "${given}": use an id (${ids})`);
}
