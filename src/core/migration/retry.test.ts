import { describe, expect, it } from "vitest";
import type { HostId } from "../../lib/ids.ts";
import { migrationReasons } from "./halves.ts";
import { operationCodeOf } from "./migration.ts";
import { afterFailure, isStuck, refusalOf, targetsToAvoid } from "./retry.ts";

describe("after a try that came to nothing", () => {
  it("another one follows where that may help, later each time, and never more than were asked for", () => {
    const again = migrationReasons.filter((reason) => {
      return afterFailure({ code: operationCodeOf[reason], attempt: 1 }, 4, 0).again;
    });
    expect(again.toSorted()).toEqual(["copy_failed", "link_lost", "not_in_time", "restarted", "target_refused"]);
    const after = (attempt: number, random: number) => afterFailure({ code: "MigrationLinkLost", attempt }, 4, random);
    expect([1, 2, 3].map((attempt) => after(attempt, 0.5))).toEqual(
      [5_000, 10_000, 20_000].map((afterMs) => ({ again: true, afterMs, strike: false })),
    );
    expect([after(1, 0), after(1, 1)]).toMatchObject([{ afterMs: 3_750 }, { afterMs: 6_250 }]);
    expect(after(4, 0)).toEqual({ again: false });
    expect(afterFailure({ code: "MigrationNotInTime", attempt: 1 }, 2, 0)).toMatchObject({ again: true, strike: true });
    expect(afterFailure({ code: "HostNotFound", attempt: 1 }, 4, 0)).toEqual({ again: false });
  });

  it("a target at which it failed twice is avoided", () => {
    const [a, b] = ["host-a", "host-b"] as HostId[] as [HostId, HostId];
    expect(targetsToAvoid([a])).toEqual([]);
    expect(targetsToAvoid([a, a, b])).toEqual([a]);
  });
});

it("tells what passes by itself from what somebody has to do something about", () => {
  expect(["DiskBusy", "InsufficientCapacity", "HostCordoned"].map(refusalOf)).toEqual(["passing", "room", "blocked"]);
  const stuck = ["MigrationLinkLost", "DiskBusy", "WrongState", "InsufficientCapacity", "HostCordoned"].filter(isStuck);
  expect(stuck).toEqual(["InsufficientCapacity", "HostCordoned"]);
});
