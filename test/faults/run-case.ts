/**
 * One case: prepare, hurt, and look whether every promise held.
 *
 *   Kept    the request ended as it should, although something ended in the middle of it
 *   Once    no instance ever had two processes
 *   Clean   afterwards nothing is left of the instance anywhere
 *   and the witnesses, whom nothing concerned, are the same processes with the same guests
 */
import { existsSync } from "node:fs";
import { LabSession } from "../../bench/lab-session.ts";
import { leftBehind, traces } from "../../lab/traces.ts";
import { TestLab } from "../../lab/testing.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { sleep } from "../../src/lib/retry.ts";
import { expectThat, until } from "../until.ts";
import { identityOf, patienceMs, qemusOf, watchForTwins, type Bed } from "./bed.ts";
import { seedOf, type FaultCase, type RandomCase, type Request, type Scenario } from "./cases.ts";
import { bootIdOf } from "./guest.ts";
import { favouriteHost, withoutDisk } from "./hosts.ts";
import { allBack, armCrash, freeze, restart, strike } from "./inject.ts";
import type { CrashPoint } from "./points.ts";
import { awaitOutcome, prepareSubject, removeSubject, runSubject, sendRequest, untilStartedAgain } from "./requests.ts";
import { pick, seeded } from "./seeded.ts";
import { snapshot, untilNothingIsLeft } from "./snapshot.ts";
import { storageLife } from "./storage.ts";

/** Moments are drawn from so many ms: a start lasts about as long before its guest is alone. */
const momentsMs = 2500;
/** Of freezes one half is a hiccup, and the other is long enough for everybody to have given the part up (heartbeats, leases, pings). */
const freezes = [
  { from: 0, to: 8_000 },
  { from: 32_000, to: 45_000 },
] as const;

/**
 * Runs one case on the bed and returns how many processes it hurt; throws with what was broken. The bed is fit for the next case
 * only if this returns.
 */
export async function runCase(bed: Bed, it: FaultCase): Promise<number> {
  if (it.kind === "crash" && it.scenario === "join") return joinCase(it.point);
  const { lab } = bed;
  const before = await snapshot(lab);
  const stopWatching = watchForTwins(lab);
  try {
    const hits = it.kind === "crash" ? await crashCase(lab, it.point, it.scenario) : await randomCase(lab, it);
    await allBack(lab);
    await bed.checkWitnesses();
    await untilNothingIsLeft(lab, before);
    return hits;
  } finally {
    stopWatching();
  }
}

/** The program that passes the point ends itself, once. */
async function crashCase(lab: LabSession, point: CrashPoint, scenario: Scenario): Promise<1> {
  await crashIn(lab, point, scenario);
  return 1;
}

async function crashIn(lab: LabSession, point: CrashPoint, scenario: Scenario): Promise<void> {
  switch (scenario) {
    case "run":
    case "start":
    case "stop":
    case "shutdown":
    case "reboot":
    case "soft-reboot":
    case "resize":
    case "renumber":
    case "terminate":
      return requestCrash(lab, point, scenario);
    case "recover":
      return recoverCrash(lab, point);
    case "relocate":
      return relocateCrash(lab, point);
    case "restart":
      return restartCrash(lab, point);
    case "storage":
      return storageCrash(lab, point);
    case "join":
      throw new Error("a join needs a lab of its own");
  }
}

async function requestCrash(lab: LabSession, point: CrashPoint, request: Request): Promise<void> {
  const subject = await prepareSubject(lab, request);
  const crash = await armCrash(lab, point);
  try {
    crash.release();
    const id = await sendRequest(lab, request, subject);
    await awaitOutcome(lab, request, id, subject, false);
    crash.check();
    crash.disarm();
    await removeSubject(lab, id);
  } finally {
    crash.disarm();
  }
}

/** A disk's whole life beside a running guest. */
async function storageCrash(lab: LabSession, point: CrashPoint): Promise<void> {
  await crashBesideGuest(lab, point, (id) => storageLife(lab, id));
}

/** The program ends itself in its own start, under running guests, and must come up the next time. */
async function restartCrash(lab: LabSession, point: CrashPoint): Promise<void> {
  await crashBesideGuest(lab, point, () => restart(lab, point.program));
}

/** Does what leads to the crash beside a running guest, which must not notice. */
async function crashBesideGuest(
  lab: LabSession,
  point: CrashPoint,
  work: (id: InstanceId) => Promise<void>,
): Promise<void> {
  const subject = await runSubject(lab);
  const qemu = identityOf(lab, subject.id);
  const crash = await armCrash(lab, point);
  try {
    crash.release();
    await work(subject.id);
    crash.check();
  } finally {
    crash.disarm();
  }
  expectThat(identityOf(lab, subject.id) === qemu, `${subject.id} does not run in the process it ran in`);
  // The network may be on its way back after a kill.
  const bootId = await until(`${subject.id} answers`, () => bootIdOf(subject.ip));
  expectThat(bootId === subject.bootId, `${subject.id} was started again`);
  await removeSubject(lab, subject.id);
}

/** The guest ends by itself, and the program that has to notice ends too. */
async function recoverCrash(lab: LabSession, point: CrashPoint): Promise<void> {
  const subject = await runSubject(lab);
  const crash = await armCrash(lab, point);
  try {
    crash.release();
    await strike(lab, "qemu", () => subject.id);
    await untilStartedAgain(subject);
    crash.check();
  } finally {
    crash.disarm();
  }
  await removeSubject(lab, subject.id);
}

/** The host that placement likes best cannot make the instance's files; the next one gets it. */
async function relocateCrash(lab: LabSession, point: CrashPoint): Promise<void> {
  const favourite = await favouriteHost(lab);
  const crash = await armCrash(lab, point);
  try {
    await withoutDisk([favourite], async (mend) => {
      crash.release();
      const id = await sendRequest(lab, "run", undefined);
      await awaitOutcome(lab, "run", id, undefined, false);
      crash.check();
      const host = (await lab.cloud.hosts()).find((each) => each.name === favourite.name);
      expectThat((await lab.cloud.instance(id)).hostId !== host?.id, `${id} runs where nothing can be written`);
      await mend();
      await removeSubject(lab, id);
    });
  } finally {
    crash.disarm();
  }
}

/** A host's first contact: a lab of its own, in which the point is armed before anything starts. */
async function joinCase(point: CrashPoint): Promise<1> {
  const before = await traces();
  const testLab = new TestLab();
  const marker = `${testLab.home.path}/crash`;
  testLab.settings({ VSTATION_CRASH_AT: point.name, VSTATION_CRASH_ONCE: marker });
  let n: number | undefined;
  try {
    await testLab.start({ hosts: 1 });
    n = testLab.plan.n;
    const lab = await LabSession.begin({ home: testLab.home.path, hosts: 1 });
    expectThat(existsSync(marker), `nothing passed ${point.name}: a join does not lead there`);
    await removeSubject(lab, (await runSubject(lab)).id);
  } finally {
    await testLab.destroy();
  }
  const left = leftBehind(before, await traces(), testLab.home.path, n);
  expectThat(left.length === 0, left.join("\n"));
  return 1;
}

/** A part is killed or frozen at a random moment of a request; which moment, the case's own seed says. */
async function randomCase(lab: LabSession, it: RandomCase): Promise<number> {
  const random = seeded(seedOf(it));
  const subject = await prepareSubject(lab, it.scenario);
  const known = new Set(qemusOf(lab).map(({ guest }) => guest));
  // Of a request that makes an instance, its QEMU is the one that was not there before.
  const victim = (): string | undefined => subject?.id ?? qemusOf(lab).find(({ guest }) => !known.has(guest))?.guest;
  const hurt = async (): Promise<number> => {
    if (it.victim === "qemu") await until("the guest's QEMU is there", hasQemu, patienceMs);
    await sleep(random() * momentsMs);
    const hits =
      it.kind === "kill"
        ? await strike(lab, it.victim, victim)
        : await freeze(lab, it.victim, victim, freezeMs(random));
    // A guest that is on its way out may be faster than its killer; everything else is always there.
    expectThat(hits > 0 || it.victim === "qemu", `there was no ${it.victim} to hit`);
    return hits;
  };
  const hasQemu = (): boolean => qemusOf(lab).some(({ guest }) => guest === victim());
  const [id, hits] = await Promise.all([
    sendRequest(lab, it.scenario, subject).then(async (sent): Promise<InstanceId> => {
      const mayFail = it.victim === "qemu" && it.scenario !== "reboot" && it.scenario !== "soft-reboot";
      await awaitOutcome(lab, it.scenario, sent, subject, mayFail);
      return sent;
    }),
    hurt(),
  ]);
  await allBack(lab);
  await removeSubject(lab, id);
  return hits;
}

function freezeMs(random: () => number): number {
  const { from, to } = pick(random, freezes);
  return from + random() * (to - from);
}
