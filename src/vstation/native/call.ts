/** What a route's code is given, and the shape of the tables of calls. */
import type { IncomingMessage } from "node:http";
import type * as z from "zod";
import type { RouteName, Routes } from "../../api/native/routes.ts";
import { failure } from "../../core/failure-codes.ts";
import type { AccountId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { AuditEntry } from "../audit.ts";
import type { AnyCaller, Caller, Cloud } from "../cloud.ts";
import type { Changes } from "./changes.ts";

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
    source: request.socket.remoteAddress ?? "",
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

/** The zone of a request that names none. */
export function onlyZone(cloud: Cloud): string {
  const [zone, ...others] = cloud.catalogue.zones;
  if (zone !== undefined && others.length === 0) return zone;
  throw failure("InvalidParameter", `say which zone: ${cloud.catalogue.zones.join(", ")}`, {
    detail: { parameter: "zone" },
  });
}
