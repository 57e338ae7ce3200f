/**
 * One simulated instance: no disk, no QEMU, no guest. It simulates what a hypervisor would answer and makes the same decisions as a
 * real host, by the same function (src/core/ensure.ts), one step at a time, so that a test chooses the moment of every change.
 */
import { decide, nothingHeld, type Guest, type Held, type RunRecord, type Step, type Wanted } from "../core/ensure.ts";
import type { SeenPhase, SeenReason } from "../core/seen.ts";
import { unreachable } from "../lib/errors.ts";

/** What goes wrong on purpose. */
export interface Faults {
  /** Every start fails with this. */
  startFails: { reason: SeenReason; message: string } | null;
  /** The guest does not hear the power button. */
  ignoresPowerButton: boolean;
  /** Nothing moves: the host takes orders and does nothing. */
  frozen: boolean;
}

export const noFaults: Faults = { startFails: null, ignoresPowerButton: false, frozen: false };

const retryMs = 50;

export class SimMachine {
  faults: Faults;
  wanted: Wanted | null = null;
  /** Of the wanted document; echoed in reports. */
  generation = 0;
  /** Between two hosts: nothing is done with it here, and nothing else is said of it than before. */
  moving = false;
  /** How often a guest was started, by incarnation: more than once for one is the worst bug there is. */
  readonly starts = new Map<number, number>();
  #knownEpoch = 0;
  #record: RunRecord | null = null;
  #guest: Guest = { is: "absent" };
  #held: Held = nothingHeld;
  #phase: SeenPhase | null = null;
  readonly #bootId: string;

  constructor(bootId: string, faults: Faults) {
    this.#bootId = bootId;
    this.faults = { ...faults };
  }

  /** What the host says of it; null = nothing. */
  get phase(): SeenPhase | null {
    return this.#phase;
  }

  get epoch(): number {
    return Math.max(this.#knownEpoch, this.#record?.epoch ?? 0);
  }

  get runs(): boolean {
    return this.#guest.is === "running" || this.#guest.is === "paused";
  }

  order(wanted: Wanted, generation: number): void {
    this.#knownEpoch = Math.max(this.#knownEpoch, wanted.epoch);
    this.wanted = wanted;
    this.generation = generation;
    // As on a real host, a new order is tried at once.
    if (this.#held.failure !== null) this.#held = { ...this.#held, failure: { ...this.#held.failure, retryAtMs: 0 } };
  }

  /** Its guest goes on elsewhere. */
  depart(): void {
    this.#guest = { is: "absent" };
  }

  /** The guest of another host goes on here. */
  arrive(mark: { epoch: number; incarnation: number; resets: number }): void {
    this.moving = true;
    this.#knownEpoch = Math.max(this.#knownEpoch, mark.epoch);
    const run = { stage: "started", diskMade: true, startedAt: new Date().toISOString() } as const;
    this.#record = { ...mark, ...run, bootId: this.#bootId, end: null, stop: null };
    this.#guest = { is: "running", mark };
    this.#held = nothingHeld;
  }

  /** The guest ends by itself. */
  endGuest(why: "shutdown" | "crashed"): void {
    if (this.#guest.is === "running" || this.#guest.is === "paused") {
      this.#guest = { is: "off", mark: this.#guest.mark, why };
    }
  }

  pauseGuest(why: "out_of_space" | "io_error"): void {
    if (this.#guest.is === "running") this.#guest = { is: "paused", mark: this.#guest.mark, why };
  }

  resumeGuest(): void {
    if (this.#guest.is === "paused") this.#guest = { is: "running", mark: this.#guest.mark };
  }

  /** One step; the time of the next look when there is none to take now (null: not before something changes). */
  step(now: number): { moved: true } | { moved: false; untilMs: number | null } {
    if (this.faults.frozen || this.moving) return { moved: false, untilMs: null };
    const { step, phase } = decide({
      wanted: this.wanted,
      knownEpoch: this.#knownEpoch,
      record: this.#record,
      guest: this.#guest,
      trace: this.#record !== null && this.starts.has(this.#record.incarnation),
      leftover: false,
      held: this.#held,
      bootId: this.#bootId,
      nowMs: now,
      nowIso: new Date(now).toISOString(),
    });
    const before = JSON.stringify(this.#phase);
    if (phase === "nothing") this.#phase = null;
    else if (phase !== null) this.#phase = phase;
    if (step.do === "wait") {
      return JSON.stringify(this.#phase) === before ? { moved: false, untilMs: step.untilMs } : { moved: true };
    }
    this.#perform(step, now);
    return { moved: true };
  }

  #perform(step: Exclude<Step, { do: "wait" }>, now: number): void {
    switch (step.do) {
      case "record":
        this.#record = step.record;
        return undefined;
      case "prepare":
        this.#held = { ...nothingHeld, failure: this.#held.failure, prepared: step.incarnation };
        return undefined;
      case "start":
        return this.#start(step.incarnation, now);
      case "press":
        this.#held = { ...this.#held, pressedAtMs: now };
        if (!this.faults.ignoresPowerButton) this.endGuest("shutdown");
        return undefined;
      case "destroy":
        if (this.#guest.is === "running" || this.#guest.is === "paused") {
          this.#guest = { is: "off", mark: this.#guest.mark, why: "destroyed" };
        }
        return undefined;
      case "reset":
        this.#held = { ...this.#held, resetDone: step.resets };
        return undefined;
      case "resume":
        return this.resumeGuest();
      case "erase":
        this.#guest = { is: "absent" };
        this.#record = null;
        this.#held = { ...nothingHeld, erased: true };
        return undefined;
      default:
        return unreachable(step);
    }
  }

  #start(incarnation: number, now: number): void {
    const fails = this.faults.startFails;
    if (fails !== null) {
      const attempts = (this.#held.failure?.attempts ?? 0) + 1;
      this.#held = { ...nothingHeld, failure: { ...fails, attempts, retryAtMs: now + retryMs } };
      // libvirt refused: nothing came to life, so the intent is withdrawn.
      if (this.#record !== null) this.#record = { ...this.#record, stage: "intent" };
      return;
    }
    this.starts.set(incarnation, (this.starts.get(incarnation) ?? 0) + 1);
    const epoch = this.#record?.epoch ?? this.#knownEpoch;
    this.#guest = { is: "running", mark: { epoch, incarnation, resets: 0 } };
    this.#held = nothingHeld;
    if (this.#record === null) return;
    this.#record = { ...this.#record, stage: "started", startedAt: new Date(now).toISOString() };
  }
}
