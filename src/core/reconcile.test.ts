import { describe, expect, it } from "vitest";
import type { HostId, OperationId } from "../lib/ids.ts";
import { operationLimit, waitAgainMs } from "./deadlines.ts";
import { changes, isOrder } from "./decision.ts";
import type { OperationKind, StopMode } from "./instance.ts";
import { reconcile, relocationFailed } from "./reconcile.ts";
import { restartDelaysMs, stableMs } from "./restart-policy.ts";
import type { SeenPhase, SeenReason } from "./seen.ts";
import type { Instance, OpenOperation } from "./wanted.ts";

const now = 1_000_000;
const hostId = "host-aaaaaaaa" as HostId;

function operation(kind: OperationKind, change: Partial<OpenOperation> = {}): OpenOperation {
  const base = { id: "op-aaaaaaaa" as OperationId, kind, state: "RUNNING" as const, how: null, lastStep: null };
  return { ...base, deadline: now + 60_000, ...change };
}

function instance(change: Partial<Instance>, phase?: SeenPhase, seenGeneration = 5): Instance {
  return {
    power: { is: "running" },
    incarnation: 3,
    resets: 0,
    epoch: 1,
    generation: 5,
    hostId,
    seen: phase === undefined ? null : { epoch: 1, generation: seenGeneration, phase },
    restartPolicy: "always",
    launched: true,
    runningSince: now - 1_000,
    quickEnds: 0,
    notBefore: null,
    triedHosts: [],
    failure: null,
    otherAddress: null,
    operation: null,
    ...change,
  };
}

const running = (incarnation = 3, resets = 0): SeenPhase => ({ is: "running", incarnation, resets, startedAt: "" });
const exited = (reason: SeenReason, incarnation = 3): SeenPhase => ({
  is: "exited",
  incarnation,
  reason,
  message: "why",
});
const failed = (
  attempts: number,
  reason: "start_failed" | "disk_missing" = "start_failed",
): SeenPhase & { is: "failed" } => ({
  is: "failed",
  incarnation: 3,
  reason,
  message: "why",
  attempts,
});

describe("an instance that moves to another host", () => {
  it("is left to its migration, whatever its host says", () => {
    for (const phase of [running(), exited("guest_shutdown"), failed(9), { is: "gone" } as const]) {
      const one = instance({ operation: operation("instance.migrate", { deadline: now - 1 }) }, phase);
      for (const link of ["connected", "unreachable"] as const) {
        expect(changes(reconcile(one, link, now))).toBe(false);
      }
    }
  });
});

describe("an instance that should run", () => {
  it("ends its operation when the guest of this very start runs", () => {
    for (const kind of ["instance.run", "instance.start", "instance.recover"] as const) {
      const one = { operation: operation(kind), launched: false, runningSince: null };
      expect(reconcile(instance(one, running()), "connected", now)).toMatchObject({
        end: { as: "SUCCEEDED" },
        patch: { launched: true, runningSince: now },
      });
      expect(reconcile(instance(one, running(2)), "connected", now).end).toBeNull();
    }
  });

  it("waits for the reset that a hard reboot asked for", () => {
    const one = { operation: operation("instance.reboot"), resets: 2 };
    expect(reconcile(instance(one, running(3, 1)), "connected", now).end).toBeNull();
    expect(reconcile(instance(one, running(3, 2)), "connected", now).end).toEqual({ as: "SUCCEEDED" });
  });

  it("starts the guest that ended under a hard reboot, whatever ended it and whoever would start it otherwise", () => {
    const one = { operation: operation("instance.reboot"), resets: 1 };
    for (const restartPolicy of ["always", "never"] as const) {
      for (const reason of ["guest_shutdown", "guest_crashed", "host_restarted", "start_failed"] as const) {
        const decision = reconcile(instance({ ...one, restartPolicy }, exited(reason)), "connected", now);
        expect(decision).toMatchObject({ end: null, patch: { power: { is: "running" }, incarnation: 4, resets: 0 } });
        expect(decision.deadline).toBe(now + operationLimit("instance.start", null));
      }
    }
    // What it said of the start before is no word on this one; that it runs is.
    const again = { operation: operation("instance.reboot"), incarnation: 4 };
    expect(reconcile(instance(again, exited("guest_crashed", 3)), "connected", now).patch).toEqual({});
    expect(reconcile(instance(again, running(4)), "connected", now).end).toEqual({ as: "SUCCEEDED" });
    // A stop that came after it is the last word.
    const stop = { power: { is: "stopped", how: "hard" } as const, operation: operation("instance.stop"), resets: 1 };
    expect(reconcile(instance(stop, exited("guest_crashed")), "connected", now)).toMatchObject({
      patch: {},
      end: { as: "SUCCEEDED" },
    });
  });

  it("is at rest when it runs and nothing is under way", () => {
    expect(changes(reconcile(instance({}, running()), "connected", now))).toBe(false);
  });

  it("forgets quick ends after a stable run", () => {
    const one = instance({ quickEnds: 2, runningSince: now - stableMs }, running());
    expect(reconcile(one, "connected", now).patch).toEqual({ quickEnds: 0 });
    expect(reconcile(one, "connected", now - 1)).toMatchObject({ patch: {}, dueAt: now });
  });

  it("ends what is under way when its deadline has passed, and only if the host is in reach", () => {
    const late = (kind: OperationKind): Partial<Instance> => ({ operation: operation(kind, { deadline: now }) });
    const stuck: SeenPhase = { is: "starting", incarnation: 3 };
    for (const kind of ["instance.start", "instance.recover"] as const) {
      expect(reconcile(instance(late(kind), stuck), "connected", now)).toMatchObject({
        end: { as: "FAILED", code: "DeadlineExceeded" },
        patch: { power: { is: "stopped", how: "hard" } },
      });
      expect(reconcile(instance(late(kind), stuck), "unreachable", now)).toMatchObject({
        end: null,
        deadline: now + waitAgainMs,
        steps: [{ name: "waiting" }],
      });
    }
    expect(reconcile(instance({ ...late("instance.run"), launched: false }, stuck), "connected", now)).toMatchObject({
      end: { as: "FAILED", code: "DeadlineExceeded" },
      patch: { power: { is: "gone", purpose: "launch_failed" } },
    });
    expect(reconcile(instance({ ...late("instance.reboot"), resets: 1 }, running()), "connected", now)).toMatchObject({
      end: { as: "FAILED", code: "DeadlineExceeded" },
      patch: {},
    });
  });
});

describe("a guest that ended by itself", () => {
  it("is started anew under `always`: a recovery with growing delays, then the next incarnation", () => {
    const first = reconcile(instance({}, exited("guest_crashed")), "connected", now);
    expect(first).toMatchObject({ recover: { failed: null }, patch: { quickEnds: 1, notBefore: now }, dueAt: now });
    const open = { operation: operation("instance.recover"), quickEnds: 1, notBefore: now };
    const next = reconcile(instance(open, exited("guest_crashed")), "connected", now);
    expect(next.patch).toMatchObject({ power: { is: "running" }, incarnation: 4, resets: 0, notBefore: null });
    expect(isOrder(next)).toBe(true);
    const early = reconcile(instance({ ...open, notBefore: now + 1 }, exited("guest_crashed")), "connected", now);
    expect(early).toMatchObject({ patch: {}, dueAt: now + 1 });
  });

  it("is started at once and nothing is counted when its host went away under it, however often", () => {
    const one = instance({ quickEnds: restartDelaysMs.length }, exited("host_restarted"));
    expect(reconcile(one, "connected", now)).toMatchObject({
      recover: { failed: null },
      patch: { quickEnds: restartDelaysMs.length, notBefore: now },
      dueAt: now,
    });
  });

  it("is given up after too many quick ends, with the instance stopped and the reason named", () => {
    const one = instance({ quickEnds: restartDelaysMs.length }, exited("guest_crashed"));
    expect(reconcile(one, "connected", now)).toMatchObject({
      recover: { failed: { code: "CrashLoop" } },
      patch: { power: { is: "stopped", how: "hard" }, failure: { code: "CrashLoop" } },
    });
    const stable = { ...one, runningSince: now - stableMs };
    expect(reconcile(stable, "connected", now)).toMatchObject({ recover: { failed: null }, patch: { quickEnds: 1 } });
  });

  it("stays off under `never`, with a word on it unless it shut itself down", () => {
    const never = { restartPolicy: "never" as const };
    expect(reconcile(instance(never, exited("guest_shutdown")), "connected", now)).toMatchObject({
      patch: { power: { is: "stopped" }, failure: null },
      recover: null,
    });
    expect(reconcile(instance(never, exited("guest_crashed")), "connected", now)).toMatchObject({
      patch: { power: { is: "stopped" }, failure: { code: "GuestEnded" } },
    });
  });

  it("has been started all the same: the start succeeded", () => {
    const one = instance({ operation: operation("instance.run"), launched: false }, exited("guest_shutdown"));
    expect(reconcile(one, "connected", now)).toMatchObject({ end: { as: "SUCCEEDED" }, patch: { launched: true } });
  });

  it("counts as a failed start when nobody knows whether it ran, and is tried again as a new start", () => {
    const one = instance({ operation: operation("instance.start") }, exited("start_failed"));
    expect(reconcile(one, "connected", now)).toMatchObject({ end: null, patch: { quickEnds: 1, notBefore: now } });
    expect(reconcile({ ...one, quickEnds: 3 }, "connected", now)).toMatchObject({
      end: { as: "FAILED", code: "StartFailed" },
      patch: { power: { is: "stopped" } },
    });
  });

  it("is old news when a later start was ordered, and overtakes an earlier one", () => {
    const one = { operation: operation("instance.start") };
    expect(reconcile(instance(one, exited("guest_crashed", 2)), "connected", now).patch).toEqual({});
    const ahead = reconcile(instance({}, exited("guest_crashed", 7)), "connected", now);
    expect(ahead.recover).not.toBeNull();
    const open = { operation: operation("instance.recover"), notBefore: now };
    expect(reconcile(instance(open, exited("guest_crashed", 7)), "connected", now).patch.incarnation).toBe(8);
  });
});

/** What the operation's last step says after this report. */
const after = (phase: SeenPhase & { is: "failed" }) => ({
  lastStep: { name: "host.failed", note: `attempt ${phase.attempts}: ${phase.message}` },
});

describe("a first start that fails for good", () => {
  const launching = { operation: operation("instance.run", after(failed(2))), launched: false };

  it("goes to another host, and only after this one has confirmed that nothing is left", () => {
    const given = reconcile(instance(launching, failed(3)), "connected", now);
    expect(given).toMatchObject({
      patch: { power: { is: "gone", purpose: "relocate" }, triedHosts: [hostId], failure: { code: "StartFailed" } },
      end: null,
    });
    const moving = { ...launching, power: { is: "gone", purpose: "relocate" } as const, triedHosts: [hostId] };
    expect(reconcile(instance(moving, { is: "gone" }, 4), "connected", now).release).toBeNull();
    expect(reconcile(instance(moving, { is: "gone" }, 5), "connected", now)).toMatchObject({
      release: "capacity",
      place: false,
    });
    expect(reconcile(instance({ ...moving, hostId: null }), "connected", now)).toMatchObject({ place: true });
  });

  it("keeps its host for a few attempts", () => {
    const one = { ...launching, operation: operation("instance.run", after(failed(1))) };
    expect(reconcile(instance(one, failed(2)), "connected", now)).toMatchObject({ patch: {}, end: null });
  });

  it("is not judged by what failed before it was ordered", () => {
    for (const phase of [failed(9), failed(1, "disk_missing")]) {
      const first = reconcile(instance({ operation: operation("instance.start") }, phase), "connected", now);
      expect(first).toMatchObject({ patch: {}, end: null, steps: [{ name: "host.failed" }] });
      const same = { operation: operation("instance.start", after(phase)) };
      expect(reconcile(instance(same, phase), "connected", now)).toMatchObject({ patch: {}, end: null });
    }
  });

  it("fails the launch after the last host, and says why", () => {
    const third = { ...launching, triedHosts: ["host-bbbbbbbb", "host-cccccccc"] as HostId[] };
    expect(reconcile(instance(third, failed(3)), "connected", now)).toMatchObject({
      patch: { power: { is: "gone", purpose: "launch_failed" } },
      end: { as: "FAILED", code: "StartFailed", message: "why" },
    });
    const nowhere = instance({ ...launching, hostId: null, failure: { code: "ImageMissing", message: "no image" } });
    expect(relocationFailed(nowhere)).toMatchObject({
      patch: { power: { is: "gone", purpose: "launch_failed" } },
      end: { code: "ImageMissing", message: "no image (no other host could take it)" },
    });
  });

  it("never leaves a host that it has run on: its disk is there", () => {
    const start = { operation: operation("instance.start", after(failed(1, "disk_missing"))) };
    expect(reconcile(instance(start, failed(2, "disk_missing")), "connected", now)).toMatchObject({
      patch: { power: { is: "stopped", how: "hard" } },
      end: { as: "FAILED", code: "DiskMissing" },
    });
  });
});

describe("an instance that should be off", () => {
  const stopping = (how: StopMode, kind: OperationKind = "instance.stop", deadline = now + 1): Partial<Instance> => ({
    power: { is: "stopped", how },
    operation: operation(kind, { how, deadline }),
  });

  it("is off when the host has seen this order, or its start is over for good", () => {
    const done = { as: "SUCCEEDED" };
    expect(reconcile(instance(stopping("soft"), { is: "stopped" }), "connected", now).end).toEqual(done);
    expect(reconcile(instance(stopping("soft"), { is: "stopped" }, 4), "connected", now).end).toBeNull();
    expect(reconcile(instance(stopping("soft"), exited("guest_crashed"), 4), "connected", now).end).toEqual(done);
    expect(reconcile(instance(stopping("soft"), exited("guest_crashed", 2)), "connected", now).end).toBeNull();
    expect(reconcile(instance(stopping("soft"), running()), "connected", now).end).toBeNull();
  });

  it("runs on when it did not follow a soft stop in time", () => {
    expect(reconcile(instance(stopping("soft", "instance.stop", now), running()), "connected", now)).toMatchObject({
      patch: { power: { is: "running" } },
      end: { as: "FAILED", code: "GuestDidNotStop" },
    });
  });

  it("is stopped hard when soft_first got no answer, and that is the last word", () => {
    const first = reconcile(instance(stopping("soft_first", "instance.stop", now), running()), "connected", now);
    expect(first).toMatchObject({ patch: { power: { is: "stopped", how: "hard" } }, end: null });
    expect(first.deadline).toBe(now + operationLimit("instance.stop", "hard"));
    expect(reconcile(instance(stopping("hard", "instance.stop", now), running()), "connected", now)).toMatchObject({
      patch: {},
      end: { as: "FAILED", code: "DeadlineExceeded" },
    });
    for (const how of ["soft", "soft_first", "hard"] as const) {
      const silent = reconcile(instance(stopping(how, "instance.stop", now), running()), "unreachable", now);
      expect(silent).toMatchObject({ patch: {}, end: null, deadline: now + waitAgainMs });
    }
  });

  it("is started anew by a reboot, under the same operation", () => {
    const decision = reconcile(instance(stopping("soft", "instance.reboot"), { is: "stopped" }), "connected", now);
    expect(decision).toMatchObject({ end: null, patch: { power: { is: "running" }, incarnation: 4, resets: 0 } });
    expect(decision.deadline).toBe(now + operationLimit("instance.start", null));
  });
});

describe("an instance that gets another type", () => {
  const off: SeenPhase = { is: "stopped" };

  it("comes up as the new one if it ran, and stays off if it was off, once its host has heard of it", () => {
    const ran = {
      power: { is: "stopped", how: "soft_first" } as const,
      operation: operation("instance.resize", { how: "soft_first" }),
    };
    expect(reconcile(instance(ran, off), "connected", now)).toMatchObject({
      end: null,
      patch: { power: { is: "running" }, incarnation: 4 },
    });
    const wasOff = { power: { is: "stopped", how: "hard" } as const, operation: operation("instance.resize") };
    expect(reconcile(instance(wasOff, off), "connected", now)).toMatchObject({ patch: {}, end: { as: "SUCCEEDED" } });
    expect(reconcile(instance(wasOff, off, 4), "connected", now).end).toBeNull();
  });

  it("is never started by a resize of what was off, however late its host is", () => {
    const late = {
      power: { is: "stopped", how: "hard" } as const,
      operation: operation("instance.resize", { deadline: now }),
    };
    expect(reconcile(instance(late, off, 4), "connected", now)).toMatchObject({ patch: {}, end: { as: "FAILED" } });
  });

  it("stays off with the reason when its host cannot make the new one", () => {
    const lastStep = { name: "host.failed", note: "attempt 1: before" };
    const starting = { operation: operation("instance.resize", { how: "soft_first", lastStep }) };
    const phase: SeenPhase = {
      is: "failed",
      incarnation: 3,
      reason: "machine_unavailable",
      message: "no",
      attempts: 1,
    };
    expect(reconcile(instance(starting, phase), "connected", now)).toMatchObject({
      patch: { power: { is: "stopped", how: "hard" } },
      end: { as: "FAILED", code: "MachineUnavailable", message: "no" },
    });
  });
});

describe("an instance of which nothing may remain", () => {
  const ending = { power: { is: "gone", purpose: "terminate" } as const, operation: operation("instance.terminate") };

  it("is over when its host has confirmed this very order", () => {
    expect(reconcile(instance(ending, { is: "gone" }), "connected", now)).toMatchObject({
      release: "everything",
      end: { as: "SUCCEEDED" },
    });
    expect(reconcile(instance(ending, { is: "gone" }, 4), "connected", now).release).toBeNull();
    expect(reconcile(instance(ending, { is: "stopped" }), "connected", now).release).toBeNull();
    expect(reconcile(instance(ending, exited("guest_shutdown")), "connected", now).release).toBeNull();
  });

  it("is never given up: it waits, and says for what", () => {
    const late = { ...ending, operation: operation("instance.terminate", { deadline: now }) };
    for (const link of ["connected", "unreachable"] as const) {
      const decision = reconcile(instance(late, { is: "stopping", incarnation: 3 }), link, now);
      expect(decision.end).toBeNull();
      expect(decision.deadline).toBeGreaterThan(now);
      expect(decision.steps.at(-1)?.name).toBe("waiting");
    }
  });

  it("does not write the same step twice", () => {
    const note = "its host is out of reach";
    const late = operation("instance.terminate", { deadline: now, lastStep: { name: "waiting", note } });
    const again = reconcile(instance({ ...ending, operation: late }), "unreachable", now);
    expect(again.steps).toEqual([]);
  });

  it("is over at once when it is on no host", () => {
    expect(reconcile(instance({ ...ending, hostId: null }), "connected", now).release).toBe("everything");
  });
});
