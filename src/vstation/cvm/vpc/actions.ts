/** The table of the VPC actions that are offered. */
import type { Action } from "../action.ts";

export const vpcOffered: readonly Action[] = [];
