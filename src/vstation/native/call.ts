/** What a route's code is given, and the shape of the tables of calls. */
import type * as z from "zod";
import type { RouteName, Routes } from "../../api/native/routes.ts";
import type { AccountId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { Caller, Cloud, OperatorCaller } from "../cloud.ts";
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
  /** Reads and acts on everything. */
  readonly operator: OperatorCaller;
  /** For what must belong to an account: what the operator creates belongs to this one. */
  readonly owner: Caller;
  /** Aborts when the client goes away or the server closes. */
  readonly signal: AbortSignal;
}

export type Calls<N extends RouteName = RouteName> = {
  readonly [K in N]: (service: Service, call: Call<K>) => Promise<z.input<Routes[K]["response"]>>;
};

export function callersFor(account: AccountId, requestId: string): { operator: OperatorCaller; owner: Caller } {
  return { operator: { accountId: "any", requestId }, owner: { accountId: account, requestId } };
}

/** Leaves out what is undefined: with exactOptionalPropertyTypes absent and undefined are two things. */
export function defined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as never;
}
