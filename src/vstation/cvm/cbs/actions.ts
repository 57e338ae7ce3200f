/** The table of the CBS actions that are offered. */
import type { Action } from "../action.ts";

export const cbsOffered: readonly Action[] = [];
