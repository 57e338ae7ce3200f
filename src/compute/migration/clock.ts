/**
 * A guest's wall clock stands still while the guest is paused, and is late by the pause from then on. Where the guest has an agent, it is
 * told the time of the host that it has come to; where it has none, it goes by what it has itself (NTP), and nobody waits or complains.
 *
 * A clock that is early, or late by more than any pause, is not so by the pause: its owner wants it so, or one of the hosts is wrong. It
 * is left. What is done twice changes nothing.
 */
import { formatError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import { isLibvirtError } from "../../libvirt/errors.ts";
import type { Hypervisor } from "../hypervisor.ts";

/** Longer than any pause. */
const farOffMs = 60_000;
/** Less than this is how long the answers take. */
const smallMs = 2;
const agentMs = 10_000;
/** libvirt knows of an agent some moments after the guest runs: tried for a quarter of a minute or so. */
const tries = 8;

export interface ClockOptions {
  readonly libvirt: Pick<Hypervisor, "timeGet" | "timeSet">;
  readonly domain: DomainRef;
  readonly nowMs: () => number;
  readonly log: Log;
  readonly pause?: (ms: number) => Promise<void>;
}

/** Never rejects. */
export async function correctClock({ libvirt, domain, nowMs, log, pause = sleep }: ClockOptions): Promise<void> {
  for (let tried = 1; ; tried++) {
    try {
      const { lateMs, wayMs } = await ask({ libvirt, domain, nowMs });
      if (lateMs < smallMs) return;
      if (lateMs > farOffMs) {
        return log.info(
          { domain: domain.name, lateMs },
          "the clock of a guest that has arrived is far off, and is left",
        );
      }
      await libvirt.timeSet(domain, nowMs() + wayMs, { deadlineMs: agentMs });
      const { lateMs: leftMs } = await ask({ libvirt, domain, nowMs });
      return log.info({ domain: domain.name, lateMs, leftMs }, "the clock of a guest that has arrived was put right");
    } catch (error) {
      if (tried === tries || isLibvirtError(error, "NoDomain")) {
        return log.debug({ chain: formatError(error), domain: domain.name }, "a guest's clock was not put right");
      }
      await pause(backoff(tried, 250, 4_000));
    }
  }
}

/** By the middle between the question and its answer, which is the way to the guest. */
async function ask({ libvirt, domain, nowMs }: Pick<ClockOptions, "libvirt" | "domain" | "nowMs">) {
  const asked = nowMs();
  const guest = await libvirt.timeGet(domain, { deadlineMs: agentMs });
  const wayMs = (nowMs() - asked) / 2;
  return { lateMs: asked + wayMs - guest, wayMs };
}
