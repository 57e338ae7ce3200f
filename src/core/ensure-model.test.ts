/**
 * The rules against a world that does its worst: the process dies before or after any effect, libvirt refuses, answers late or never,
 * guests end, the host loses power. Whatever the order: a start happens at most once, a reset that is reported has happened and happens
 * again only where nobody could know, nothing is ended or erased that was not to be, and once the world calms down the instance gets
 * to what is wanted.
 */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  decide,
  nothingHeld,
  type Guest,
  type Held,
  type Mark,
  type OffWhy,
  type Power,
  type RunRecord,
  type Step,
} from "./ensure.ts";
import type { SeenPhase } from "./seen.ts";

const doubtMs = 30_000;

type Outcome = "ok" | "dies before" | "dies after" | "refused" | "late" | "lost";

class World {
  record: RunRecord | null = null;
  domain: { state: "off" | "running"; mark: Mark; why: OffWhy } | null = null;
  disk = false;
  traces = new Set<number>();
  /** A call that libvirt got and nobody has an answer to. */
  pending: "start" | "reset" | "destroy" | null = null;
  held: Held = nothingHeld;
  bootId = "boot 0";
  nowMs = 1_000_000;
  power: Power = { state: "running", incarnation: 1, resets: 0 };
  epoch = 1;
  phase: SeenPhase | "nothing" | null = null;
  launches = new Map<number, number>();
  resets = 0;
  resetsAsked = 0;
  resetsInDoubt = 0;
  /** How many had been made when the present incarnation's n-th was asked for. */
  resetsWhenAsked = new Map<number, number>();
  readonly wrong: string[] = [];
  #boots = 0;

  step(outcome: Outcome): Step {
    const guest: Guest = this.domain
      ? this.domain.state === "running"
        ? { is: "running", mark: this.domain.mark }
        : { is: "off", ...this.domain }
      : { is: "absent" };
    const run = this.record;
    const { step, phase } = decide({
      wanted: { epoch: this.epoch, power: this.power },
      knownEpoch: this.epoch,
      record: run,
      guest,
      trace: run?.stage === "intent" && this.traces.has(run.incarnation),
      leftover: this.disk,
      held: this.held,
      bootId: this.bootId,
      nowMs: this.nowMs,
      nowIso: "2026-01-01T00:00:00.000Z",
    });
    if (phase !== null) this.phase = phase;
    if (step.do === "wait") return step;
    if (outcome === "dies before") {
      this.restart();
      return step;
    }
    this.#do(step, outcome);
    if (outcome === "dies after") this.restart();
    return step;
  }

  /** libvirtd takes calls in the order they came: what the next process reads is later than what its predecessor sent. */
  restart(): void {
    if ((this.held.resetDone ?? 0) > (this.record?.resets ?? 0)) this.resetsInDoubt++;
    this.held = nothingHeld;
    this.pendingHappens();
  }

  powerCut(): void {
    this.restart();
    this.bootId = `boot ${++this.#boots}`;
    this.pending = null;
    if (this.domain) this.domain = { ...this.domain, state: "off", why: "unknown" };
  }

  guestEnds(why: OffWhy): void {
    if (this.domain?.state === "running") this.domain = { ...this.domain, state: "off", why };
  }

  pendingHappens(): void {
    const { pending } = this;
    this.pending = null;
    if (pending !== null) this.#effect(pending);
  }

  #do(step: Exclude<Step, { do: "wait" }>, outcome: Outcome): void {
    switch (step.do) {
      case "record":
        if (outcome === "refused") return this.#fail(false);
        if (step.record.resets > (this.record?.resets ?? 0) && step.record.incarnation === this.record?.incarnation) {
          const before = this.resetsWhenAsked.get(step.record.resets) ?? Infinity;
          if (this.resets <= before) this.wrong.push("a reset was counted that was not made");
        }
        this.record = step.record;
        return;
      case "prepare":
        if (outcome === "refused") return this.#fail(false);
        if (!this.disk && this.record?.diskMade) this.wrong.push("an empty disk in place of a lost one");
        this.disk = true;
        this.domain = {
          state: "off",
          mark: { epoch: this.epoch, incarnation: step.incarnation, resets: 0 },
          why: this.domain?.why ?? "unknown",
        };
        this.held = { ...this.held, prepared: step.incarnation, resetDone: null, erased: false };
        return;
      case "start":
      case "destroy":
      case "reset":
        if (outcome === "refused") return this.#fail(false);
        // Whoever does not learn of its effect may have to make it again.
        if (step.do === "reset" && (outcome === "late" || outcome === "lost")) this.resetsInDoubt++;
        if (outcome === "late") this.pending = step.do;
        if (outcome === "late" || outcome === "lost") return this.#fail(true);
        this.#effect(step.do);
        this.held = { ...this.held, failure: null };
        if (step.do === "reset") this.held = { ...this.held, resetDone: step.resets };
        return;
      case "press":
        this.held = { ...this.held, pressedAtMs: this.nowMs };
        return;
      case "resume":
        return;
      case "erase":
        if (this.power.state !== "gone") this.wrong.push(`erased while ${this.power.state} was wanted`);
        if (this.domain?.state === "running") this.wrong.push("erased under a running guest");
        if (outcome === "refused") return this.#fail(false);
        this.record = null;
        this.domain = null;
        this.disk = false;
        this.traces.clear();
        this.held = { ...nothingHeld, erased: true };
        return;
    }
  }

  #effect(call: "start" | "reset" | "destroy"): void {
    const { domain } = this;
    if (domain === null) return;
    if (call === "destroy") {
      if (domain.state === "running") this.domain = { ...domain, state: "off", why: "destroyed" };
      return;
    }
    if (call === "reset") {
      if (domain.state === "running") this.resets++;
      return;
    }
    if (domain.state === "running") return;
    const { incarnation } = domain.mark;
    if ((this.record?.incarnation ?? 0) < incarnation) this.wrong.push("started before the intent was durable");
    this.launches.set(incarnation, (this.launches.get(incarnation) ?? 0) + 1);
    this.traces.add(incarnation);
    this.domain = { ...domain, state: "running" };
  }

  #fail(unknown: boolean): void {
    const attempts = (this.held.failure?.attempts ?? 0) + 1;
    this.held = {
      ...this.held,
      prepared: null,
      doubtUntilMs: unknown ? this.nowMs + doubtMs : this.held.doubtUntilMs,
      failure: { reason: "start_failed", message: "refused", attempts, retryAtMs: this.nowMs + 1000 },
    };
  }
}

type Event =
  | { do: "step"; outcome: Outcome }
  | { do: "restart" | "power cut" | "pending" }
  | { do: "end"; why: OffWhy }
  | { do: "time"; ms: number }
  | { do: "want"; next: "stop" | "start" | "reset" | "place" | "gone" };

const outcome: fc.Arbitrary<Outcome> = fc.constantFrom(
  "ok",
  "ok",
  "ok",
  "dies before",
  "dies after",
  "refused",
  "late",
  "lost",
);
const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ do: fc.constant("step" as const), outcome }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constantFrom("restart" as const, "power cut" as const, "pending" as const) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("end" as const),
      why: fc.constantFrom<OffWhy>("shutdown", "crashed", "failed", "unknown"),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("time" as const), ms: fc.integer({ min: 1, max: 40_000 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("want" as const),
      next: fc.oneof(
        {
          weight: 12,
          arbitrary: fc.constantFrom(
            "stop" as const,
            "start" as const,
            "start" as const,
            "reset" as const,
            "place" as const,
          ),
        },
        { weight: 1, arbitrary: fc.constant("gone" as const) },
      ),
    }),
  },
);

/** As VStation does: a new incarnation only after the guest was reported off, a new placement only then too. */
function want(world: World, next: "stop" | "start" | "reset" | "place" | "gone"): void {
  const { power, phase } = world;
  if (power.state === "gone") return;
  const is = phase === null || phase === "nothing" ? null : phase.is;
  if (next === "gone") world.power = { state: "gone" };
  if (next === "stop") world.power = { state: "stopped", how: "soft_first" };
  if (next === "reset" && power.state === "running") {
    world.power = { ...power, resets: power.resets + 1 };
    world.resetsAsked++;
    world.resetsWhenAsked.set(power.resets + 1, world.resets);
  }
  const over = is === "stopped" || is === "exited";
  if (next === "start" && over)
    world.power = { state: "running", incarnation: (world.record?.incarnation ?? 0) + 1, resets: 0 };
  if (next === "place" && over) world.epoch++;
  // A report answers to a document: what was said of the one before does not count for this one.
  if (world.power !== power || next === "place") world.phase = null;
}

function play(world: World, one: Event): void {
  switch (one.do) {
    case "step":
      world.step(one.outcome);
      return;
    case "restart":
      return world.restart();
    case "power cut":
      return world.powerCut();
    case "pending":
      return world.pendingHappens();
    case "end":
      return world.guestEnds(one.why);
    case "time":
      // What libvirt was told takes effect, or never will, before the doubt about it passes.
      if (world.held.doubtUntilMs !== null && world.nowMs + one.ms >= world.held.doubtUntilMs) world.pendingHappens();
      world.nowMs += one.ms;
      return;
    case "want":
      return want(world, one.next);
  }
}

/** What is not as it must be once nothing disturbs any more. */
function amissAfterCalm(world: World): string[] {
  const amiss: string[] = [];
  const { phase, power, domain } = world;
  for (const [incarnation, count] of world.launches) {
    if (count > 1) amiss.push(`incarnation ${incarnation} was started ${count} times`);
  }
  const most = world.resetsAsked + world.resetsInDoubt;
  if (world.resets > most) amiss.push(`${world.resets} resets where ${most} can be accounted for`);
  const is = phase === null || phase === "nothing" ? "nothing" : phase.is;
  const up = domain?.state === "running";
  switch (power.state) {
    case "gone":
      if (is !== "gone" || domain !== null || world.record !== null || world.disk)
        amiss.push(`gone is wanted, ${is} said`);
      break;
    case "stopped":
      if (is !== "stopped" || up) amiss.push(`stopped is wanted, ${is} said`);
      break;
    case "running": {
      const right = phase !== null && phase !== "nothing" && (phase.is === "running" || phase.is === "exited");
      if (!right || phase.incarnation !== power.incarnation || up !== (is === "running")) {
        amiss.push(
          `running ${power.incarnation} is wanted, ${JSON.stringify(phase)} said, the guest is ${up ? "up" : "off"}`,
        );
      }
      if (right && phase.is === "running" && phase.resets < power.resets) amiss.push("a reset was never made");
      break;
    }
  }
  return amiss;
}

test("whatever happens, a start happens once, and calm brings what is wanted", () => {
  fc.assert(
    fc.property(fc.array(event, { minLength: 10, maxLength: 200, size: "max" }), (events) => {
      const world = new World();
      for (const one of events) {
        const before = world.domain?.state;
        const { power } = world;
        play(world, one);
        if (before === "running" && world.domain === null) world.wrong.push("a running guest vanished");
        if (one.do === "step" && before === "running" && world.domain?.state === "off" && power.state === "running") {
          world.wrong.push("a guest was ended that was to run");
        }
      }
      // Calm: no more faults, time passes, the worker steps until it waits for a change.
      world.pendingHappens();
      for (let i = 0; i < 60; i++) {
        const step = world.step("ok");
        if (step.do !== "wait") continue;
        if (step.untilMs === null) break;
        world.nowMs = Math.max(world.nowMs, step.untilMs);
      }
      world.wrong.push(...amissAfterCalm(world));
      expect(world.wrong).toEqual([]);
    }),
    { numRuns: 3000 },
  );
});
