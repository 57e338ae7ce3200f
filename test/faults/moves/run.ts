/**
 * One case of a move under a fault: the engine is stopped in a state, something is hurt, and it goes on.
 *
 *   Once    one machine of the guest at most writes to its disk at a time, and one is there afterwards
 *   Same    the same boot, its memory and its disk whole; unless its own QEMU was the victim, which ends a guest anywhere
 *   Ended   the move has ended, well or with a reason, and the guest runs where VStation says
 *   Clean   both hosts look as they did before, by the system's own tools
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { LabHost, LabSession } from "../../../bench/lab-session.ts";
import { gone, signal, statOf } from "../../../lab/processes.ts";
import { run } from "../../../lab/run.ts";
import type { MigrationWire } from "../../../src/api/native/migrations.ts";
import { unreachable } from "../../../src/lib/errors.ts";
import { expectThat, until } from "../../until.ts";
import { patienceMs, type Bed } from "../bed.ts";
import { hashOf } from "../cases.ts";
import { allBack, armCrash, partsOf } from "../inject.ts";
import type { CrashPoint } from "../points.ts";
import { pick, seeded } from "../seeded.ts";
import { moveName, type Hurt, type MoveCase, type MoveVictim } from "./cases.ts";
import { Mover } from "./mover.ts";

/** A hiccup, and long enough for everybody to have given the part up. */
const absences = [
  { from: 500, to: 6_000 },
  { from: 35_000, to: 50_000 },
] as const;

const movers = new WeakMap<Bed, Mover>();

/**
 * Returns how many processes or cables it hurt; throws with what was broken. The bed is fit for the next case only if this returns.
 */
export async function runMove(bed: Bed, it: MoveCase): Promise<number> {
  const { lab } = bed;
  const random = seeded(hashOf(moveName(it)));
  const mover = movers.get(bed) ?? (await Mover.begin(lab));
  movers.set(bed, mover);
  const { from, to } = await mover.ends();
  const acked = await mover.acked();
  const writers = await mover.watch();
  let moved: MigrationWire;
  let hits: number;
  try {
    const during = new During(lab, mover, from, to, { hurt: it.hurt, forMs: absence(random) });
    const { state } = it;
    moved = state.is === "copying" ? await during.theCopy() : await during.point(state.point, state.calledOff);
    hits = during.hits;
    // A guest's QEMU may not be there yet, or no more; everything else always is.
    const mayBeAway = it.hurt.victim === "source/qemu" || it.hurt.victim === "target/qemu";
    expectThat(hits > 0 || mayBeAway, `there was no ${it.hurt.victim} to hurt`);
    await allBack(lab);
    await until(`${mover.id} runs`, async () => (await lab.cloud.instance(mover.id)).state === "RUNNING", patienceMs);
    writers.check();
  } finally {
    await writers.end();
  }
  await expectOnce(lab, mover);
  if (endsTheGuest(it.hurt, moved, hits)) {
    await mover.checkDisk(acked);
    await mover.remove();
    movers.delete(bed);
  } else {
    await mover.checkGuest(acked);
    await mover.checkPlace();
  }
  await bed.checkWitnesses();
  return hits;
}

function absence(random: () => number): number {
  const { from, to } = pick(random, absences);
  return from + random() * (to - from);
}

/** QEMU itself was killed, and it was the guest's: at the source of a move that failed, at the target of one that succeeded. */
function endsTheGuest({ how, victim }: Hurt, { state }: MigrationWire, hits: number): boolean {
  if (how !== "kill" || hits === 0) return false;
  return victim === (state === "SUCCEEDED" ? "target/qemu" : "source/qemu");
}

/** What a source has left and can never run again is there until its libvirtd is back; two that run were seen by who watches the disk. */
async function expectOnce(lab: LabSession, mover: Mover): Promise<void> {
  const { from } = await mover.ends();
  const isOnce = (): boolean => {
    const places = lab.lab.guestsOf(mover.id).map(({ host }) => host);
    expectThat(places.length === 1 && places[0] === from.name, `it is on ${places.join(" and ")}, not on ${from.name}`);
    return true;
  };
  await until(`${mover.id} to be on one host`, isOnce, patienceMs);
}

class During {
  readonly #lab: LabSession;
  readonly #mover: Mover;
  readonly #from: LabHost;
  readonly #to: LabHost;
  readonly #what: { readonly hurt: Hurt; readonly forMs: number };
  /** How many processes or cables were hit. */
  hits = 0;

  constructor(lab: LabSession, mover: Mover, from: LabHost, to: LabHost, what: { hurt: Hurt; forMs: number }) {
    this.#lab = lab;
    this.#mover = mover;
    this.#from = from;
    this.#to = to;
    this.#what = what;
  }

  /** The link is slow meanwhile, so that there is a copy to be hit in. */
  async theCopy(): Promise<MigrationWire> {
    const id = await this.#slowly(async () => {
      const begun = await this.#mover.send(this.#to);
      await this.#untilCopying(begun);
      await this.#hurt(() => undefined);
      return begun;
    });
    return this.#mover.ended(id);
  }

  async point(point: CrashPoint, calledOff: boolean): Promise<MigrationWire> {
    const crash = await armCrash(this.#lab, point, "SIGSTOP");
    const ended = new AbortController();
    try {
      crash.release();
      const hurting = this.#atThePoint(point, crash.passed, ended.signal);
      // It may be heard of before the move itself is answered.
      hurting.catch(() => undefined);
      const id = await (calledOff ? this.#calledOff() : this.#mover.send(this.#to));
      const over = await this.#mover.ended(id);
      // What is cleared up behind a move is so in its own time.
      await until(`${point.program} passes ${point.name}`, crash.passed, patienceMs);
      await hurting;
      return over;
    } finally {
      ended.abort();
      crash.disarm();
      for (const pid of this.#stopped(point)) signal(pid, "SIGCONT");
    }
  }

  async #calledOff(): Promise<MigrationWire["id"]> {
    return this.#slowly(async () => {
      const id = await this.#mover.send(this.#to);
      await this.#untilCopying(id);
      await this.#mover.cancel(id);
      return id;
    });
  }

  async #atThePoint(point: CrashPoint, passed: () => boolean, over: AbortSignal): Promise<void> {
    const stopped = await until(
      `${point.program} stops at ${point.name}`,
      () => {
        const pids = passed() ? this.#stopped(point) : [];
        return pids.length > 0 || over.aborted ? pids : undefined;
      },
      patienceMs,
    );
    if (over.aborted) return;
    await this.#hurt(() => {
      for (const pid of stopped) signal(pid, "SIGCONT");
    });
  }

  #stopped({ program }: CrashPoint): number[] {
    const pids = partsOf(this.#lab, program).flatMap((part) => this.#lab.lab.pidOf(part) ?? []);
    return pids.filter((pid) => statOf(pid)?.state === "T");
  }

  async #untilCopying(id: MigrationWire["id"]): Promise<void> {
    await until(
      `${id} copies`,
      async () => {
        const { source } = await this.#mover.show(id);
        return source?.is === "copying" && (source.progress?.sentBytes ?? 0) > 0;
      },
      patienceMs,
    );
  }

  /** `goOn` lets the program that is stopped at its point go on; a victim that is away is so while it does. */
  async #hurt(goOn: () => void): Promise<void> {
    const { hurt, forMs } = this.#what;
    switch (hurt.how) {
      case "kill": {
        const pids = this.#hit(this.#victims(hurt.victim), "SIGKILL");
        await gone(pids, 20_000);
        goOn();
        return;
      }
      case "freeze": {
        const victims = this.#victims(hurt.victim);
        goOn();
        const pids = this.#hit(victims, "SIGSTOP");
        if (pids.length > 0) await sleep(forMs);
        for (const pid of pids) signal(pid, "SIGCONT");
        return;
      }
      case "cut": {
        const { port } = this.#end(hurt.victim).plan;
        this.hits = 1;
        await run("ip", ["link", "set", port, "down"]);
        goOn();
        await sleep(forMs);
        await run("ip", ["link", "set", port, "up"]);
        return;
      }
      default:
        unreachable(hurt);
    }
  }

  #end(which: string): LabHost {
    return which.startsWith("source") ? this.#from : this.#to;
  }

  /** Those that were still there. */
  #hit(victims: readonly number[], by: "SIGKILL" | "SIGSTOP"): number[] {
    const pids = victims.filter((pid) => signal(pid, by));
    this.hits = pids.length;
    return pids;
  }

  #victims(victim: MoveVictim): number[] {
    const { lab } = this.#lab;
    if (victim === "vstation" || victim === "postgres") return [lab.pidOf(victim) ?? []].flat();
    const host = this.#end(victim);
    const part = victim.slice(victim.indexOf("/") + 1);
    if (part !== "qemu") return [lab.pidOf(`${host.name}/${part}`) ?? []].flat();
    return host.qemus().flatMap(({ guest, pid }) => (guest === this.#mover.id ? [pid] : []));
  }

  async #slowly<T>(work: () => Promise<T>): Promise<T> {
    const ports = [this.#from, this.#to].map(({ plan }) => plan.port);
    for (const port of ports) {
      await run("tc", [
        "qdisc",
        "replace",
        "dev",
        port,
        "root",
        "tbf",
        "rate",
        "24mbit",
        "burst",
        "32k",
        "latency",
        "100ms",
      ]);
    }
    try {
      return await work();
    } finally {
      for (const port of ports) await run("tc", ["qdisc", "del", "dev", port, "root"]);
    }
  }
}
