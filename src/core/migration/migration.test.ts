/**
 * The rules of a migration against a world of two hosts that die, forget, stall and lose messages, in every order that a random
 * schedule makes: the guest never runs twice, is never lost, and once the trouble is over it runs in exactly one place and everybody
 * agrees where.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fateOf } from "./halves.ts";
import { isOverFor, phaseOf, reconcileMigration, wishFor, type Migration } from "./migration.ts";
import { decideSource, isUp, type Feed, type Whereabouts } from "./source.ts";
import { decideTarget } from "./target.ts";
import { act, calm, trouble } from "./world-actions.fake.ts";
import { World } from "./world.fake.ts";

describe("a migration", () => {
  it("ends with the guest in one place, whatever dies when", () => {
    const outcomes = { moved: 0, stayed: 0, fetched: 0, ended: 0 };
    fc.assert(
      fc.property(
        // A migration goes its way for a while, then something happens out of turn.
        fc.array(
          fc.tuple(
            fc.nat({ max: 100 }),
            fc.oneof(
              { weight: 3, arbitrary: fc.constantFrom(...Object.keys(trouble)) },
              { weight: 1, arbitrary: fc.constantFrom(...calm) },
            ),
          ),
          { maxLength: 6 },
        ),
        fc.boolean(),
        (schedule, postcopy) => {
          const world = new World(10_000, postcopy);
          let turn = 0;
          for (const [quiet, event] of schedule) {
            for (let i = 0; i < quiet; i++) act(world, calm[turn++ % calm.length] ?? "");
            act(world, event);
          }
          for (let round = 0; round < 40; round++) for (const action of calm) act(world, action);
          const { source, target, vstation } = world;
          if (world.whole) outcomes.fetched++;
          const over = vstation.over && source.forgotten && target.forgotten;
          const runs = [source.guest, target.guest].filter(isUp).length;
          if (world.ended) outcomes.ended++;
          expect({
            over: vstation.over,
            forgotten: source.forgotten && target.forgotten,
            runs,
            whereItIs: vstation.moved === (world.ranThere || (world.ended && !world.stuck)),
            facts: over ? null : { ...{ source, target }, copy: world.copy, early: world.early },
            story: world.history.join(" "),
          }).toEqual({
            over: true,
            forgotten: true,
            runs: world.ended ? 0 : 1,
            whereItIs: true,
            facts: null,
            story: world.history.join(" "),
          });
          outcomes[vstation.moved ? "moved" : "stayed"]++;
        },
      ),
      { numRuns: 3_000 },
    );
    expect(Math.min(outcomes.moved, outcomes.stayed, outcomes.fetched, outcomes.ended)).toBeGreaterThan(100);
  });

  it.each([false, true])("that nothing disturbs arrives, by post-copy too (%s)", (postcopy) => {
    const world = new World(10_000, postcopy);
    for (let round = 0; round < 20; round++) for (const action of calm) act(world, action);
    expect(world.vstation).toMatchObject({ moved: true, over: true, ended: true });
    expect(world.target.guest).toBe("running");
    expect(world.whole).toBe(postcopy);
  });

  it.each(["feed breaks at its end", "feed breaks before its end"])(
    "ends what QEMU lets go on at the source, whoever dies then (%s)",
    (breaks) => {
      for (const dies of ["target says", "source dies", "target dies"]) {
        const world = new World(10_000, true);
        while (world.copy !== "fed" || world.target.guest !== "running") for (const action of calm) act(world, action);
        act(world, breaks);
        expect(world.source.guest).toBe("running");
        act(world, dies);
        for (let round = 0; round < 40; round++) for (const action of calm) act(world, action);
        expect(world.vstation).toMatchObject({ moved: true, over: true });
        expect(world.source).toMatchObject({ guest: "off", forgotten: true });
        expect(world.target.guest).toBe(breaks === "feed breaks at its end" ? "running" : "off");
      }
    },
  );

  it("ends with the guest, in no place twice, where the target's host is lost after the switch and before the guest ran", () => {
    const feed: Feed = { is: "broken", remainingBytes: 1 };
    const facts = {
      wish: "go",
      port: 1,
      fate: "dropped",
      record: { stage: "copying" },
      attempt: null,
      inVain: true,
      kept: false,
      ours: false,
      postcopy: true,
    } as const;
    expect(decideSource({ ...facts, guest: "paused", feed }).step).toEqual({ do: "destroy" });
    expect(decideSource({ ...facts, guest: "paused", feed: { ...feed, is: "unknown" } }).step).toEqual({ do: "wait" });
    const stuck: Feed = { is: "stuck", remainingBytes: null };
    expect(decideSource({ ...facts, guest: "paused", feed: stuck }).step).toEqual({ do: "destroy" });
    const none: Feed = { is: "none", remainingBytes: null };
    expect(decideSource({ ...facts, guest: "off", feed: none }).step).toMatchObject({ record: { stage: "stayed" } });
    expect(decideSource({ ...facts, guest: "paused", feed: none }).step).toEqual({ do: "resume" });
  });

  it("does not keep a guest from its owner for a target that was never asked to let it run, and is not heard any more", () => {
    const facts = {
      ...({ wish: "go", port: 1, fate: null, record: { stage: "copying" }, ours: true, guest: "running" } as const),
      feed: { is: "none", remainingBytes: null },
      kept: false,
      postcopy: false,
    } as const;
    const decide = (asked: boolean, inVain: boolean) =>
      decideSource({
        ...facts,
        inVain,
        attempt: { is: "failed", reason: "link_lost", message: "gone", asked },
      }).step;
    expect(decide(false, true)).toMatchObject({ do: "record", record: { stage: "stayed", reason: "link_lost" } });
    for (const [asked, inVain] of [
      [true, true],
      [true, false],
      [false, false],
    ] as const)
      expect(decide(asked, inVain)).toEqual({ do: "ask" });
  });

  it("tells from a QEMU that has not sent everything that the program before this one had not asked", () => {
    const facts = {
      ...({ wish: "go", port: 1, fate: null, record: { stage: "copying" }, attempt: null, ours: false } as const),
      feed: { is: "none", remainingBytes: null },
      postcopy: false,
    } as const;
    const decide = (guest: Whereabouts, inVain: boolean, kept: boolean) =>
      decideSource({ ...facts, guest, inVain, kept }).step;
    for (const guest of ["running", "held"] as const)
      expect(decide(guest, true, true)).toMatchObject({
        do: "record",
        record: { stage: "stayed", reason: "restarted" },
      });
    expect(decide("off", true, true)).toMatchObject({ record: { stage: "stayed", reason: "guest_ended" } });
    expect(decide("paused", true, true)).toEqual({ do: "resume" });
    expect(decide("unknown", true, true)).toEqual({ do: "wait" });
    for (const guest of ["running", "held", "off", "paused", "unknown"] as const)
      for (const [inVain, kept] of [
        [true, false],
        [false, true],
      ] as const)
        expect(decide(guest, inVain, kept)).toEqual({ do: "ask" });
  });

  it("leaves a guest that its storage failed to who waits for that", () => {
    const facts = {
      ...({ wish: "go", port: 1, fate: "dropped", record: { stage: "copying" }, ours: true, guest: "held" } as const),
      attempt: { is: "failed", reason: "copy_failed", message: "no room", asked: false },
      inVain: false,
      kept: false,
      postcopy: true,
    } as const;
    const decide = (is: Feed["is"]) => decideSource({ ...facts, feed: { is, remainingBytes: null } }).step;
    expect(decide("none")).toEqual({
      do: "record",
      record: { stage: "stayed", reason: "copy_failed", message: "no room" },
    });
    expect([decide("unknown"), decide("broken")]).toEqual([{ do: "wait" }, { do: "destroy" }]);
    const there = {
      ...({ wish: "go", attempt: null, ours: false, asked: true, released: true, guest: "held", port: 1 } as const),
      ...({ neverRan: false, ran: false, settled: true, memory: "whole" } as const),
    };
    for (const stage of ["open", "finishing", "committed"] as const)
      expect(decideTarget({ ...there, record: { stage } }).step).toEqual({
        do: "record",
        record: { stage: "arrived" },
      });
  });

  it("in two halves waits for ever, whatever is wished, but for a source that has nothing left of it", () => {
    const since = { neverRan: false, ran: false, settled: true } as const;
    const target = {
      record: { stage: "fetching" },
      attempt: null,
      ours: false,
      asked: true,
      port: 1,
      ...since,
    } as const;
    for (const wish of ["go", "cancel", "over"] as const) {
      for (const guest of ["running", "paused", "unknown"] as const) {
        for (const memory of ["coming", "missing", "unknown"] as const) {
          const said = decideTarget({ ...target, wish, guest, memory, released: false });
          expect(said).toEqual({ step: { do: "wait" }, say: { is: "fetching", port: 1 } });
        }
      }
      const gone = { ...target, wish, guest: "running", released: true } as const;
      expect(decideTarget({ ...gone, memory: "missing" }).step).toEqual({ do: "destroy" });
      expect(decideTarget({ ...gone, memory: "coming" }).step).toEqual({ do: "wait" });
      expect(decideTarget({ ...gone, guest: "off", memory: "unknown" }).step).toMatchObject({
        record: { stage: "arrived" },
      });
    }
    const committed = {
      ...target,
      record: { stage: "committed" },
      wish: "cancel",
      guest: "paused",
      memory: "unknown",
    } as const;
    expect(decideTarget({ ...committed, released: false }).step).toEqual({ do: "wait" });
    expect(decideTarget({ ...committed, released: true }).step).toEqual({ do: "destroy" });
    // It ended in its first moment at the target: what the source has of it is older than its disks.
    const off = { ...committed, guest: "off", released: true } as const;
    expect(decideTarget(off).step).toMatchObject({ record: { stage: "dropped" } });
    expect(decideTarget({ ...off, ran: true }).step).toEqual({ do: "record", record: { stage: "arrived" } });
    const halved = { ...new World(5).vstation, target: { is: "fetching", port: 1 } } as const;
    for (const wish of ["go", "cancel"] as const) {
      expect(reconcileMigration({ ...halved, wish }, 100)).toMatchObject({
        move: false,
        cancel: false,
        end: null,
        over: false,
      });
    }
    expect(phaseOf({ ...halved, over: false })).toBe("fetching");
    expect(wishFor({ ...halved, target: { is: "fetching", port: 7 } })).toMatchObject({ port: 7, fate: "fetching" });
  });

  it("is cancelled past its deadline, but not once it is being handed over", () => {
    const facts: Migration = { ...new World(5).vstation, source: { is: "copying", progress: null } };
    expect(reconcileMigration(facts, 4)).toMatchObject({ cancel: false, dueAt: 5 });
    expect(reconcileMigration(facts, 5)).toMatchObject({ cancel: true, end: null });
    expect(reconcileMigration({ ...facts, source: { is: "handing" } }, 6)).toMatchObject({ cancel: false });
  });

  it("does not wait for ever for a source that is lost, once the target has nothing of it", () => {
    const dropped = { is: "dropped", reason: "link_lost", message: "the source was lost" } as const;
    const gone = { sourceLink: "unreachable", sourceSeenAt: 1_000 } as const;
    const facts: Migration = { ...new World(60_000).vstation, ...gone, source: { is: "copying", progress: null } };
    expect(reconcileMigration(facts, 40_000)).toMatchObject({ end: null });
    const given = { ...facts, target: dropped };
    expect(reconcileMigration(given, 30_999)).toMatchObject({ end: null, dueAt: 31_000 });
    const over = reconcileMigration(given, 31_000);
    expect(over).toMatchObject({ end: { as: "FAILED", code: "MigrationLinkLost" }, move: false, over: false });
    expect(isOverFor({ ...given, over: false })).toEqual({ source: false, target: false });
    expect(isOverFor({ ...given, ended: true, over: false })).toEqual({ source: false, target: true });
    const refused = { ...given, target: { ...dropped, reason: "disk_missing", message: "no disk" } } as const;
    expect(reconcileMigration(refused, 31_000).end).toMatchObject({ code: "MigrationDiskMissing", message: "no disk" });
    const calledOff = { ...refused, wish: "cancel", target: { ...dropped, reason: "cancelled" } } as const;
    expect(reconcileMigration(calledOff, 31_000).end).toMatchObject({ code: "MigrationCancelled" });
    expect(reconcileMigration(calledOff, 60_000).end).toMatchObject({ code: "MigrationNotInTime" });
    // It is back, and is heard as ever.
    expect(reconcileMigration({ ...given, sourceLink: "connected" }, 40_000)).toMatchObject({ end: null });
    const stayed = { is: "stayed", reason: "link_lost", message: "" } as const;
    const ended = reconcileMigration({ ...given, ended: true, sourceLink: "connected", source: stayed }, 40_000);
    expect(ended).toMatchObject({ end: null, over: true });
  });

  it("does nothing at the target while a finish may still take effect, whoever asks for an end, and says nothing new", () => {
    for (const guest of ["unknown", "off", "running", "paused"] as const) {
      for (const wish of ["go", "cancel"] as const) {
        const facts = {
          wish,
          record: { stage: "finishing" },
          ...{ neverRan: true, ran: false, settled: true },
          attempt: { is: "finishing" },
          ours: true,
          asked: true,
          ...({ released: false, memory: "unknown", port: 1 } as const),
          guest,
        } as const;
        expect(decideTarget(facts)).toEqual({ step: { do: "wait" }, say: { is: "listening", port: 1 } });
      }
    }
  });

  it("has arrived, for a target whose program begins anew, unless libvirt vouches that it never ran", () => {
    const anew = {
      wish: "go",
      record: { stage: "finishing" },
      attempt: null,
      ours: false,
      ...({ asked: true, released: false, memory: "unknown", port: null, settled: false } as const),
    } as const;
    const step = (guest: Whereabouts, neverRan: boolean, settled = false): unknown =>
      decideTarget({ ...anew, guest, neverRan, ran: false, settled }).step;
    expect(step("off", true)).toMatchObject({ record: { stage: "dropped", reason: "restarted" } });
    for (const guest of ["off", "paused", "running"] as const)
      expect(step(guest, false)).toEqual({ do: "record", record: { stage: "arrived" } });
    // libvirt may be in the middle of it.
    expect(step("paused", true)).toEqual({ do: "wait" });
    expect(step("paused", true, true)).toEqual({ do: "destroy" });
    expect(step("unknown", false)).toEqual({ do: "wait" });
  });

  it("has one phase for who watches, whatever the halves say", () => {
    const facts = { over: false, moved: false, ended: false, source: null, target: null };
    expect(phaseOf(facts)).toBe("preparing");
    expect(phaseOf({ ...facts, source: { is: "waiting", step: "" } })).toBe("preparing");
    expect(phaseOf({ ...facts, source: { is: "copying", progress: null } })).toBe("copying");
    expect(phaseOf({ ...facts, source: { is: "handing" } })).toBe("handing");
    expect(phaseOf({ ...facts, moved: true, source: { is: "handing" } })).toBe("clearing");
    expect(phaseOf({ ...facts, ended: true })).toBe("clearing");
    // Before VStation has written that it ended.
    const why = { reason: "link_lost", message: "" } as const;
    expect(phaseOf({ ...facts, source: { is: "stayed", ...why } })).toBe("clearing");
    expect(phaseOf({ ...facts, source: { is: "left", pauseMs: 5 } })).toBe("clearing");
    expect(phaseOf({ ...facts, source: { is: "handing" }, target: { is: "arrived" } })).toBe("clearing");
    expect(phaseOf({ ...facts, source: { is: "waiting", step: "" }, target: { is: "dropped", ...why } })).toBe(
      "preparing",
    );
    expect(phaseOf({ ...facts, over: true, ended: true })).toBe("ended");
  });

  it("tells the target's reason where the target gave up first", () => {
    const facts: Migration = {
      ...new World(5).vstation,
      source: { is: "stayed", reason: "target_refused", message: "the target gave up" },
      target: { is: "dropped", reason: "target_refused", message: "no hugepages are left" },
    };
    expect(reconcileMigration(facts, 0).end).toEqual({
      as: "FAILED",
      code: "MigrationTargetRefused",
      message: "no hugepages are left",
    });
    // What ended it was the wish, whichever of the two heard of that first.
    const calledOff = { ...facts, wish: "cancel", deadline: 10 } as const;
    expect(reconcileMigration(calledOff, 0).end).toMatchObject({
      code: "MigrationCancelled",
      message: expect.stringMatching(/^it was called off.*no hugepages are left$/),
    });
    expect(reconcileMigration(calledOff, 10).end).toMatchObject({ code: "MigrationNotInTime" });
    expect(fateOf(facts.target)).toBe("dropped");
    const alone = { is: "dropped", reason: "link_lost", message: "the source gave up, or was lost" } as const;
    expect(reconcileMigration({ ...facts, target: alone }, 0).end).toEqual({
      as: "FAILED",
      code: "MigrationTargetRefused",
      message: "the target gave up",
    });
  });
});
