/** What a route's code is given, and the shape of the tables of calls. */
import type { IncomingMessage } from "node:http";
import type * as z from "zod";
import type { RouteName, Routes } from "../../api/native/routes.ts";
import { failure, notFoundCode, type FindableKind } from "../../core/failure-codes.ts";
import { kindWords, type AccountId, type Id } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { AuditEntry } from "../audit.ts";
import type { AnyCaller, Caller, Cloud, Listed, Page } from "../cloud.ts";
import type { Changes } from "./changes.ts";
import { sourceOf } from "../source.ts";

/** What every call may use. */
export interface Service {
  readonly cloud: Cloud;
  readonly log: Log;
  readonly changes: Changes;
  readonly version: string;
}

export interface Call<N extends RouteName> {
  readonly params: z.output<Routes[N]["params"]>;
  readonly query: z.output<Routes[N]["query"]>;
  readonly request: z.output<Routes[N]["request"]>;
  /** Reads and acts on everything; on one account's things where the request names it (`X-VStation-Account`). */
  readonly operator: AnyCaller;
  /** For what must belong to an account: the named one, else the operator's own. */
  readonly owner: Caller;
  /** Aborts when the client goes away or the server closes. */
  readonly signal: AbortSignal;
}

export type Calls<N extends RouteName = RouteName> = {
  readonly [K in N]: (service: Service, call: Call<K>) => Promise<z.input<Routes[K]["response"]>>;
};

/** Names the account, by id or name, that a request acts for. */
export const accountHeader = "x-vstation-account";

/** Who a request acts for. Throws AccountNotFound when it names an account that is not there. */
export async function callersFor(
  cloud: Cloud,
  own: AccountId,
  named: string | undefined,
  requestId: string,
): Promise<{ operator: AnyCaller; owner: Caller }> {
  if (named === undefined) return { operator: { accountId: "any", requestId }, owner: { accountId: own, requestId } };
  const owner = { accountId: await cloud.accounts.idOf(named.slice(0, 128)), requestId };
  return { operator: owner, owner };
}

/** A request as the log of calls remembers it, before anything of it is known but where it comes from. */
export function auditEntry(action: string, changes: boolean, request: IncomingMessage, requestId: string): AuditEntry {
  return {
    at: new Date(),
    edge: "native",
    action,
    changes,
    accountId: null,
    actor: null,
    resourceIds: [],
    source: sourceOf(request),
    agent: request.headers["user-agent"] ?? null,
    requestId,
  };
}

/** The operator's token has been shown. */
export const operatorActor = "operator";

/** Leaves out what is undefined: with exactOptionalPropertyTypes absent and undefined are two things. */
export function defined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as never;
}

/** A list's query as the use cases have it: a list of values for each field, and a page. */
export function narrowed<Q extends Page>(query: Q): [filter: Plurals<Omit<Q, keyof Page>>, page: Page] {
  const { offset, limit, ...fields } = query;
  const lists = Object.entries(fields).flatMap(([name, values]) =>
    values === undefined ? [] : [[`${name}s`, values]],
  );
  return [Object.fromEntries(lists) as Plurals<Omit<Q, keyof Page>>, { offset, limit }];
}

type Plurals<T> = { [K in keyof T as `${K & string}s`]?: Exclude<T[K], undefined> };

/** The one thing of this id, as it is shown after a change or when it is asked for. */
export async function oneOf<K extends FindableKind, V>(
  kind: K,
  id: Id<K>,
  things: { list(caller: AnyCaller, query: { ids: Id<K>[] }, page: Page): Promise<Listed<V>> },
  caller: AnyCaller,
): Promise<V> {
  const { items } = await things.list(caller, { ids: [id] }, { offset: 0, limit: 1 });
  const [view] = items;
  if (view === undefined) throw failure(notFoundCode(kind), `there is no ${kindWords(kind)} ${id}`);
  return view;
}

/** The zone of a request that names none. */
export function onlyZone(cloud: Cloud): string {
  const [zone, ...others] = cloud.catalogue.zones;
  if (zone !== undefined && others.length === 0) return zone;
  throw failure("InvalidParameter", `say which zone: ${cloud.catalogue.zones.join(", ")}`, {
    detail: { parameter: "zone" },
  });
}
