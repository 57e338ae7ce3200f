/** The `Filters` of the Describe actions: a list of {Name, Values}, each name at most once; every filter must hold, any value does. */
import type { Filter } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/v20170312/cvm_models.js";
import type * as z from "zod";
import type { CvmCode } from "./error-codes.ts";
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

/** The values by the filter's name. */
export function filterValues(given: readonly { Name: string; Values: string[] }[] | undefined): Map<string, string[]> {
  return new Map((given ?? []).map((filter) => [filter.Name, filter.Values]));
}
