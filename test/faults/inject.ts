/** The faults themselves: a program that ends itself at a named point, a part that is killed or frozen at a random moment. */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { LabSession } from "../../bench/lab-session.ts";
import { gone, signal } from "../../lab/processes.ts";
import { sleep } from "../../src/lib/retry.ts";
import { expectThat, until } from "../until.ts";
import { qemusOf } from "./bed.ts";
import type { Victim } from "./cases.ts";
import type { CrashPoint } from "./points.ts";

/** A crash that waits for its moment. */
export interface ArmedCrash {
  /** From now on the first passage through the point ends the program. */
  release(): void;
  /** The program has passed there, and has ended or stopped itself. */
  readonly passed: () => boolean;
  /** Throws unless it has. */
  check(): void;
  /** Nobody is told to crash any more. */
  disarm(): void;
}

let crashes = 0;

/**
 * Starts the program anew with the point armed but held: the marker that lets later passages through exists already, until
 * {@link ArmedCrash.release} takes it away. So the crash falls into the request and not into the program's own start.
 */
export async function armCrash(
  lab: LabSession,
  point: CrashPoint,
  by: "SIGKILL" | "SIGSTOP" = "SIGKILL",
): Promise<ArmedCrash> {
  const marker = join(lab.lab.home.path, `crash-${++crashes}-${process.pid}`);
  writeFileSync(marker, "held\n");
  lab.lab.settings({ VSTATION_CRASH_AT: point.name, VSTATION_CRASH_ONCE: marker, VSTATION_CRASH_BY: by });
  await restart(lab, point.program);
  return {
    release: () => rmSync(marker),
    passed: () => existsSync(marker),
    check: () => expectThat(existsSync(marker), `nothing passed ${point.name}: the path does not lead there`),
    disarm: () => {
      lab.lab.settings({});
      writeFileSync(marker, "held\n");
    },
  };
}

/** Kills a program on every machine that has one and returns when all are back and every host is ready. */
export async function restart(lab: LabSession, program: CrashPoint["program"]): Promise<void> {
  for (const part of partsOf(lab, program)) {
    // One that has come to its armed crash by itself a moment ago is as good as killed.
    if (lab.lab.pidOf(part) !== undefined) await lab.lab.kill(part);
  }
  const killed = new Date();
  await allBack(lab);
  // Of a host that was heard a moment ago VStation still thinks well: it is back when it was heard since.
  await until(
    "every host was heard again",
    async () => {
      for (const { name, seenAt } of await lab.cloud.hosts()) {
        expectThat(new Date(seenAt) > killed, `${name} was heard last at ${seenAt}`);
      }
      return true;
    },
    60_000,
  );
}

/** Every part runs, and VStation has heard from every host since. */
export async function allBack(lab: LabSession): Promise<void> {
  await until(
    "every part is back",
    async () => {
      for (const victim of ["vstation", "postgres", "libvirtd", "compute"] as const) {
        for (const part of partsOf(lab, victim)) expectThat(lab.lab.pidOf(part) !== undefined, `${part} is away`);
      }
      const states = await lab.lab.hosts();
      for (const host of lab.hosts) {
        expectThat(states.get(host.name) === "ready", `${host.name} is ${states.get(host.name) ?? "not known"}`);
      }
      return true;
    },
    120_000,
  );
}

export function partsOf(lab: LabSession, what: Exclude<Victim, "qemu">): string[] {
  return what === "vstation" || what === "postgres" ? [what] : lab.hosts.map((host) => `${host.name}/${what}`);
}

/** SIGKILL to a part, on all hosts that have it; a guest's QEMU may not be there, which is no failure. Returns how many it hit. */
export async function strike(lab: LabSession, victim: Victim, subject: () => string | undefined): Promise<number> {
  const pids = pidsOf(lab, victim, subject()).filter((pid) => signal(pid, "SIGKILL"));
  await gone(pids, 20_000);
  return pids.length;
}

/** SIGTERM to a program on all machines that have it; resolves when it is gone, and throws when it does not go. */
export async function dismiss(lab: LabSession, program: CrashPoint["program"]): Promise<void> {
  const pids = pidsOf(lab, program, undefined);
  for (const pid of pids) signal(pid, "SIGTERM");
  expectThat(await gone(pids, 20_000), `${program} does not end when it is told to`);
}

/** SIGSTOP, a while, SIGCONT: the part that was thought dead comes back and goes on where it was. */
export async function freeze(
  lab: LabSession,
  victim: Victim,
  subject: () => string | undefined,
  forMs: number,
): Promise<number> {
  const pids = pidsOf(lab, victim, subject()).filter((pid) => signal(pid, "SIGSTOP"));
  try {
    if (pids.length > 0) await sleep(forMs);
  } finally {
    for (const pid of pids) signal(pid, "SIGCONT");
  }
  return pids.length;
}

function pidsOf(lab: LabSession, victim: Victim, subject: string | undefined): number[] {
  if (victim === "qemu") return qemusOf(lab).flatMap(({ guest, pid }) => (guest === subject ? [pid] : []));
  return partsOf(lab, victim).flatMap((part) => lab.lab.pidOf(part) ?? []);
}
