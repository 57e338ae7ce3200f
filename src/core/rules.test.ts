import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type * as migrationWire from "../api/agent-migration.ts";
import type * as wire from "../api/agent.ts";
import type { InstanceId } from "../lib/ids.ts";
import { ipToNumber, macOfGateway, macOfInstance, numberToIp, usableRange } from "./addresses.ts";
import { attention } from "./attention.ts";
import { instanceState } from "./instance-state.ts";
import { instanceStates, operationKinds } from "./instance.ts";
import { isHostname, nameAt } from "./names.ts";
import { decideRestart, restartDelaysMs, stableMs } from "./restart-policy.ts";
import type { SourceState, TargetState } from "./migration/halves.ts";
import type { SeenPhase, SeenReason } from "./seen.ts";

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;

describe("what hosts say", () => {
  it("is the same here and on the wire, to the compiler", () => {
    const same: [Same<SeenReason, wire.SeenReason>, Same<SeenPhase, wire.SeenPhase>] = [true, true];
    expect(same).toEqual([true, true]);
    type Half<Is extends string> = Extract<migrationWire.SeenMigration["half"], { is: Is }>["state"];
    const halves: [Same<SourceState, Half<"source">>, Same<TargetState, Half<"target">>] = [true, true];
    expect(halves).toEqual([true, true]);
  });
});

describe("the state", () => {
  it("is one of those that clients know, whatever the facts are", () => {
    for (const open of [null, ...operationKinds]) {
      for (const seen of [null, "running", "stopped", "exited", "gone", "failed", "preparing"] as const) {
        for (const restartPolicy of ["always", "never"] as const) {
          for (const power of [
            { is: "running" },
            { is: "stopped", how: "soft" },
            { is: "gone", purpose: "terminate" },
            { is: "gone", purpose: "relocate" },
            { is: "gone", purpose: "launch_failed" },
          ] as const) {
            expect(instanceStates).toContain(instanceState({ power, seen, open, restartPolicy }));
          }
        }
      }
    }
  });

  it("does not say STOPPED of what may still run, nor RUNNING of what has ended", () => {
    const off = { power: { is: "stopped", how: "hard" }, open: null, restartPolicy: "always" } as const;
    expect(instanceState({ ...off, seen: "running" })).toBe("STOPPING");
    expect(instanceState({ ...off, seen: "stopped" })).toBe("STOPPED");
    const on = { power: { is: "running" }, open: null } as const;
    expect(instanceState({ ...on, seen: "exited", restartPolicy: "never" })).toBe("STOPPED");
    expect(instanceState({ ...on, seen: "exited", restartPolicy: "always" })).toBe("STARTING");
    expect(instanceState({ ...on, seen: "paused", restartPolicy: "always" })).toBe("RUNNING");
  });
});

describe("attention", () => {
  const well = { power: "running", seen: null, failure: null, quickEnds: 0, hostName: "h", stale: false } as const;

  it("is silent when all is well and puts the unknown first", () => {
    expect(attention(well)).toBeNull();
    const paused = { is: "paused", incarnation: 1, reason: "out_of_space" } as const;
    expect(attention({ ...well, seen: paused })).toMatch(/storage is full/);
    expect(attention({ ...well, seen: paused, stale: true })).toMatch(/out of reach/);
    expect(attention({ ...well, failure: { code: "StartFailed", message: "no such machine" } })).toBe(
      "No such machine.",
    );
  });
});

describe("restarting", () => {
  it("waits longer each time and ends; a stable run begins anew", () => {
    fc.assert(
      fc.property(fc.nat(20), fc.nat(stableMs * 2), (quickEnds, ranMs) => {
        const verdict = decideRestart(quickEnds, ranMs, "guest");
        const before = ranMs >= stableMs ? 0 : quickEnds;
        const restart = { is: "restart", afterMs: restartDelaysMs[before], quickEnds: before + 1 };
        expect(verdict).toEqual(before < restartDelaysMs.length ? restart : { is: "crash_loop", quickEnds: before });
        expect(decideRestart(quickEnds, ranMs, "host")).toEqual({ is: "restart", afterMs: 0, quickEnds });
      }),
    );
  });
});

describe("names", () => {
  it("count as their pattern says, or from 1 when there is none and more than one", () => {
    expect([0, 1].map((index) => nameAt("web", index, 2))).toEqual(["web1", "web2"]);
    expect(nameAt("web", 0, 1)).toBe("web");
    expect([0, 1].map((index) => nameAt("web{R:9}", index, 2))).toEqual(["web9", "web10"]);
    expect(nameAt("web-{R:3,F:4}-x", 2, 5)).toBe("web-0005-x");
    expect(nameAt("{R:3}{R:4}", 0, 1)).toBe("34");
  });

  it("are a host's where DNS carries them", () => {
    const good = ["a", "web-1", "web.example", "1a", "x".repeat(63)];
    expect(good.filter(isHostname)).toEqual(good);
    const dots = `${"a".repeat(33)}.${"b".repeat(31)}`;
    expect(["", "-a", "a-", "a..b", "a.", "a_b", "a b", "ü", "x".repeat(64), dots].filter(isHostname)).toEqual([]);
  });
});

describe("addresses", () => {
  it("go to numbers and back", () => {
    fc.assert(
      fc.property(fc.ipV4(), (ip) => {
        expect(numberToIp(ipToNumber(ip))).toBe(ip);
      }),
    );
  });

  it("leave out the reserved ones and the broadcast address", () => {
    const { first, last } = usableRange("10.200.0.0/16", 10);
    expect([numberToIp(first), numberToIp(last)]).toEqual(["10.200.0.10", "10.200.255.254"]);
  });

  it("have nothing to do with an instance's MAC: each id has its own, which is no gateway's and no group's", () => {
    expect(macOfGateway("10.200.0.255")).toBe("02:56:0a:c8:00:ff");
    expect(macOfInstance("ins-00000000" as InstanceId)).toBe("06:00:00:00:00:00");
    const ids = fc.stringMatching(/^ins-[a-z0-9]{8}$/);
    fc.assert(
      fc.property(ids, ids, (one, two) => {
        const [a = "", b = ""] = [one, two].map((id) => macOfInstance(id as InstanceId));
        expect(a).toMatch(/^[012]6(:[0-9a-f]{2}){5}$/);
        expect(a === b).toBe(one === two);
      }),
    );
  });
});
