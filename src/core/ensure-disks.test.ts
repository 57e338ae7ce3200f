import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { unreachable } from "../lib/errors.ts";
import type { DiskId } from "../lib/ids.ts";
import {
  decideDisks,
  seenDisks,
  type DiskStep,
  type HeldDisk,
  type MachineDisk,
  type WantedDisk,
} from "./ensure-disks.ts";

const gib = 2 ** 30;
const ids = ["disk-aaaaaaaa", "disk-bbbbbbbb", "disk-cccccccc"] as DiskId[];
const none = { bytes: null, iops: null };
const nothingHeld: ReadonlyMap<DiskId, HeldDisk> = new Map();

const limits = fc.record({ bytes: fc.constantFrom(null, 1_000_000), iops: fc.constantFrom(null, 100) });
const wantedDisks: fc.Arbitrary<WantedDisk[]> = fc
  .subarray(ids)
  .chain((some) =>
    fc.tuple(...some.map((id) => fc.record({ id: fc.constant(id), sizeGiB: fc.integer({ min: 1, max: 3 }), limits }))),
  );
const machineDisks: fc.Arbitrary<MachineDisk[]> = wantedDisks.map((disks) =>
  disks.map(({ id, sizeGiB, limits: its }) => ({ id, bytes: sizeGiB * gib, limits: its })),
);

/** What a machine with a guest that follows becomes by a step. */
function after(machine: MachineDisk[], wanted: WantedDisk[], step: DiskStep): MachineDisk[] {
  const others = machine.filter(({ id }) => id !== step.id);
  const there = machine.find(({ id }) => id === step.id);
  const wish = wanted.find(({ id }) => id === step.id);
  switch (step.do) {
    case "unplug":
      return others;
    case "plug":
      return [...others, { id: step.id, bytes: (wish?.sizeGiB ?? 0) * gib, limits: wish?.limits ?? none }];
    case "grow":
      return [...others, { id: step.id, bytes: step.sizeGiB * gib, limits: there?.limits ?? none }];
    case "limit":
      return [...others, { id: step.id, bytes: there?.bytes ?? 0, limits: step.limits }];
    default:
      return unreachable(step);
  }
}

describe("decideDisks", () => {
  test("step by step, any machine gets the disks that are wanted, and then there is rest", () => {
    fc.assert(
      fc.property(wantedDisks, machineDisks, (wanted, start) => {
        let machine = start;
        for (let steps = 0; ; steps++) {
          const { step } = decideDisks(wanted, machine, nothingHeld, 0);
          if (step === null) break;
          expect(steps).toBeLessThan(12);
          machine = after(machine, wanted, step);
        }
        expect(machine.map(({ id }) => id).toSorted()).toEqual(wanted.map(({ id }) => id).toSorted());
        for (const { id, sizeGiB, limits: its } of wanted) {
          const disk = machine.find((each) => each.id === id);
          expect(disk?.bytes).toBeGreaterThanOrEqual(sizeGiB * gib);
          expect(disk?.limits).toEqual(its);
        }
      }),
    );
  });

  test("no disk is ever made smaller", () => {
    fc.assert(
      fc.property(wantedDisks, machineDisks, (wanted, machine) => {
        const { step } = decideDisks(wanted, machine, nothingHeld, 0);
        const before = machine.find(({ id }) => id === step?.id)?.bytes ?? Infinity;
        expect(step?.do !== "grow" || step.sizeGiB * gib > before).toBe(true);
      }),
    );
  });

  test("a disk whose step failed waits, and the others go on", () => {
    const wanted = ids.slice(0, 2).map((id) => ({ id, sizeGiB: 1, limits: none }));
    const held = new Map([[ids[0] as DiskId, { problem: "no room", notBeforeMs: 50, attempts: 1 }]]);
    expect(decideDisks(wanted, [], held, 10).step).toEqual({ do: "plug", id: ids[1] });
    const second = [{ id: ids[1] as DiskId, bytes: gib, limits: none }];
    expect(decideDisks(wanted, second, held, 10)).toEqual({ step: null, untilMs: 50 });
    expect(decideDisks(wanted, second, held, 50).step).toEqual({ do: "plug", id: ids[0] });
  });

  test("what cannot be plugged is told with its reason, as not being there", () => {
    const [wanted] = ids.map((id) => ({ id, sizeGiB: 1, limits: none }));
    if (wanted === undefined) throw new Error("no disk");
    const held = new Map([[wanted.id, { problem: "no room", notBeforeMs: 50, attempts: 1 }]]);
    expect(seenDisks([wanted], [], held)).toEqual([{ id: wanted.id, sizeGiB: 0, made: false, problem: "no room" }]);
    expect(seenDisks([wanted], [], nothingHeld)).toEqual([]);
  });
});
