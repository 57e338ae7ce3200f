/**
 * A lab with something to lose: two hosts, and on each a witness that no case concerns. After every case each witness must be the same
 * process and the same boot of the same guest as before.
 */
import { readdirSync, readFileSync } from "node:fs";
import { imageId, instanceType } from "../../bench/delivery/guest.ts";
import { LabSession } from "../../bench/lab-session.ts";
import { statOf } from "../../lab/processes.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { bootIdOf } from "./guest.ts";
import { expectThat, until } from "./until.ts";

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
  #witnesses: readonly Witness[] = [];

  private constructor(lab: LabSession) {
    this.lab = lab;
  }

  static async begin(): Promise<Bed> {
    const bed = new Bed(await LabSession.begin({ hosts: 2 }));
    try {
      bed.#witnesses = await bed.#raiseWitnesses();
      return bed;
    } catch (error) {
      await bed.end();
      throw error;
    }
  }

  async end(): Promise<void> {
    await this.lab.end();
  }

  /** Throws when a witness is not what it was. */
  async checkWitnesses(): Promise<void> {
    for (const { id, ip, qemu, bootId } of this.#witnesses) {
      expectThat(identityOf(this.lab, id) === qemu, `witness ${id} does not run in the process it ran in`);
      // The network may be on its way back after a kill; the boot id says whether the guest has gone on meanwhile.
      const now = await until(`witness ${id} answers`, 30_000, () => bootIdOf(ip));
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
        const bootId = await until(`witness ${id} answers`, patienceMs, () => bootIdOf(ip));
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
