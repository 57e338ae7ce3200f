/**
 * The short version of `npm run test:faults`: every part killed by SIGKILL in the middle of a request, and a few crash points. Which
 * moments and which points, the source decides: another source draws others, the same source the same.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Bed } from "../faults/bed.ts";
import { caseName, crashCases, victims, type FaultCase, type Request, type Victim } from "../faults/cases.ts";
import { crashPoints } from "../faults/points.ts";
import { sourceHash } from "../faults/rows.ts";
import { runCase } from "../faults/run-case.ts";
import { pick, seeded } from "../faults/seeded.ts";

const seed = Number.parseInt(sourceHash().slice(0, 8), 16);
const random = seeded(seed);

const kill = (victim: Victim, scenario: Request): FaultCase => ({ kind: "kill", victim, scenario, seed: seed % 1000 });
const kills = [
  ...victims.map((victim) => kill(victim, "run")),
  // What goes down with its guest under a reboot.
  ...(["libvirtd", "qemu"] as const).flatMap((victim) => [kill(victim, "reboot"), kill(victim, "soft-reboot")]),
];
/** A join has a lab of its own and takes as long as three others: that is for the long loops. */
const crashes = crashCases(crashPoints()).filter((each) => each.kind === "crash" && each.scenario !== "join");
const drawn = Array.from({ length: 3 }, () => pick(random, crashes));

let bed: Bed | undefined;
beforeAll(async () => {
  bed = await Bed.begin();
});
afterAll(async () => {
  // Powers it off and looks at what is left: disks, open files, and the machine.
  await bed?.finish();
});

describe("a request ends as it should, and nobody else notices, when", () => {
  it.each([...kills, ...drawn].map((each) => [caseName(each), each] as const))(
    "%s",
    async (_, each) => {
      const own = (bed ??= await Bed.begin());
      try {
        // A guest's QEMU that is killed on its way out may be gone before; whatever else is to be hurt must be there.
        await expect(runCase(own, each)).resolves.toBeGreaterThanOrEqual(0);
      } catch (error) {
        // It is not fit for the next case.
        bed = undefined;
        await own.end();
        throw error;
      }
    },
    // Longer than what its waits give each other: one that is timed out would run on beside the next.
    600_000,
  );
});
