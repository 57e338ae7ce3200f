import { describe, expect, test } from "vitest";
import {
  decide,
  nothingHeld,
  pressEveryMs,
  softFirstMs,
  type Guest,
  type Mark,
  type RunRecord,
  type Situation,
} from "./ensure.ts";

const mark: Mark = { epoch: 1, incarnation: 1, resets: 0 };
const started: RunRecord = {
  epoch: 1,
  incarnation: 1,
  stage: "started",
  diskMade: true,
  startedAt: "2026-01-01T00:00:00.000Z",
  bootId: "boot",
  resets: 0,
  end: null,
  stop: null,
};
const running: Guest = { is: "running", mark };
const off = (why: "shutdown" | "crashed" | "destroyed" | "failed" | "unknown"): Guest => ({ is: "off", mark, why });

function situation(changes: Partial<Situation>): Situation {
  return {
    wanted: { epoch: 1, power: { state: "running", incarnation: 1, resets: 0 } },
    knownEpoch: 1,
    record: null,
    guest: { is: "absent" },
    trace: false,
    leftover: false,
    held: nothingHeld,
    bootId: "boot",
    nowMs: 1_000_000,
    nowIso: "2026-01-01T00:00:00.000Z",
    ...changes,
  };
}
const wantedPower = (power: NonNullable<Situation["wanted"]>["power"], epoch = 1): Situation["wanted"] => ({
  epoch,
  power,
});

describe("a start", () => {
  test("is prepared, then made durable, then done", () => {
    const first = decide(situation({}));
    expect(first).toMatchObject({ step: { do: "prepare", incarnation: 1 }, phase: { is: "preparing" } });
    const prepared = { ...nothingHeld, prepared: 1 };
    const second = decide(situation({ held: prepared, guest: off("unknown") }));
    expect(second).toMatchObject({
      step: { do: "record", record: { stage: "intent", incarnation: 1, diskMade: true } },
      phase: { is: "starting", incarnation: 1 },
    });
    const intent = { ...started, stage: "intent", startedAt: null } as const;
    const third = decide(situation({ held: prepared, guest: off("unknown"), record: intent }));
    expect(third.step).toEqual({ do: "start", incarnation: 1 });
  });

  test("whose intent is known, without a guest or a trace, is made: it never reached QEMU", () => {
    const intent = { ...started, stage: "intent" } as const;
    expect(decide(situation({ record: intent })).step).toEqual({ do: "prepare", incarnation: 1 });
  });

  test("whose intent is known, without a guest but with a trace, is over: it may have run", () => {
    const intent = { ...started, stage: "intent" } as const;
    const { step } = decide(situation({ record: intent, trace: true, guest: off("unknown") }));
    expect(step).toMatchObject({ do: "record", record: { stage: "ended", end: { reason: "start_failed" } } });
  });

  test("that got no answer waits for its doubt to pass before anything is concluded", () => {
    const intent = { ...started, stage: "intent" } as const;
    const held = { ...nothingHeld, prepared: 1, doubtUntilMs: 1_000_500 };
    expect(decide(situation({ record: intent, held, trace: true })).step).toEqual({ do: "wait", untilMs: 1_000_500 });
    expect(decide(situation({ record: intent, held, trace: true, nowMs: 1_000_500 })).step.do).toBe("record");
  });

  test("that failed waits for its next try and says why", () => {
    const failure = { reason: "image_missing", message: "no image", attempts: 2, retryAtMs: 1_002_000 } as const;
    const { step, phase } = decide(situation({ held: { ...nothingHeld, failure } }));
    expect(step).toEqual({ do: "wait", untilMs: 1_002_000 });
    expect(phase).toEqual({ is: "failed", incarnation: 1, reason: "image_missing", message: "no image", attempts: 2 });
  });
});

describe("a guest that ended by itself", () => {
  test.each([
    ["shutdown", "guest_shutdown"],
    ["crashed", "guest_crashed"],
    ["destroyed", "guest_crashed"],
    ["unknown", "guest_crashed"],
    ["failed", "guest_crashed"],
  ] as const)("libvirt's %s is %s", (why, reason) => {
    const { step } = decide(situation({ record: started, guest: off(why) }));
    expect(step).toMatchObject({ do: "record", record: { stage: "ended", end: { reason } } });
  });

  test("with the host's boot ended because of that", () => {
    const { step } = decide(situation({ record: started, guest: off("shutdown"), bootId: "next" }));
    expect(step).toMatchObject({ do: "record", record: { end: { reason: "host_restarted" } } });
  });

  test("is not started again for the same incarnation, and is for the next", () => {
    const ended = { ...started, stage: "ended", end: { reason: "guest_shutdown", message: "m" } } as const;
    const same = decide(situation({ record: ended, guest: off("shutdown") }));
    expect(same).toEqual({
      step: { do: "wait", untilMs: null },
      phase: { is: "exited", incarnation: 1, reason: "guest_shutdown", message: "m" },
    });
    const next = wantedPower({ state: "running", incarnation: 2, resets: 0 });
    expect(decide(situation({ record: ended, guest: off("shutdown"), wanted: next })).step.do).toBe("prepare");
  });
});

describe("a stop", () => {
  const stopping = (how: "soft" | "soft_first" | "hard", sinceMs: number): RunRecord => ({
    ...started,
    stop: { how, sinceMs },
  });

  test("is written down before the button is pressed, and pressed again later", () => {
    const wanted = wantedPower({ state: "stopped", how: "soft" });
    const first = decide(situation({ record: started, guest: running, wanted }));
    expect(first).toMatchObject({ step: { do: "record", record: { stop: { how: "soft", sinceMs: 1_000_000 } } } });
    const record = stopping("soft", 1_000_000);
    expect(decide(situation({ record, guest: running, wanted })).step.do).toBe("press");
    const held = { ...nothingHeld, pressedAtMs: 1_000_000 };
    expect(decide(situation({ record, guest: running, wanted, held }))).toEqual({
      step: { do: "wait", untilMs: 1_000_000 + pressEveryMs },
      phase: { is: "stopping", incarnation: 1 },
    });
    const later = { held, nowMs: 1_000_000 + pressEveryMs };
    expect(decide(situation({ record, guest: running, wanted, ...later })).step.do).toBe("press");
  });

  test("soft never destroys, soft_first does after its deadline, hard at once", () => {
    const held = { ...nothingHeld, pressedAtMs: 1_000_000 + softFirstMs };
    const late = { guest: running, held, nowMs: 1_000_000 + softFirstMs + 1 };
    const at = (how: "soft" | "soft_first" | "hard"): string =>
      decide(situation({ record: stopping(how, 1_000_000), wanted: wantedPower({ state: "stopped", how }), ...late }))
        .step.do;
    expect([at("soft"), at("soft_first"), at("hard")]).toEqual(["wait", "destroy", "destroy"]);
  });

  test("ends as stopped, and the record says that the run is over", () => {
    const wanted = wantedPower({ state: "stopped", how: "hard" });
    const first = decide(situation({ record: stopping("hard", 1), guest: off("destroyed"), wanted }));
    expect(first.step).toMatchObject({ do: "record", record: { stage: "ended", stop: null } });
    const record = { ...started, stage: "ended" } as const;
    expect(decide(situation({ record, guest: off("destroyed"), wanted })).phase).toEqual({ is: "stopped" });
  });
});

describe("a reset", () => {
  const wanted = wantedPower({ state: "running", incarnation: 1, resets: 2 });

  test("is made once for all that are outstanding, and then counted", () => {
    const first = decide(situation({ record: started, guest: running, wanted }));
    expect(first).toMatchObject({ step: { do: "reset", resets: 2 }, phase: { resets: 0 } });
    const held = { ...nothingHeld, resetDone: 2 };
    const second = decide(situation({ record: started, guest: running, wanted, held }));
    expect(second.step).toMatchObject({ do: "record", record: { resets: 2 } });
    const done = { ...started, resets: 2 };
    expect(decide(situation({ record: done, guest: running, wanted, held }))).toMatchObject({
      step: { do: "wait" },
      phase: { is: "running", resets: 2 },
    });
  });

  test("that is asked for while one is being made is another one", () => {
    const later = wantedPower({ state: "running", incarnation: 1, resets: 3 });
    const held = { ...nothingHeld, resetDone: 2 };
    const count = decide(situation({ record: started, guest: running, wanted: later, held }));
    expect(count.step).toMatchObject({ do: "record", record: { resets: 2 } });
    const again = decide(situation({ record: { ...started, resets: 2 }, guest: running, wanted: later, held }));
    expect(again.step).toEqual({ do: "reset", resets: 3 });
  });
});

describe("what is not ours to touch", () => {
  test.each([
    ["not named by VStation", { wanted: null }],
    ["asked for by an older placement than the record's", { record: { ...started, epoch: 2 } }],
    ["asked for by an older placement than was heard of", { knownEpoch: 2 }],
    ["marked by a newer placement", { guest: { is: "running", mark: { ...mark, epoch: 2 } } }],
    ["without our mark and without a record", { record: null, guest: { is: "running", mark: null } }],
  ] as const)("a guest %s is a stranger", (_, changes) => {
    for (const power of [{ state: "gone" }, { state: "stopped", how: "hard" }] as const) {
      const { step, phase } = decide(
        situation({ record: started, guest: running, wanted: wantedPower(power), ...changes }),
      );
      expect(step).toEqual({ do: "wait", untilMs: null });
      expect(phase).toEqual({ is: "stranger", running: true });
    }
  });

  test("a guest of another incarnation than the wanted one is shown and left to run", () => {
    const wanted = wantedPower({ state: "running", incarnation: 2, resets: 0 });
    expect(decide(situation({ record: started, guest: running, wanted }))).toMatchObject({
      step: { do: "wait", untilMs: null },
      phase: { is: "running", incarnation: 1 },
    });
  });

  test("while libvirt does not answer nothing is done and nothing is said", () => {
    for (const power of [{ state: "gone" }, { state: "running", incarnation: 2, resets: 0 }] as const) {
      expect(decide(situation({ record: started, guest: { is: "unknown" }, wanted: wantedPower(power) }))).toEqual({
        step: { do: "wait", untilMs: null },
        phase: null,
      });
    }
  });

  test("nothing anywhere is nothing to report; files without a record are a stranger's", () => {
    expect(decide(situation({ wanted: null })).phase).toBe("nothing");
    expect(decide(situation({ wanted: null, leftover: true })).phase).toEqual({ is: "stranger", running: false });
  });
});

describe("a guest that is found running", () => {
  test("without a record is adopted by its mark", () => {
    const { step } = decide(situation({ guest: { is: "running", mark: { ...mark, resets: 3 } } }));
    expect(step).toMatchObject({
      do: "record",
      record: { stage: "started", incarnation: 1, resets: 3, diskMade: true },
    });
  });

  test("with the intent of its start recorded has been started", () => {
    const intent = { ...started, stage: "intent", startedAt: null } as const;
    const { step } = decide(situation({ record: intent, guest: running }));
    expect(step).toMatchObject({ do: "record", record: { stage: "started", startedAt: "2026-01-01T00:00:00.000Z" } });
  });

  test("paused for want of space is resumed when there is room", () => {
    const guest = { is: "paused", mark, why: "out_of_space" } as const;
    expect(decide(situation({ record: started, guest }))).toMatchObject({
      step: { do: "wait" },
      phase: { is: "paused", reason: "out_of_space" },
    });
    const held = { ...nothingHeld, roomAgain: true };
    expect(decide(situation({ record: started, guest, held })).step.do).toBe("resume");
    expect(decide(situation({ record: started, guest: { ...guest, why: "paused_outside" }, held })).step.do).toBe(
      "wait",
    );
  });
});

describe("gone", () => {
  const wanted = wantedPower({ state: "gone" });

  test("ends the guest, then erases, then says so", () => {
    expect(decide(situation({ record: started, guest: running, wanted })).step.do).toBe("destroy");
    expect(decide(situation({ record: started, guest: off("destroyed"), wanted })).step.do).toBe("erase");
    expect(decide(situation({ wanted })).step.do).toBe("erase");
    const held = { ...nothingHeld, erased: true };
    expect(decide(situation({ wanted, held })).phase).toEqual({ is: "gone" });
  });

  test("waits while an unanswered call may still start it", () => {
    const held = { ...nothingHeld, doubtUntilMs: 1_000_100 };
    expect(decide(situation({ record: started, guest: off("unknown"), wanted, held })).step.do).toBe("wait");
  });
});

describe("a guest that a live migration looks after", () => {
  const wishes = [
    wantedPower({ state: "running", incarnation: 2, resets: 3 }),
    wantedPower({ state: "stopped", how: "hard" }),
    wantedPower({ state: "gone" }),
    null,
  ];
  const guests: Guest[] = [running, off("crashed"), { is: "absent" }, { is: "paused", mark, why: "paused_outside" }];

  test("is left alone, whatever is wanted and seen; its source says what it said, its target nothing", () => {
    for (const wanted of wishes) {
      for (const guest of guests) {
        const at = (migrating: "source" | "target") =>
          decide(situation({ wanted, guest, record: started, held: { ...nothingHeld, migrating } }));
        expect(at("target")).toEqual({ step: { do: "wait", untilMs: null }, phase: null });
        expect(at("source")).toMatchObject({
          step: { do: "wait", untilMs: null },
          phase: { is: "running", incarnation: started.incarnation },
        });
      }
    }
  });
});
