/**
 * All workers of this host: which there are, and what wakes them.
 *
 * An instance has a worker if VStation names it, if a record of it lies here, or if libvirt has a domain with the name of an
 * instance; so a stranger is seen as well as a guest of ours. Every reason to look (a wanted change, an event, a reconnect)
 * ends in a wake-up, never in an order.
 */
import { readdir } from "node:fs/promises";
import type { InstanceSpec } from "../../api/agent.ts";
import { formatError } from "../../lib/errors.ts";
import { parseId, type ImageId, type InstanceId } from "../../lib/ids.ts";
import type { DomainRef, Subscription } from "../../libvirt/contract.ts";
import { instanceDirectory, recordFile } from "../paths.ts";
import { makeDurableDirectory, removeTemporaries } from "../../lib/durable.ts";
import type { RunningGuest } from "../machine/affinity.ts";
import type { Context } from "./context.ts";
import { boundLogs } from "./log-bound.ts";
import { readRecord } from "./record.ts";
import { type Found, Worker } from "./worker.ts";

/** A listing that got no answer is tried again after so long, if no reconnect brings it about before. */
const retryMs = 2_000;

export class Fleet {
  readonly #context: Context;
  readonly #wantedIds: () => Iterable<InstanceId>;
  #workers = new Map<InstanceId, Worker>();
  #subscriptions: Subscription[] = [];
  #listed = false;
  #retry: NodeJS.Timeout | null = null;
  /** Domains whose names are no instance's: somebody else's, left alone. */
  foreign: readonly string[] = [];

  constructor(context: Context, wantedIds: () => Iterable<InstanceId>) {
    this.#context = context;
    this.#wantedIds = wantedIds;
  }

  /** Reads every record on the disk. Of an instance whose record is damaged nothing is guessed: it is left as it is, and shown. */
  async load(): Promise<void> {
    const { paths } = this.#context;
    await makeDurableDirectory(paths.instances);
    for (const name of await readdir(paths.instances)) {
      const id = parseId("instance", name);
      if (id === undefined) continue;
      await removeTemporaries(instanceDirectory(paths, id));
      this.#workers.set(id, new Worker(id, this.#context, await this.#found(id)));
    }
    for (const id of this.#wantedIds()) this.#worker(id);
  }

  /** From here on events wake the workers. */
  start(): void {
    const { libvirt } = this.#context;
    const look = (event: { domain: { name: string } }): void => this.#onDomain(event.domain.name);
    this.#subscriptions = [
      libvirt.onLifecycle((event) => {
        // Each start defines the domain anew; that changes nothing for the worker that did it.
        const id = parseId("instance", event.domain.name);
        if (event.change !== "defined" || id === undefined || !this.#workers.has(id)) look(event);
      }),
      libvirt.on("io-error", look),
      libvirt.on("device-removed", (event: { domain: { name: string } }) => {
        const id = parseId("instance", event.domain.name);
        if (id !== undefined) this.#workers.get(id)?.devicesChanged();
      }),
      libvirt.onLink((state) => {
        if (state === "lost" || state === "closed") for (const worker of this.#workers.values()) worker.lost();
      }),
      libvirt.onResync(() => this.#resync()),
    ];
    // The connection may have come before anybody listened.
    if (libvirt.link === "connected") void this.#resync();
    for (const worker of this.#workers.values()) worker.wake();
  }

  async stop(): Promise<void> {
    if (this.#retry) clearTimeout(this.#retry);
    await Promise.all(this.#subscriptions.map((s) => s.close()));
    await Promise.all([...this.#workers.values()].map((w) => w.stop()));
  }

  /** What is wanted of these has changed. */
  wantedChanged(ids: readonly InstanceId[]): void {
    for (const id of ids) this.#worker(id).reconsider();
    this.#drop();
  }

  worker(id: InstanceId): Worker | undefined {
    return this.#workers.get(id);
  }

  /** Keeps an instance off for as long as it is off, until what is returned is called. */
  hold(id: InstanceId, why: string): () => void {
    return this.#worker(id).hold(why);
  }

  /** The worker of an instance that leaves or comes by a live migration; one is made if there is none. */
  migrating(id: InstanceId, as: "source" | "target"): Worker {
    const worker = this.#worker(id);
    worker.migrates(as);
    return worker;
  }

  /** Once nothing of it is under way: its domain if a guest runs, "off" if none does, null when that is not known now. */
  atRest(id: InstanceId): Promise<DomainRef | "off" | null> {
    return this.#worker(id).atRest();
  }

  /** Every instance that lies here or is to come, with its machine: for the network. */
  *guests(): Generator<readonly [InstanceId, InstanceSpec]> {
    for (const worker of this.#workers.values()) {
      const wanted = this.#context.wanted(worker.id)?.doc;
      const spec = wanted && wanted.power.state !== "gone" ? wanted.spec : worker.record?.spec;
      if (spec) yield [worker.id, spec];
    }
  }

  /** Images on whose disks something may stand here; undefined when that cannot be told, because a record is unreadable. */
  imagesInUse(): ReadonlySet<ImageId> | undefined {
    const used = new Set<ImageId>();
    for (const worker of this.#workers.values()) {
      if (worker.isUnreadable) return undefined;
      for (const spec of [this.#context.wanted(worker.id)?.doc.spec, worker.record?.spec]) {
        if (spec !== undefined) used.add(spec.imageId);
      }
    }
    return used;
  }

  /** Every guest that runs now, with the machine that it was started with. */
  *running(): Generator<RunningGuest> {
    for (const { id, domain, record, isUp, isMigrating } of this.#workers.values()) {
      // libvirt lets nobody turn a guest's knobs while it moves; it is told afterwards.
      if (isUp && !isMigrating && domain !== null && record !== null) yield { id, domain, spec: record.spec };
    }
  }

  /** True once every instance has been looked at since this process began: before that no report is whole. */
  get isKnown(): boolean {
    return this.#listed && [...this.#workers.values()].every((w) => w.isKnown);
  }

  #worker(id: InstanceId): Worker {
    let worker = this.#workers.get(id);
    if (worker === undefined) {
      worker = new Worker(id, this.#context, { record: null, leftover: false, damage: null });
      this.#workers.set(id, worker);
    }
    return worker;
  }

  /** Keeps every instance's serial logs within bounds. */
  async boundLogs(): Promise<void> {
    for (const worker of this.#workers.values()) {
      if (worker.record === null) continue;
      await boundLogs(instanceDirectory(this.#context.paths, worker.id)).catch((error: unknown) => {
        this.#context.log.warn({ err: error, instance: worker.id }, "could not bound the serial log");
      });
    }
  }

  async #found(id: InstanceId): Promise<Found> {
    try {
      const record = (await readRecord(recordFile(this.#context.paths, id))) ?? null;
      return { record, leftover: true, damage: null };
    } catch (error) {
      this.#context.log.error(
        { err: error, instance: id },
        "the record of an instance cannot be read; it is left alone",
      );
      return { record: null, leftover: true, damage: formatError(error) };
    }
  }

  #onDomain(name: string): void {
    const id = parseId("instance", name);
    if (id !== undefined) this.#worker(id).lookAgain();
    this.#drop();
  }

  async #resync(): Promise<void> {
    try {
      const foreign: string[] = [];
      for (const domain of await this.#context.libvirt.domainList()) {
        const id = parseId("instance", domain.name);
        if (id === undefined) foreign.push(domain.name);
        else this.#worker(id);
      }
      this.foreign = foreign;
      this.#listed = true;
    } catch (error) {
      this.#context.log.warn({ err: error }, "libvirt did not list its domains");
      if (this.#context.libvirt.link === "connected") this.#retry = setTimeout(() => void this.#resync(), retryMs);
    }
    for (const worker of this.#workers.values()) worker.lookAgain();
  }

  /** Lets go of workers that have nothing to look after. */
  #drop(): void {
    for (const [id, worker] of this.#workers) {
      if (worker.isIdle && this.#context.wanted(id) === undefined) this.#workers.delete(id);
    }
  }
}
