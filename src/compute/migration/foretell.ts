/**
 * How a move will go, measured while its target gets ready: the link is tried and the guest's writes are counted for a few tenths of a second
 * (core/migration/prediction.ts makes the rest of it). Nothing waits long for it, nothing fails for it, and nothing of it is at work once
 * the copy has begun.
 */
import type { LinkFacts } from "../../api/agent-preflight.ts";
import { fitCurve, predict, type Prediction } from "../../core/migration/prediction.ts";
import type { SourceFacts } from "../../core/migration/preflight.ts";
import type { Log } from "../../lib/log.ts";
import { within } from "../../lib/retry.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import type { Hypervisor } from "../hypervisor.ts";
import { dirtySamples } from "./dirty.ts";

/** So short that a large working set does not show. */
const times = [100, 300];
const patienceMs = 1_500;
const mib = 2 ** 20;

export interface ForetellOptions {
  readonly libvirt: Hypervisor;
  readonly domain: DomainRef;
  readonly guest: SourceFacts;
  readonly link: (signal: AbortSignal) => Promise<LinkFacts>;
  readonly limitMs: number;
  readonly fixedMs: number;
  readonly log: Log;
}

/** null: it could not be measured, or not in time. Never rejects. */
export async function foretell(options: ForetellOptions): Promise<Prediction | null> {
  const { libvirt, domain, guest, link, limitMs, fixedMs, log } = options;
  const over = new AbortController();
  try {
    const measuring = Promise.all([
      link(over.signal),
      dirtySamples(libvirt, domain, guest.memoryBytes / mib, times, over.signal),
    ]);
    const [{ bytesPerSecond: linkBytesPerSecond }, samples] = await within(patienceMs, "measuring", measuring);
    const curve = fitCurve(samples, guest.memoryBytes);
    return predict({ memoryBytes: guest.residentBytes, curve, linkBytesPerSecond, limitMs, fixedMs });
  } catch (error) {
    log.debug({ err: error, guest: domain.name }, "nothing could be foretold of a migration");
    return null;
  } finally {
    over.abort();
  }
}
