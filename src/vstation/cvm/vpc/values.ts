/** What the actions of the VPC service have in common: texts for numbers and truth values, names, tags, filters, times. */
import { networkLimits } from "../../../core/network-limits.ts";
import type { Page } from "../../cloud.ts";
import { filters } from "../filters.ts";
import { check, line, text } from "../parameters.ts";
import { tagsParameter } from "../tag-values.ts";

const pageLimit = 100;

/** A number that the service takes as text. */
function numberText(minimum: number, maximum: number) {
  return check(
    text(15, "InvalidParameterValue.Range"),
    "InvalidParameterValue.Range",
    `must be from ${minimum} to ${maximum}`,
    (value) => /^\d{1,15}$/.test(value) && Number(value) >= minimum && Number(value) <= maximum,
  );
}

/** `Offset` and `Limit`, which are texts in this service. */
export const textPage = {
  Offset: numberText(0, 1_000_000_000).optional(),
  Limit: numberText(1, pageLimit).optional(),
};

export function pageOf(request: { Offset?: string | undefined; Limit?: string | undefined }): Page {
  return { offset: Number(request.Offset ?? 0), limit: Number(request.Limit ?? 20) };
}

/** The name of a network thing, never empty. */
export function networkName() {
  return check(line(60), "InvalidParameterValue.Empty", "is empty", (value) => value !== "");
}

/** A change of the name, if there is one. */
export function nameOf(name: string | undefined): { name?: string } {
  return name === undefined ? {} : { name };
}

const truthValues: readonly string[] = ["true", "false"];

/** `true` or `false` as text. */
export function truth() {
  return check(text(5), "InvalidParameterValue", "must be true or false", (value) =>
    truthValues.includes(value.toLowerCase()),
  );
}

export const tags = () =>
  tagsParameter(networkLimits.tagsPerResource, {
    badKey: "InvalidParameterValue.TagInvalidKey",
    tooMany: "LimitExceeded.TagKeyPerResourceExceeded",
    twice: "InvalidParameterValue.TagDuplicateKey",
  });

export function vpcFilters(names: readonly string[]) {
  return filters([...names, "tag:"], 100, "InvalidParameter.FilterInvalidKey");
}

/** The filter that everything with tags has here. */
export const byTagKey = { "tag-key": (tagKeys: string[]) => ({ tagKeys }) };

/** What a Describe of this service is told that gives ids and filters. */
export const coexist = "InvalidParameter.Coexist";

/** `is-default` and the like; both values together ask for nothing. */
export function truthFilter<K extends string>(key: K) {
  return (values: string[]): { [P in K]?: boolean } => {
    const asked = new Set(values.map((value) => value.toLowerCase()));
    if (asked.size !== 1) return {};
    return { [key]: asked.has("true") } as { [P in K]?: boolean };
  };
}

/** A time as this service writes it: UTC, with a space. */
export function vpcTime(time: Date): string {
  return time.toISOString().slice(0, 19).replace("T", " ");
}
