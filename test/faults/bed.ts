/**
 * A lab with something to lose: two hosts, and on each a witness that no case concerns. After every case each witness must be the same
 * process and the same boot of the same guest as before.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { imageId, instanceType } from "../../bench/delivery/guest.ts";
import { LabSession } from "../../bench/lab-session.ts";
import { statOf } from "../../lab/processes.ts";
import { run } from "../../lab/run.ts";
import { leftBehind, traces, type Traces } from "../../lab/traces.ts";
import { formatError } from "../../src/lib/errors.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { expectThat, until } from "../until.ts";
import { bootIdOf } from "./guest.ts";

/** A guest is up in some five seconds under TCG on an idle core; a fault in between costs restarts and back-offs. */
export const patienceMs = 180_000;

interface Witness {
  readonly id: InstanceId;
  readonly ip: string;
  readonly qemu: string;
  readonly bootId: string;
}

export class Bed {
  readonly lab: LabSession;
  /** What the machine showed before the lab was there. */
  readonly #before: Traces;
  #witnesses: readonly Witness[] = [];

  private constructor(lab: LabSession, before: Traces) {
    this.lab = lab;
    this.#before = before;
  }

  static async begin(): Promise<Bed> {
    const before = await traces();
    const bed = new Bed(await LabSession.begin({ hosts: 2 }), before);
    try {
      bed.#witnesses = await bed.#raiseWitnesses();
      return bed;
    } catch (error) {
      await bed.end();
      throw error;
    }
  }

  /** Powers it off and removes it, whatever its state. */
  async end(): Promise<void> {
    await this.lab.end();
  }

  /** As {@link end}; throws when disks are damaged, files were left open, or anything of the lab stays behind on the machine. */
  async finish(): Promise<void> {
    const { lab } = this.lab;
    const { path } = lab.home;
    const { n } = lab.plan;
    const complaints: string[] = [];
    try {
      complaints.push(...openTooMuch(this.lab));
      await lab.stop();
      for (const host of this.lab.hosts) complaints.push(...(await damagedDisks(host.dir)));
    } finally {
      await this.end();
    }
    complaints.push(...leftBehind(this.#before, await traces(), path, n));
    expectThat(complaints.length === 0, complaints.join("\n"));
  }

  /** Throws when a witness is not what it was. */
  async checkWitnesses(): Promise<void> {
    for (const { id, ip, qemu, bootId } of this.#witnesses) {
      expectThat(identityOf(this.lab, id) === qemu, `witness ${id} does not run in the process it ran in`);
      // The network may be on its way back after a kill; the boot id says whether the guest has gone on meanwhile.
      const now = await until(`witness ${id} answers`, () => bootIdOf(ip), 30_000);
      expectThat(now === bootId, `witness ${id} was started again`);
    }
  }

  /** One per host: a group whose members must not share one. */
  async #raiseWitnesses(): Promise<Witness[]> {
    const { cloud } = this.lab;
    const group = await cloud.sdk.CreateDisasterRecoverGroup({ Name: "witnesses", Type: "HOST" });
    const ids = await cloud.run({
      name: "witness",
      imageId,
      instanceType,
      count: this.lab.hosts.length,
      groupId: group.DisasterRecoverGroupId ?? "",
    });
    await cloud.succeeded(ids, patienceMs);
    return Promise.all(
      ids.map(async (id) => {
        const { ip } = await cloud.instance(id);
        const bootId = await until(`witness ${id} answers`, () => bootIdOf(ip), patienceMs);
        const qemu = identityOf(this.lab, id);
        expectThat(qemu !== undefined, `witness ${id} has no QEMU`);
        return { id, ip, qemu, bootId };
      }),
    );
  }
}

/** Process number and start time of an instance's QEMU: the identity of a process. Undefined when there is none. */
export function identityOf(lab: LabSession, id: InstanceId): string | undefined {
  const pid = qemusOf(lab).find((each) => each.guest === id)?.pid;
  const start = pid === undefined ? undefined : statOf(pid)?.startTime;
  return start === undefined ? undefined : `${pid}@${start}`;
}

/** Every live QEMU of this lab. One look at the process table: cheap enough to be repeated all the time. */
export function qemusOf(lab: LabSession): { guest: string; pid: number }[] {
  return readdirSync("/proc").flatMap((entry) => {
    const pid = Number(entry);
    const stat = Number.isInteger(pid) ? statOf(pid) : undefined;
    if (stat?.comm.startsWith("qemu-system") !== true || stat.state === "Z" || stat.state === "X") return [];
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      const guest = /^guest=([^,]*)/.exec(command[command.indexOf("-name") + 1] ?? "")?.[1];
      const ours = command.some((word) => word.includes(`${lab.lab.home.path}/`));
      return guest === undefined || !ours ? [] : [{ guest, pid }];
    } catch {
      return []; // it ended between the two looks
    }
  });
}

/** Looks all the time whether an instance ever has two processes; call the result to stop and to hear of it. */
export function watchForTwins(lab: LabSession): () => void {
  const twins = new Set<string>();
  const timer = setInterval(() => {
    const seen = new Map<string, number>();
    for (const { guest, pid } of qemusOf(lab)) {
      const other = seen.get(guest);
      if (other !== undefined) twins.add(`${guest} ran as ${other} and as ${pid} at once`);
      seen.set(guest, pid);
    }
  }, 100);
  return () => {
    clearInterval(timer);
    expectThat(twins.size === 0, [...twins].join("; "));
  };
}

/** Far above what a program of a lab this small holds open (some dozens), far below what a leak per case adds up to. */
const mostOpenFiles = 200;

function openTooMuch(lab: LabSession): string[] {
  const parts = ["vstation", ...lab.hosts.flatMap(({ name }) => [`${name}/compute`, `${name}/libvirtd`])];
  return parts.flatMap((part) => {
    const pid = lab.lab.pidOf(part);
    const open = pid === undefined ? 0 : readdirSync(`/proc/${pid}/fd`).length;
    return open > mostOpenFiles ? [`${part} has ${open} files open`] : [];
  });
}

/** By qemu-img's word; the guests are off. */
async function damagedDisks(hostDir: string): Promise<string[]> {
  const folder = join(hostDir, "state/instances");
  const disks = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".qcow2"));
  expectThat(disks.length > 0, `no disk lies in ${folder}`);
  const complaints: string[] = [];
  for (const disk of disks) {
    await run("qemu-img", ["check", "-q", join(folder, disk)]).catch((error: unknown) => {
      complaints.push(`${disk}: ${formatError(error)}`);
    });
  }
  return complaints;
}
