/**
 * What VStation wants of this host, held in memory and on the disk, so that a Compute that restarts without VStation goes on.
 *
 * VStation alone writes these facts; this is a copy with the generation it was taken at. One file per instance, because a change
 * touches one instance while a host may hold hundreds; the generation file is written last, so a crash in between leaves an
 * older generation beside newer files: VStation then sends again what is already here, which changes nothing.
 *
 * A change is durable before anyone acts on it. Otherwise a Compute that had removed an instance as wanted, and died, would come
 * back with the older document and make the instance again.
 *
 * Jobs and migrations are few and short: all of them stand in the generation file. One that is over, or that a full message does not
 * name, leaves it at once; what it has left on the disk is cleared away by its own record (compute/jobs, compute/migration).
 *
 * Instances that a full message does not name are forgotten here and become strangers: their records and guests stay. The
 * highest epoch ever heard of an instance is kept beside its document as long as the document is.
 */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { wantedJobSchema, type WantedJob } from "../../api/agent-storage.ts";
import {
  peerSchema,
  placeSchema,
  wantedInstanceSchema,
  wantedMigrationSchema,
  wantedSecurityGroupSchema,
  wantedSubnetSchema,
  wantedVpcSchema,
  type Peer,
  type Place,
  type ToCompute,
  type WantedInstance,
  type WantedMigration,
} from "../../api/agent.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import type { InstanceId, JobId, MigrationId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { makeDurableDirectory, readDurable, syncDirectory } from "../../lib/durable.ts";
import { Limit } from "../limit.ts";
import type { Write } from "../storage/reserve.ts";

const counter = z.int().nonnegative();
const entrySchema = z.strictObject({ knownEpoch: counter, doc: wantedInstanceSchema });
const networkSchema = z.strictObject({
  vpcs: z.array(wantedVpcSchema),
  subnets: z.array(wantedSubnetSchema),
  securityGroups: z.array(wantedSecurityGroupSchema),
});
const headSchema = z.union([
  z.strictObject({
    generation: counter,
    network: networkSchema,
    jobs: z.array(wantedJobSchema).default([]),
    migrations: z.array(wantedMigrationSchema).default([]),
  }),
  // Kept by a release that knew no VPCs. What it says of the network is not enough; with generation 0 everything is told anew.
  z.object({ generation: counter, subnets: z.unknown() }).transform(() => ({
    generation: 0,
    network: null,
    jobs: [],
    migrations: [],
  })),
]);
const peersSchema = z.strictObject({ generation: counter, peers: z.array(peerSchema) });

export interface WantedEntry {
  readonly knownEpoch: number;
  readonly doc: WantedInstance;
}

/** The networks that this host is to have a part in. */
export type WantedNetwork = Readonly<z.output<typeof networkSchema>>;

export interface WantedChange {
  /** Instances whose document is new, changed or forgotten. */
  readonly instances: readonly InstanceId[];
  readonly network: boolean;
  readonly jobs: boolean;
  readonly migrations: boolean;
}

type WantedMessage = Extract<ToCompute, { type: "wanted" }>;
type PeersMessage = Extract<ToCompute, { type: "peers" }>;

export class WantedStore {
  readonly #directory: string;
  readonly #write: Write;
  readonly #log: Log;
  /** A message and a departure must not cross each other on the disk. */
  readonly #turn = new Limit(1);
  #generation = 0;
  #peersGeneration = 0;
  #instances = new Map<InstanceId, WantedEntry>();
  #network: WantedNetwork | null = null;
  #place: Place | null = null;
  #jobs = new Map<JobId, WantedJob>();
  #migrations = new Map<MigrationId, WantedMigration>();
  #peers = new Map<string, Peer>();
  /** A message whose generation is lower than the one held: VStation's truth went back in time (a restored database). */
  #wentBack: { held: number; offered: number } | null = null;

  constructor(directory: string, write: Write, log: Log) {
    this.#directory = directory;
    this.#write = write;
    this.#log = log;
  }

  get generation(): number {
    return this.#generation;
  }
  get peersGeneration(): number {
    return this.#peersGeneration;
  }
  get wentBack(): { held: number; offered: number } | null {
    return this.#wentBack;
  }
  instance(id: InstanceId): WantedEntry | undefined {
    return this.#instances.get(id);
  }
  instances(): IterableIterator<[InstanceId, WantedEntry]> {
    return this.#instances.entries();
  }
  /** null: VStation has never said. Then nothing may be concluded from it, least of all that a network is not needed. */
  get network(): WantedNetwork | null {
    return this.#network;
  }
  jobs(): readonly WantedJob[] {
    return [...this.#jobs.values()];
  }
  migrations(): readonly WantedMigration[] {
    return [...this.#migrations.values()];
  }
  peers(): readonly Peer[] {
    return [...this.#peers.values()];
  }

  async load(): Promise<void> {
    await makeDurableDirectory(this.#instancesDirectory(), 0o700);
    for (const name of await readdir(this.#instancesDirectory())) {
      const file = join(this.#instancesDirectory(), name);
      if (!name.endsWith(".json")) {
        await rm(file, { force: true });
        continue;
      }
      const entry = await readDurable(file, entrySchema);
      if (entry) this.#instances.set(entry.doc.id, entry);
    }
    const head = await readDurable(this.#headFile(), headSchema);
    this.#generation = head?.generation ?? 0;
    this.#network = head?.network ?? null;
    for (const job of head?.jobs ?? []) this.#jobs.set(job.id, job);
    for (const migration of head?.migrations ?? []) this.#migrations.set(migration.id, migration);
    this.#place = (await readDurable(this.#placeFile(), placeSchema)) ?? null;
    const peers = await readDurable(this.#peersFile(), peersSchema);
    this.#peersGeneration = peers?.generation ?? 0;
    for (const peer of peers?.peers ?? []) this.#peers.set(peerKey(peer), peer);
  }

  /** Takes a `wanted` message over, durably; messages must be applied one after the other. */
  apply(message: WantedMessage): Promise<WantedChange> {
    return this.#turn.run(() => this.#take(message));
  }

  async #take(message: WantedMessage): Promise<WantedChange> {
    if (message.generation < this.#generation) {
      this.#wentBack = { held: this.#generation, offered: message.generation };
      this.#log.error(this.#wentBack, "VStation offers an older generation than it gave before; not taken");
      return { instances: [], network: false, jobs: false, migrations: false };
    }
    this.#wentBack = null;
    const changed: InstanceId[] = [];
    const writes: Promise<void>[] = [];
    const next = new Map<InstanceId, WantedEntry>();
    for (const doc of message.instances) {
      const before = this.#instances.get(doc.id);
      const entry = { knownEpoch: Math.max(before?.knownEpoch ?? 0, doc.epoch), doc };
      next.set(doc.id, entry);
      if (before && JSON.stringify(before) === JSON.stringify(entry)) continue;
      changed.push(doc.id);
      writes.push(this.#write(this.#instanceFile(doc.id), JSON.stringify(entry)));
    }
    const forgotten = message.full ? [...this.#instances.keys()].filter((id) => !next.has(id)) : [];
    for (const id of forgotten) writes.push(rm(this.#instanceFile(id), { force: true }));
    await Promise.all(writes);
    crashPoint("wanted.apply.documents-written");
    if (forgotten.length > 0) await syncDirectory(this.#instancesDirectory());

    const { generation, vpcs, subnets, securityGroups } = message;
    const network = { vpcs, subnets, securityGroups };
    const networkChanged = JSON.stringify(network) !== JSON.stringify(this.#network);
    const jobs = applied(this.#jobs, message.jobs, message.full);
    const migrations = applied(this.#migrations, message.migrations, message.full);
    const head = { generation, network, jobs: [...jobs.values()], migrations: [...migrations.values()] };
    const jobsChanged = JSON.stringify(head.jobs) !== JSON.stringify(this.jobs());
    const migrationsChanged = JSON.stringify(head.migrations) !== JSON.stringify(this.migrations());
    await this.#write(this.#headFile(), JSON.stringify(head));
    crashPoint("wanted.apply.generation-written");

    // An unchanged document keeps its object: whoever compares by identity sees that nothing happened.
    for (const id of changed) this.#instances.set(id, next.get(id)!);
    for (const id of forgotten) this.#instances.delete(id);
    if (networkChanged) this.#network = network;
    this.#jobs = jobs;
    this.#migrations = migrations;
    this.#generation = generation;
    const instances = [...changed, ...forgotten];
    return { instances, network: networkChanged, jobs: jobsChanged, migrations: migrationsChanged };
  }

  /**
   * An instance that has moved to another host: VStation says nothing more of it here, not even that. Unless it has come back since, by
   * a newer placement.
   */
  forget(id: InstanceId, epoch: number): Promise<void> {
    return this.#turn.run(async () => {
      const entry = this.#instances.get(id);
      if (entry === undefined || entry.doc.epoch > epoch) return;
      await rm(this.#instanceFile(id), { force: true });
      await syncDirectory(this.#instancesDirectory());
      this.#instances.delete(id);
    });
  }

  /** Where this host is; null until VStation has said it once. */
  get place(): Place | null {
    return this.#place;
  }

  async keepPlace(place: Place): Promise<void> {
    if (JSON.stringify(place) === JSON.stringify(this.#place)) return;
    this.#place = place;
    await this.#write(this.#placeFile(), JSON.stringify(place));
  }

  /** Takes a `peers` message over, durably; true if anything changed. */
  async applyPeers(message: PeersMessage): Promise<boolean> {
    if (message.generation < this.#peersGeneration) return false;
    const peers = new Map(message.full ? [] : this.#peers);
    for (const peer of message.peers) {
      if (peer.vtep === null) peers.delete(peerKey(peer));
      else peers.set(peerKey(peer), peer);
    }
    await this.#write(
      this.#peersFile(),
      JSON.stringify({ generation: message.generation, peers: [...peers.values()] }),
    );
    crashPoint("wanted.peers.written");
    this.#peers = peers;
    this.#peersGeneration = message.generation;
    return true;
  }

  #instancesDirectory(): string {
    return join(this.#directory, "instances");
  }
  #instanceFile(id: InstanceId): string {
    return join(this.#instancesDirectory(), `${id}.json`);
  }
  #placeFile(): string {
    return join(this.#directory, "place.json");
  }
  #headFile(): string {
    return join(this.#directory, "head.json");
  }
  #peersFile(): string {
    return join(this.#directory, "peers.json");
  }
}

function peerKey(peer: Peer): string {
  return `${peer.subnetId} ${peer.ip}`;
}

/** What is wanted of one kind after a message: a full one names everything. */
function applied<Id, One extends { id: Id; gone: boolean }>(
  before: ReadonlyMap<Id, One>,
  told: readonly One[],
  full: boolean,
): Map<Id, One> {
  const after = new Map(full ? [] : before);
  for (const one of told) {
    if (one.gone) after.delete(one.id);
    else after.set(one.id, one);
  }
  return after;
}
