/**
 * How much of its memory a guest changes, by QEMU's own measuring: it hashes pages here and there, waits, and hashes them again. That
 * costs the guest nothing and needs nothing of the kernel; to have every write counted (`dirty-bitmap`) its pages would be
 * write-protected first, which a busy guest feels. So a rate is as exact as the number of pages that are looked at.
 */
import type { DirtySample } from "../../core/migration/prediction.ts";
import { Failure } from "../../lib/errors.ts";
import { sleep } from "../../lib/retry.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import type { Hypervisor } from "../hypervisor.ts";

/** Short ones show the rate, long ones the working set. */
export const dirtyTimes = [100, 500, 1_500, 4_000];
/** So many pages in all are enough, and hashed within some ten milliseconds; QEMU takes so many for each GiB, and no fewer or more. */
const pages = 16_384;
const pagesPerGiB = { least: 512, most: 16_384 };
const pollMs = 20;
const patienceMs = 5_000;
const mib = 2 ** 20;

export async function dirtySamples(
  libvirt: Hypervisor,
  domain: DomainRef,
  memoryMiB: number,
  times: readonly number[],
  signal?: AbortSignal,
): Promise<DirtySample[]> {
  const wanted = Math.round((pages * 1024) / memoryMiB);
  const samplePages = Math.min(pagesPerGiB.most, Math.max(pagesPerGiB.least, wanted));
  const samples: DirtySample[] = [];
  for (const ms of times) samples.push(await sample({ libvirt, domain, samplePages, signal }, ms));
  return samples;
}

interface Sampling {
  readonly libvirt: Hypervisor;
  readonly domain: DomainRef;
  readonly samplePages: number;
  readonly signal: AbortSignal | undefined;
}

async function sample({ libvirt, domain, samplePages, signal }: Sampling, ms: number): Promise<DirtySample> {
  const unit = { "calc-time-unit": "millisecond" };
  await libvirt.qmp(domain, "calc-dirty-rate", { "calc-time": ms, ...unit, "sample-pages": samplePages });
  await sleep(ms, signal);
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const told = (await libvirt.qmp(domain, "query-dirty-rate", unit)) as Record<string, unknown>;
    if (told["status"] === "measured") {
      const took = Number(told["calc-time"]);
      const rate = Number(told["dirty-rate"]);
      // QEMU says whole MiB per second, rounded down.
      return { ms: took, bytes: rate === 0 ? 0 : ((rate + 0.5) * mib * took) / 1000 };
    }
    if (performance.now() > deadline) throw new Failure("timeout", "MeasuringFailed", "QEMU did not end its measuring");
    await sleep(pollMs, signal);
  }
}
