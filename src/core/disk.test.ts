import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { JobId, SnapshotId } from "../lib/ids.ts";
import { decideDisk, diskState, driverOf, type DiskFacts, type DiskWork } from "./disk.ts";

const apply = { is: "apply", jobId: "job-aaaaaaaa" as JobId, snapshotId: "snap-aaaaaaaa" as SnapshotId } as const;
const works: DiskWork[] = [
  { is: "attach" },
  { is: "detach" },
  { is: "resize" },
  { ...apply, first: false },
  { ...apply, first: true },
];

const anyFacts: fc.Arbitrary<DiskFacts> = fc.record({
  work: fc.constantFrom(...works),
  sizeGiB: fc.integer({ min: 1, max: 4 }),
  deadline: fc.integer({ min: 0, max: 20 }),
  seen: fc.option(
    fc.record({
      isIn: fc.boolean(),
      sizeGiB: fc.integer({ min: 0, max: 4 }),
      problem: fc.constantFrom(null, "a problem"),
    }),
  ),
  hostReachable: fc.boolean(),
  job: fc.constantFrom(null, { is: "running" } as const, { is: "done" } as const, {
    is: "failed" as const,
    message: "it broke",
  }),
});

const attach: DiskFacts = {
  work: { is: "attach" },
  sizeGiB: 2,
  deadline: 100,
  seen: null,
  hostReachable: true,
  job: null,
};

describe("decideDisk", () => {
  test("nothing is released, and nothing settled, but by the word of the host or of the job", () => {
    fc.assert(
      fc.property(anyFacts, fc.integer({ min: 0, max: 20 }), (facts, now) => {
        const { work, seen, job } = facts;
        const { is } = decideDisk(facts, now);
        const isAsWanted = seen !== null && seen.isIn && seen.sizeGiB >= facts.sizeGiB;
        const isSettled = work.is === "apply" ? job?.is === "done" : isAsWanted;
        expect(is !== "released" || (work.is === "detach" && seen?.isIn === false)).toBe(true);
        expect(is !== "settled" || isSettled).toBe(true);
      }),
    );
  });

  test("while its host is out of reach nothing is given up, but what the host has said holds", () => {
    fc.assert(
      fc.property(anyFacts, fc.integer({ min: 0, max: 20 }), (facts, now) => {
        expect(decideDisk({ ...facts, hostReachable: false, job: null }, now).is).not.toBe("given-up");
      }),
    );
  });

  test("everything with a reachable host ends: by its deadline at the latest, with a reason", () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        const decision = decideDisk({ ...facts, hostReachable: true }, facts.deadline);
        expect(decision.is === "wait").toBe(
          facts.work.is === "apply" && (facts.job === null || facts.job.is === "running"),
        );
        expect(decision.is === "given-up" && decision.problem === "").toBe(false);
      }),
    );
  });

  test("an attach that does not come about is taken back, a detach that does not leaves the disk where it is", () => {
    expect(decideDisk(attach, 99)).toEqual({ is: "wait", until: 100 });
    const refused = { isIn: false, sizeGiB: 0, problem: "no bridge" };
    expect(decideDisk({ ...attach, seen: refused }, 100)).toEqual({
      is: "given-up",
      problem: "no bridge",
      then: "detach",
    });
    const held = { ...attach, work: { is: "detach" } as const, seen: { isIn: true, sizeGiB: 2, problem: null } };
    expect(decideDisk(held, 100)).toMatchObject({ is: "given-up", then: "attached" });
  });

  test("a new disk whose content did not come is filled again, an old one keeps what it holds", () => {
    const failed = { is: "failed", message: "no space" } as const;
    expect(decideDisk({ ...attach, work: { ...apply, first: true }, job: failed }, 0)).toMatchObject({ then: "again" });
    expect(decideDisk({ ...attach, work: { ...apply, first: false }, job: failed }, 0)).toMatchObject({
      then: "unchanged",
      problem: "no space",
    });
  });
});

test("a state is told for every kind of work", () => {
  expect(works.map((work) => diskState(work, true))).toEqual([
    "ATTACHING",
    "DETACHING",
    "EXPANDING",
    "ROLLBACKING",
    "DUMPING",
  ]);
  expect([diskState(null, false), diskState(null, true)]).toEqual(["UNATTACHED", "ATTACHED"]);
});

test("a cloud disk lies in the shared folder where there is one", () => {
  expect([driverOf("CLOUD_SSD", true), driverOf("CLOUD_SSD", false)]).toEqual(["shared", "local"]);
  expect([driverOf("LOCAL_BASIC", true), driverOf("LOCAL_BASIC", false)]).toEqual(["local", "local"]);
});
