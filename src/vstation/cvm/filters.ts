/**
 * The `Filters` of the Describe actions: a list of {Name, Values}, each name at most once; every filter must hold, any value does.
 * Where a list is asked for by ids, it is asked for by them alone.
 */
import type { Filter } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/v20170312/cvm_models.js";
import type * as z from "zod";
import { parseId, type Id, type IdKind } from "../../lib/ids.ts";
import type { Listed } from "../cloud.ts";
import { Refusal, type CvmCode } from "./error-codes.ts";
import { check, list, structure, text } from "./parameters.ts";

/** More than the API's own limit on any documented value. */
const valueLength = 256;

/** Filters by these names; "tag:" among them stands for `tag:<key>`. `unknown` is the service's word for a name that is none of them. */
export function filters(names: readonly string[], maximumValues: number, unknown: CvmCode = "InvalidFilter") {
  const name = check(
    text(valueLength, unknown),
    unknown,
    `must be one of ${names.map((each) => (each === "tag:" ? "tag:<key>" : each)).join(", ")}`,
    (value) => names.includes(value.startsWith("tag:") && value.length > 4 ? "tag:" : value) && value !== "tag:",
  );
  const values = check(
    list(text(valueLength), maximumValues, "InvalidFilterValue.LimitExceeded"),
    "InvalidParameterValue.NotEmpty",
    "is empty",
    (given) => given.length > 0,
  );
  const schema = check(
    list(structure<Filter>()({ Name: name, Values: values }), 10),
    unknown,
    "names a filter twice",
    (given) => new Set(given.map((filter) => filter.Name)).size === given.length,
  ).optional();
  filterNames.set(schema, names);
  return schema;
}

const filterNames = new WeakMap<z.core.$ZodType, readonly string[]>();

/** The names that {@link filters} was given; undefined for any other schema. */
export function filterNamesOf(schema: z.core.$ZodType): readonly string[] | undefined {
  return filterNames.get(schema);
}

export type GivenFilters = readonly { Name: string; Values: string[] }[] | undefined;

/** The values by the filter's name. */
export function filterValues(given: GivenFilters): Map<string, string[]> {
  return new Map((given ?? []).map((filter) => [filter.Name, filter.Values]));
}

/** Ids and filters exclude each other; services have different codes for it. */
export function notBoth(ids: readonly string[], given: GivenFilters, name: string, code: CvmCode): void {
  if (ids.length === 0 || (given ?? []).length === 0) return;
  throw new Refusal(code, `Give \`${name}\` or \`Filters\`, not both.`);
}

/** How each filter narrows a query, by its name; null means that nothing can pass. */
export type Narrows<Q> = Readonly<Record<string, (values: string[]) => Q | null>>;

/** A filter of ids: what is no id cannot pass, and with none left nothing can. */
export function byIds<K extends IdKind, Q>(kind: K, query: (ids: Id<K>[]) => Q) {
  return (values: string[]): Q | null => {
    const ids = values.map((value) => parseId(kind, value)).filter((value) => value !== undefined);
    return ids.length === 0 ? null : query(ids);
  };
}

/** A filter of known words: what is none of them cannot pass, and with none left nothing can. */
export function byWords<W extends string, Q>(words: readonly W[], query: (words: W[]) => Q) {
  return (values: string[]): Q | null => {
    const known = words.filter((word) => values.includes(word));
    return known.length === 0 ? null : query(known);
  };
}

/** What passes every filter, as a query; null: nothing can. Filters `tag:<key>` narrow its `tags`. */
export function queryOf<Q extends object>(given: GivenFilters, narrows: Narrows<Q>): Q | null {
  let query: Fields = {};
  for (const [name, values] of filterValues(given)) {
    const narrowed = name.startsWith("tag:")
      ? { tags: { [name.slice(4)]: values } }
      : (narrows[name]?.(values) ?? null);
    const both = narrowed === null ? null : bothOf(query, narrowed);
    if (both === null) return null;
    query = both;
  }
  return query as Q;
}

type Fields = Readonly<Record<string, unknown>>;

/** What passes two queries: where both speak of one field, lists have what is in both, and one value must be the other. */
function bothOf(one: Fields, other: object): Fields | null {
  const all: Record<string, unknown> = { ...one };
  for (const [field, value] of Object.entries(other) as [string, unknown][]) {
    const before = one[field];
    if (before === undefined) all[field] = value;
    else if (field === "tags") all[field] = { ...(before as object), ...(value as object) };
    else if (Array.isArray(before) && Array.isArray(value)) {
      const common = before.filter((each) => value.includes(each));
      if (common.length === 0) return null;
      all[field] = common;
    } else if (before !== value) return null;
  }
  return all;
}

/** What a Describe finds: by ids, if any are given, else by filters. `code`: what it is told that gives both. */
export function listed<N extends string, I extends string, Q extends { ids?: I[] }, V>(
  name: N,
  request: { Filters?: GivenFilters } & { [P in N]?: I[] | undefined },
  narrows: Narrows<Q>,
  code: CvmCode,
  find: (query: Q) => Promise<Listed<V>>,
): Promise<Listed<V>> {
  const ids: I[] = request[name] ?? [];
  notBoth(ids, request.Filters, name, code);
  const query = ids.length > 0 ? ({ ids } as Q) : queryOf(request.Filters, narrows);
  return query === null ? Promise.resolve({ total: 0, items: [] }) : find(query);
}
