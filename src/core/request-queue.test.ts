import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { allowedStates, instanceStates, operationKinds, type StopMode } from "./instance.ts";
import { decideChange, decideMigrate, decideRequest, type PowerRequest, type Situation } from "./request-queue.ts";

const how = fc.constantFrom<StopMode>("soft", "soft_first", "hard");
const requests: fc.Arbitrary<PowerRequest> = fc.oneof(
  fc.constant<PowerRequest>({ action: "start" }),
  fc.constant<PowerRequest>({ action: "terminate" }),
  fc.record({ action: fc.constant("stop" as const), how }),
  fc.record({ action: fc.constant("reboot" as const), how }),
);
const situations: fc.Arbitrary<Situation> = fc.record({
  state: fc.constantFrom(...instanceStates),
  open: fc.option(fc.record({ kind: fc.constantFrom(...operationKinds), how: fc.option(how) })),
  terminationProtection: fc.boolean(),
});

const changes = fc.constantFrom("resize" as const, "renumber" as const);

describe("the request queue", () => {
  it("accepts at rest exactly what the table of states allows", () => {
    fc.assert(
      fc.property(requests, situations, (request, situation) => {
        fc.pre(request.action !== "terminate");
        const verdict = decideRequest(request, { ...situation, open: null });
        expect(verdict.is === "accept").toBe(allowedStates[request.action].includes(situation.state));
        const denied = { is: "deny", reason: "wrong_state", state: situation.state };
        expect([{ is: "accept" }, denied]).toContainEqual(verdict);
      }),
    );
  });

  it("lets nothing but a termination, a harder stop or the end of a recovery or of a reboot over an open operation", () => {
    fc.assert(
      fc.property(requests, situations, (request, situation) => {
        const { open } = situation;
        fc.pre(open !== null && request.action !== "terminate");
        if (decideRequest(request, situation).is !== "accept") return;
        const harder = open.kind === `instance.${request.action}` && "how" in request && open.how !== request.how;
        const endsRecovery = open.kind === "instance.recover" && request.action === "stop";
        const endsReboot = open.kind === "instance.reboot" && request.action === "stop" && request.how === "hard";
        expect(harder || endsRecovery || endsReboot).toBe(true);
      }),
    );
  });

  it("moves what runs and has nothing under way, and meanwhile changes nothing of it", () => {
    fc.assert(
      fc.property(situations, requests, how, (situation, request, mode) => {
        const may = situation.state === "RUNNING" && situation.open === null;
        expect(decideMigrate(situation).is).toBe(may ? "accept" : "deny");
        const moving = {
          ...situation,
          state: "RUNNING" as const,
          open: { kind: "instance.migrate" as const, how: mode },
        };
        const verdict = decideRequest(request, { ...moving, terminationProtection: false });
        const denied = { is: "deny", reason: "operation_in_progress", operation: "instance.migrate" };
        const running = { is: "deny", reason: "wrong_state", state: "RUNNING" };
        expect(verdict).toEqual(request.action === "start" ? running : denied);
        for (const action of ["resize", "renumber"] as const) {
          expect(decideChange(action, moving, { changes: true, mayStop: true })).toEqual(denied);
        }
        expect(decideMigrate(moving)).toEqual(denied);
      }),
    );
  });

  it("ends anything that is not protected or moving, once", () => {
    fc.assert(
      fc.property(situations, (situation) => {
        fc.pre(situation.open?.kind !== "instance.migrate");
        const verdict = decideRequest({ action: "terminate" }, situation);
        const unlessOver = situation.terminationProtection ? { is: "deny", reason: "protected" } : { is: "accept" };
        expect(verdict).toEqual(situation.state === "TERMINATING" ? { is: "ignore" } : unlessOver);
      }),
    );
  });

  it("ignores what is under way already, and a softer way of it", () => {
    const stopping = (open: StopMode): Situation => ({
      state: "STOPPING",
      open: { kind: "instance.stop", how: open },
      terminationProtection: false,
    });
    expect(decideRequest({ action: "stop", how: "soft" }, stopping("soft")).is).toBe("ignore");
    expect(decideRequest({ action: "stop", how: "soft" }, stopping("hard")).is).toBe("ignore");
    expect(decideRequest({ action: "stop", how: "hard" }, stopping("soft")).is).toBe("accept");
    expect(decideRequest({ action: "start" }, stopping("soft"))).toMatchObject({ reason: "wrong_state" });
  });

  it("pulls the plug of a guest that hangs in its reboot, however that was asked for", () => {
    for (const open of ["soft", "soft_first", "hard"] as const) {
      const rebooting: Situation = {
        state: "REBOOTING",
        open: { kind: "instance.reboot", how: open },
        terminationProtection: false,
      };
      expect(decideRequest({ action: "stop", how: "hard" }, rebooting).is).toBe("accept");
      expect(decideRequest({ action: "stop", how: "soft" }, rebooting)).toMatchObject({ reason: "wrong_state" });
    }
  });

  it("gives another type or address to what is off, to what runs only with leave to stop it, and to nothing on its way", () => {
    fc.assert(
      fc.property(changes, situations, fc.boolean(), (action, situation, mayStop) => {
        const verdict = decideChange(action, situation, { changes: true, mayStop });
        const { state, open } = situation;
        const may = open === null && (state === "STOPPED" || (state === "RUNNING" && mayStop));
        expect(verdict.is).toBe(may ? "accept" : "deny");
        // Whoever only has to say so is told so.
        const onlyLeave = open === null && state === "RUNNING" && !mayStop;
        expect("reason" in verdict && verdict.reason === "must_stop").toBe(onlyLeave);
      }),
    );
  });

  it.each(["resize", "renumber"] as const)(
    "says yes to a %s to what it has already, or is getting, and does nothing",
    (action) => {
      const own = { kind: `instance.${action}`, how: "soft_first" } as const;
      for (const open of [null, own]) {
        for (const state of ["RUNNING", "STOPPED", "STOPPING", "STARTING"] as const) {
          const situation = { state, open, terminationProtection: false };
          expect(decideChange(action, situation, { changes: false, mayStop: false }).is).toBe("ignore");
        }
      }
      const rebooting = { kind: "instance.reboot", how: "soft" } as const;
      const verdict = decideChange(
        action,
        { state: "STOPPED", open: rebooting, terminationProtection: false },
        { changes: false, mayStop: true },
      );
      expect(verdict).toMatchObject({ reason: "operation_in_progress" });
    },
  );
});
