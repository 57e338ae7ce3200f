/** What a foreign key or a unique index of the networks' tables says, as a failure; and the failures that several of them share. */
import { failure } from "../../../core/failure-codes.ts";
import { violatedConstraint } from "../../store/database.ts";

/** Runs it; a constraint that it runs into becomes the failure that is made of its name. */
export async function onViolation<T>(work: () => Promise<T>, becomes: (constraint: string) => Error): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const constraint = violatedConstraint(error);
    throw constraint === undefined ? error : becomes(constraint);
  }
}

type Kind = "vpc" | "subnet" | "routeTable" | "natGateway" | "securityGroup";

export function inUse(what: Kind, message: string): Error {
  return failure("NetworkInUse", message, { detail: { what } });
}

export function isDefault(what: Kind, message: string): Error {
  return failure("NetworkIsDefault", message, { detail: { what } });
}
