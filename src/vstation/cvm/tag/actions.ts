/** The table of the Tag actions that are offered. */
import type { Action } from "../action.ts";
import {
  describeResourceTagsByResourceIds,
  getTags,
  modifyResourceTags,
  tagResources,
  unTagResources,
} from "./tags.ts";

export const tagOffered: readonly Action[] = [
  describeResourceTagsByResourceIds,
  modifyResourceTags,
  tagResources,
  unTagResources,
  getTags,
];
