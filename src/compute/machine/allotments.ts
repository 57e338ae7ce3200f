/**
 * Which processors and hugepages of this host belong to which instance: asked of core/cpu-plan.ts under one lock, and written down in
 * the instance's own folder before it is used. So it lives exactly as long as the instance lies here, running or not, and goes with
 * its folder; a Compute that starts anew reads every folder before it gives anything away.
 *
 * This is the only writer. What can race: two preparations at once (the lock), a crash before the file is whole (nothing was given),
 * one after it (the next preparation finds it). A file that cannot be read hides what is taken: then nothing more is given.
 */
import { readdir, rm } from "node:fs/promises";
import * as z from "zod";
import { planCpus, sharedPlaces, type Allotment, type CpuDemand, type HostPlaces } from "../../core/cpu-plan.ts";
import { pageSizes } from "../../core/machine.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { readDurable } from "../../lib/durable.ts";
import { Failure, formatError } from "../../lib/errors.ts";
import { parseId, type InstanceId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { Limit } from "../limit.ts";
import { allotmentFile, type Paths } from "../paths.ts";
import type { Write } from "../storage/reserve.ts";

const count = z.int().nonnegative();
const demandSchema = z.strictObject({
  vcpus: count,
  threadsPerCore: count.nullable(),
  memoryMiB: count,
  hugepages: z.enum(pageSizes).nullable(),
});
const fileSchema = z.strictObject({
  version: z.literal(1),
  demand: demandSchema,
  allotment: z.strictObject({
    hugepages: z.enum(pageSizes).nullable(),
    shares: z.array(z.strictObject({ node: count, held: z.array(count), vcpus: z.array(count), memoryMiB: count })),
  }),
});

interface Held {
  readonly demand: CpuDemand;
  readonly allotment: Allotment;
}

export interface AllotmentsOptions {
  readonly paths: Paths;
  readonly write: Write;
  readonly log: Log;
  readonly readPlaces: () => Promise<HostPlaces>;
}

export class Allotments {
  readonly #options: AllotmentsOptions;
  readonly #held = new Map<InstanceId, Held>();
  readonly #damaged = new Map<InstanceId, string>();
  readonly #lock = new Limit(1);
  #host: HostPlaces = { places: [], threadsPerCore: 1, reservedCores: 0, hugepages: [] };

  constructor(options: AllotmentsOptions) {
    this.#options = options;
  }

  /** What the host has to give, as last read. */
  get host(): HostPlaces {
    return this.#host;
  }

  /** Instances of which nobody can say what they hold. */
  get damaged(): ReadonlyMap<InstanceId, string> {
    return this.#damaged;
  }

  /** Processors that nobody holds; null: all of them. */
  get pool(): number[] | null {
    if (this.#held.size === 0) return null;
    return [...new Set(sharedPlaces(this.#host, this.#all()).map(({ cpu }) => cpu))].toSorted((a, b) => a - b);
  }

  /** Reads what every instance here holds. */
  async load(): Promise<void> {
    const { paths, log } = this.#options;
    this.#host = await this.#options.readPlaces();
    for (const name of await readdir(paths.instances)) {
      const id = parseId("instance", name);
      if (id === undefined) continue;
      try {
        const found = await readDurable(allotmentFile(paths, id), fileSchema);
        if (found !== undefined) this.#held.set(id, found);
      } catch (error) {
        this.#damaged.set(id, formatError(error));
        log.error(
          { err: error, instance: id },
          "what an instance holds of this host cannot be read; nothing more is given",
        );
      }
    }
  }

  /** What the instance holds from now on: what it held before if it asks for the same. Its folder must be there. */
  ensure(id: InstanceId, demand: CpuDemand): Promise<Allotment> {
    return this.#lock.run(async () => {
      const { paths, write, readPlaces } = this.#options;
      this.#host = await readPlaces();
      const before = this.#held.get(id);
      if (before !== undefined && isSame(before.demand, demand) && isThere(this.#host, before.allotment)) {
        return before.allotment;
      }
      const [damaged] = this.#damaged.keys();
      if (damaged !== undefined) {
        throw unavailable(
          `what ${damaged} holds of this host cannot be read, so nothing more is given; see its readiness`,
        );
      }
      const plan = planCpus(this.#host, this.#all(id), demand);
      if ("refused" in plan) throw refused(plan.refused, demand);
      const held = { demand, allotment: plan.allotment };
      await write(allotmentFile(paths, id), `${JSON.stringify({ version: 1, ...held })}\n`);
      crashPoint("machine.allotment.written");
      this.#held.set(id, held);
      return plan.allotment;
    });
  }

  /** The instance shares from now on. */
  async drop(id: InstanceId): Promise<void> {
    if (!this.#held.has(id)) return;
    await this.#lock.run(() => rm(allotmentFile(this.#options.paths, id), { force: true }));
    this.#held.delete(id);
  }

  /** Its folder is gone, and this with it. True if it held anything. */
  forget(id: InstanceId): boolean {
    this.#damaged.delete(id);
    return this.#held.delete(id);
  }

  *#all(but?: InstanceId): Generator<Allotment> {
    for (const [id, { allotment }] of this.#held) if (id !== but) yield allotment;
  }
}

function isSame(a: CpuDemand, b: CpuDemand): boolean {
  return (
    a.vcpus === b.vcpus &&
    a.threadsPerCore === b.threadsPerCore &&
    a.memoryMiB === b.memoryMiB &&
    a.hugepages === b.hugepages
  );
}

/** The host may have lost processors since. */
function isThere(host: HostPlaces, allotment: Allotment): boolean {
  const places = new Set(host.places.map(({ place }) => place));
  return allotment.shares.every(({ held }) => held.every((place) => places.has(place)));
}

function refused(why: "cpus" | "hugepages", demand: CpuDemand): Failure {
  return why === "cpus"
    ? unavailable(`this host has not ${demand.vcpus} processors left to give to one instance`)
    : unavailable(`this host has not ${demand.memoryMiB} MiB in hugepages of ${demand.hugepages} left; reserve more`);
}

function unavailable(message: string): Failure {
  return new Failure("no_capacity", "MachineUnavailable", message);
}
