import { describe, expect, it } from "vitest";
import type { HostId } from "../../lib/ids.ts";
import { migrationReasons } from "./halves.ts";
import { operationCodeOf } from "./migration.ts";
import { afterFailure, isStuck, refusalOf, targetsToAvoid } from "./retry.ts";

const [a, b] = ["host-a", "host-b"] as HostId[] as [HostId, HostId];

describe("after a try that came to nothing", () => {
  it("another one follows where that may help, later each time, and never more than were asked for", () => {
    const whichTry = (to: HostId | null) =>
      migrationReasons
        .filter((reason) => afterFailure({ code: operationCodeOf[reason], attempt: 1 }, { tries: 4, to }, 0).again)
        .toSorted();
    const anyhow = [
      "copy_failed",
      "guest_busy",
      "guest_not_running",
      "link_lost",
      "not_in_time",
      "ports_taken",
      "restarted",
      "target_refused",
    ];
    expect(whichTry(a)).toEqual(anyhow);
    const elsewhere = ["clock_differs", "cpu_differs", "disk_differs", "disk_missing", "machine_differs"];
    const some = ["memory_missing", "not_trusted", "postcopy_unavailable"];
    expect(whichTry(null)).toEqual([...anyhow, ...elsewhere, ...some].toSorted());
    const after = (attempt: number, random: number) =>
      afterFailure({ code: "MigrationLinkLost", attempt }, { tries: 4, to: null }, random);
    expect([1, 2, 3].map((attempt) => after(attempt, 0.5))).toEqual(
      [5_000, 10_000, 20_000].map((afterMs) => ({ again: true, afterMs, strike: false })),
    );
    expect(afterFailure({ code: "MigrationLinkLost", attempt: 20 }, { tries: 23, to: null }, 0.5)).toMatchObject({
      afterMs: 80_000,
    });
    expect([after(1, 0), after(1, 1)]).toMatchObject([{ afterMs: 3_750 }, { afterMs: 6_250 }]);
    expect(after(4, 0)).toEqual({ again: false });
    expect(afterFailure({ code: "MigrationNotInTime", attempt: 1 }, { tries: 2, to: null }, 0)).toMatchObject({
      again: true,
      strike: true,
    });
    expect(afterFailure({ code: "HostNotFound", attempt: 1 }, { tries: 4, to: null }, 0)).toEqual({ again: false });
  });

  it("a target at which it failed twice, or that will not do, is avoided", () => {
    const lost = (at: HostId) => ({ at, code: "MigrationLinkLost" });
    expect(targetsToAvoid([lost(a)])).toEqual([]);
    expect(targetsToAvoid([lost(a), lost(a), lost(b)])).toEqual([a]);
    expect(targetsToAvoid([{ at: b, code: "MigrationCpuDiffers" }, lost(a), { at: a, code: null }])).toEqual([b, a]);
  });
});

it("tells what passes by itself from what somebody has to do something about", () => {
  expect(["DiskBusy", "InsufficientCapacity", "HostCordoned"].map(refusalOf)).toEqual(["passing", "room", "blocked"]);
  const stuck = ["MigrationLinkLost", "DiskBusy", "WrongState", "InsufficientCapacity", "HostCordoned"].filter(isStuck);
  expect(stuck).toEqual(["InsufficientCapacity", "HostCordoned"]);
});
