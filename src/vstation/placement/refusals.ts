/** What is said to a request for which there is no room or no address. */
import { failure, type CapacityReason } from "../../core/failure-codes.ts";

/** The subnet has none left, or a certain one is somebody's. */
export type AddressReason = "addresses" | "address_in_use";

export function addressInUse(ip = "that was asked for"): Error {
  return failure("AddressInUse", `the address ${ip} is in use`, { detail: { ip } });
}

export function noRoom(refused: CapacityReason | "addresses", available: number, minCount: number): Error {
  if (refused === "addresses") {
    return failure("AddressesExhausted", `the subnet has ${available} free addresses left, ${minCount} are asked for`, {
      detail: { available },
    });
  }
  const why: Record<CapacityReason, string> = {
    type_too_large:
      "no host of the zone is large enough for this instance type, or none has set aside the processors or hugepages it owns",
    no_room: `the zone has room for ${available} more of these at present, ${minCount} are asked for`,
    group: `the group's affinity leaves room for ${available} more of these, ${minCount} are asked for`,
  };
  return failure("InsufficientCapacity", why[refused], { detail: { available, reason: refused } });
}
