/** Tags as the actions of all services take and show them; each service has its own codes for what is wrong with one. */
import type { CvmCode } from "./error-codes.ts";
import { check, line, list, structure } from "./parameters.ts";

export interface TagCodes {
  readonly badKey: CvmCode;
  readonly tooMany: CvmCode;
  readonly twice: CvmCode;
}

interface Tag {
  Key: string;
  Value: string;
}

/** One tag: a key with something in it. A client may leave an empty value out. */
export function tagParameter(badKey: CvmCode) {
  return structure<Tag>()({
    Key: check(
      line(127),
      badKey,
      "is empty or begins or ends with a space",
      (value) => value !== "" && value.trim() === value,
    ),
    Value: line(255).default(""),
  });
}

/** The tags that something new is to have. */
export function tagsParameter(most: number, { badKey, tooMany, twice }: TagCodes) {
  return check(list(tagParameter(badKey), most, tooMany), twice, "holds a tag key twice", keysDiffer).optional();
}

export function keysDiffer(given: readonly { Key: string }[]): boolean {
  return new Set(given.map(({ Key }) => Key)).size === given.length;
}

export function tagsOf(given: readonly Tag[] | undefined): Record<string, string> {
  return Object.fromEntries((given ?? []).map(({ Key, Value }) => [Key, Value]));
}

export function shownTags(given: Readonly<Record<string, string>>): Tag[] {
  return Object.entries(given).map(([Key, Value]) => ({ Key, Value }));
}
