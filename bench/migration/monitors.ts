/**
 * What the two QEMUs of a moving guest say of themselves, by their own stamps: one machine, one clock. Heard through each host's libvirt, by
 * a connection of the bench's own, and alike for everybody who moves a guest.
 */
import { join } from "node:path";
import * as z from "zod";
import { openLibvirt } from "../../src/libvirt/open.ts";
import type { Libvirt } from "../../src/libvirt/contract.ts";
import { createLog } from "../../src/lib/log.ts";
import type { LabHost } from "../lab-session.ts";
import { beatClock } from "../../guest/beat-listener.ts";

export interface Heard {
  readonly host: string;
  readonly event: string;
  /** Milliseconds of the beats' clock. */
  readonly at: number;
  readonly data: unknown;
}

/** libvirt's socket of a host, as this machine reaches it. */
export function socketOf(host: LabHost): string {
  return join("/proc", String(host.init), "root/run/libvirt/libvirt-sock");
}

export class Monitors {
  readonly #libvirts: readonly Libvirt[];
  /** Their stamps still by the real-time clock. */
  #heard: (Heard & { guest: string })[] = [];

  private constructor(libvirts: readonly Libvirt[]) {
    this.#libvirts = libvirts;
  }

  static open(hosts: readonly LabHost[]): Monitors {
    const log = createLog("bench", { part: "monitors" });
    const libvirts: Libvirt[] = [];
    const monitors = new Monitors(libvirts);
    for (const host of hosts) {
      const libvirt = openLibvirt({ socketPath: socketOf(host), log });
      libvirt.onMonitor({}, ({ domain, event, atMicros, data }) => {
        monitors.#heard.push({ guest: domain.name, host: host.name, event, at: atMicros / 1000, data });
      });
      libvirts.push(libvirt);
    }
    return monitors;
  }

  clear(): void {
    this.#heard = [];
  }

  of(guest: string): Heard[] {
    const skew = skewMs();
    return this.#heard.filter((each) => each.guest === guest).map((each) => ({ ...each, at: each.at - skew }));
  }

  async close(): Promise<void> {
    await Promise.all(this.#libvirts.map((libvirt) => libvirt.close()));
  }
}

export interface Pause {
  readonly stop: number;
  readonly resume: number;
  /** Everything that either QEMU said in it, in milliseconds after STOP: "source: MIGRATION device". The first time alone. */
  readonly said: Record<string, number>;
}

const statusSchema = z.object({ status: z.string() });

/** From the guest's last STOP at one host to its RESUME at another, or at the same one. */
export function pauseIn(heard: readonly Heard[]): Pause | undefined {
  const resume = heard.findLast(({ event }) => event === "RESUME");
  const stop = heard.findLast(({ event, at }) => event === "STOP" && resume !== undefined && at < resume.at);
  if (stop === undefined || resume === undefined) return undefined;
  const said: Record<string, number> = {};
  for (const { host, event, at, data } of heard) {
    if (at < stop.at || at > resume.at) continue;
    const status = statusSchema.safeParse(data).data?.status;
    said[`${host === stop.host ? "source" : "target"}: ${event}${status === undefined ? "" : ` ${status}`}`] ??=
      at - stop.at;
  }
  return { stop: stop.at, resume: resume.at, said };
}

/** The real-time clock less the beats' clock; measured anew each time, because the one is disciplined and the other is not. */
export function skewMs(): number {
  const before = Date.now();
  let now = before;
  // The edge between two milliseconds: there alone the clock is as fine as it is used here.
  while (now === before) now = Date.now();
  return now - beatClock();
}
