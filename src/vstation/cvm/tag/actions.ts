/** The table of the Tag actions that are offered. */
import type { Action } from "../action.ts";

export const tagOffered: readonly Action[] = [];
