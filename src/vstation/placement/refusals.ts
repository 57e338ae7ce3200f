/** What is said to a request for which there is no room or no address. */
import { failure, type CapacityReason } from "../../core/failure-codes.ts";
import { isFailure, type Failure } from "../../lib/errors.ts";
import type { HostId } from "../../lib/ids.ts";

/** The subnet has none left, or a certain one is somebody's. */
export type AddressReason = "addresses" | "address_in_use";

export function addressInUse(ip = "that was asked for"): Error {
  return failure("AddressInUse", `the address ${ip} is in use`, { detail: { ip } });
}

/** `away`: hosts out of reach that may have room for one. Which they are is for operators to know. */
export function noRoom(refused: CapacityReason | "addresses", available: number, minCount: number, away = 0): Error {
  if (refused === "addresses") {
    return failure("AddressesExhausted", `the subnet has ${available} free addresses left, ${minCount} are asked for`, {
      detail: { available },
    });
  }
  const why: Record<CapacityReason, string> = {
    no_host:
      "the zone has no host: the operator's `vstation host add NAME` makes a machine one. Ask again when it has joined",
    type_too_large:
      "no host of the zone is large enough for this instance type, or none has set aside the processors or hugepages it owns",
    no_room: `the zone has room for ${available} more of these at present, ${minCount} are asked for${awayText(away)}`,
    group: `the group's affinity leaves room for ${available} more of these, ${minCount} are asked for`,
  };
  return failure("InsufficientCapacity", why[refused], {
    detail: { available, reason: refused, away: refused === "no_room" ? away : 0 },
  });
}

/** For the operator who asked for a move. */
export function noRoomToMove(refused: CapacityReason, to: HostId | null): Failure {
  return failure("InsufficientCapacity", to === null ? nowhere[refused] : notThere(refused, to), {
    detail: { available: 0, reason: refused, away: 0 },
  });
}

const nowhere: Record<CapacityReason, string> = {
  no_host: "the zone has no other host: `vstation host add NAME` makes a machine one",
  type_too_large:
    "no host of the zone is large enough for it, or has set aside the processors or hugepages that it owns",
  no_room: "no other host that takes instances now has room for it; `vstation host list` shows who has how much",
  group: "every other host with room for it holds as many members of its disaster-recover group as it may",
};

function notThere(refused: CapacityReason, to: HostId): string {
  if (refused === "group") return `host ${to} holds as many members of its disaster-recover group as it may`;
  return `host ${to} has no room for it; \`vstation host show ${to}\` tells what is taken there`;
}

function awayText(away: number): string {
  if (away === 0) return "";
  return `; hosts that may have room and are out of reach now: ${away}. Ask again when they are back; the operator's \`vstation host list\` names them`;
}

/** There is no room only because hosts are not there that may have some, or because the first one has not joined yet. */
export function isForWantOfHosts(error: unknown): boolean {
  if (!isFailure(error, "no_capacity")) return false;
  return error.detail["reason"] === ("no_host" satisfies CapacityReason) || Number(error.detail["away"]) > 0;
}
