/**
 * Keeps the projection of a zone true for as long as the lease is ours: it is built when the lease was taken, told what instances let go
 * of and what hosts offer, compared with SQL now and then, and built anew whenever it may be wrong.
 *
 * Whoever changes it and commits that does so in its turn ({@link ProjectionKeeper.alone}), and hands what a failed commit threw to
 * {@link ProjectionKeeper.afterFailedCommit}. What can race: instances let go of things, and hosts change, while the projection is being read
 * (that is applied to the new one too); another replica takes the lease (the commit is refused by its epoch, and everyone is told to ask again).
 */
import { failure } from "../../core/failure-codes.ts";
import { formatError } from "../../lib/errors.ts";
import type { InstanceId, SubnetId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { sleep } from "../../lib/retry.ts";
import { Rounds } from "../../lib/rounds.ts";
import { isCommitUnknown, logRetry, violatedConstraint, type Store } from "../store/database.ts";
import { hostRead } from "../store/hosts.ts";
import { addressesInUse, meanwhileLoad, placedLoad } from "../store/placement-load.ts";
import { isFenced } from "../store/zone.ts";
import { AddressBook } from "./addresses.ts";
import type { Lease } from "./lease.ts";
import { digestOf, Projection } from "./projection.ts";
import { Serial } from "./serial.ts";

export interface ProjectionKeeperOptions {
  store: Store;
  zone: string;
  log: Log;
  /** What hosts offer was read again; `joined`: one has joined since the last time. */
  onHosts: (joined: boolean) => void;
}

/** How long a request waits for a placement that is just starting or changing hands. */
const readyMs = 5_000;

export class ProjectionKeeper {
  readonly #options: ProjectionKeeperOptions;
  readonly #turns = new Serial();
  readonly #hostReads = new Rounds(() => this.#readHosts());
  #lease: Lease | undefined;
  #projection: Projection | undefined;
  /** What has changed while the projection was being rebuilt; applied to the new one too. */
  #lettingGo: ((projection: Projection) => void)[] | undefined;
  #ready = Promise.withResolvers<void>();

  constructor(options: ProjectionKeeperOptions) {
    this.#options = options;
  }

  /** The zone's lease is ours from now on. */
  begin(lease: Lease): void {
    this.#lease = lease;
    void this.#rebuild("the lease was taken");
  }

  end(): void {
    this.#lease = undefined;
    this.#setProjection(undefined);
  }

  /** There is a projection, and hosts have been read for it since they last changed. */
  async whenReady(): Promise<void> {
    if (this.#projection === undefined) {
      const late = sleep(readyMs).then(() => {
        throw failure("PlacementUnavailable", "no VStation is ready to place in this zone; ask again shortly");
      });
      await Promise.race([this.#ready.promise, late]);
    }
    // Where hosts could not be read, what was known of them before must do.
    await this.#hostReads.last?.catch(() => undefined);
  }

  /** Does it when nobody else is between a claim and its commit, and no projection is being read. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#turns.run(work);
  }

  /** What claims are made on, and the epoch to commit them with. */
  current(): { projection: Projection; epoch: number } {
    const epoch = this.#lease?.epoch;
    if (this.#projection === undefined || epoch === undefined) {
      throw failure("PlacementUnavailable", "placement is changing hands; ask again shortly");
    }
    return { projection: this.#projection, epoch };
  }

  /** Applies what is true already: it needs no commit, and cannot fail. */
  letGo(change: (projection: Projection) => void): void {
    this.#lettingGo?.push(change);
    if (this.#projection !== undefined) change(this.#projection);
  }

  /** An instance is over, or never came to be: its room and address are free again. */
  drop(id: InstanceId, subnetId: SubnetId, ip: string): void {
    this.letGo((projection) => {
      projection.drop(id);
      projection.addresses.release(subnetId, ip);
    });
  }

  /** Reads what hosts offer, after they have changed. Who waits from now on for this to be ready waits for that too. */
  refreshHosts(): Promise<void> {
    return this.#hostReads.request();
  }

  async #readHosts(): Promise<void> {
    const hosts = await this.#options.store.read((db) => hostRead(db, { zone: this.#options.zone }));
    let joined = false;
    // What is being read meanwhile may have been read before them.
    this.letGo((projection) => (joined = projection.updateHosts(hosts) || joined));
    this.#options.onHosts(joined);
  }

  /** Compares the projection with SQL and rebuilds it when they differ; true if they agreed. */
  async verify(): Promise<boolean> {
    if (this.#projection === undefined) return true;
    const agreed = await this.alone(async () => {
      const hosts = await this.#options.store.read((db) => hostRead(db, { zone: this.#options.zone }));
      const digest = this.#projection?.digest();
      return hosts.every(({ row, use }) => digest?.get(row.id) === digestOf(use));
    });
    if (!agreed) await this.#rebuild("it differs from SQL");
    return agreed;
  }

  /** What a commit's failure says about the lease and the projection. */
  afterFailedCommit(error: unknown): void {
    if (isFenced(error)) this.#lease?.lost();
    else if (isCommitUnknown(error) || violatedConstraint(error)?.startsWith("address_") === true) {
      // Nobody can say what was committed, or an address was in use that the projection took for free. Any other constraint
      // (a key or group that has just been deleted) is the request's own affair.
      if (this.#projection !== undefined) this.#setProjection(undefined);
      void this.#rebuild(`a commit failed: ${formatError(error)}`);
    }
  }

  /** Reads everything anew from SQL, after what is being committed. */
  async #rebuild(why: string): Promise<void> {
    await this.alone(async () => {
      for (let failures = 0; this.#lease !== undefined; failures++) {
        try {
          await this.#load(why);
          return;
        } catch (error) {
          logRetry(this.#options.log, error, "could not rebuild the placement projection");
          await sleep(Math.min(2_000, 100 * 2 ** failures));
        }
      }
    });
  }

  async #load(why: string): Promise<void> {
    const { store, zone, log } = this.#options;
    const late: ((projection: Projection) => void)[] = [];
    this.#lettingGo = late;
    try {
      const [hosts, placed, meanwhile, addresses] = await store.read((db) =>
        Promise.all([hostRead(db, { zone }), placedLoad(db, zone), meanwhileLoad(db, zone), addressesInUse(db, zone)]),
      );
      const projection = new Projection(new AddressBook(addresses), hosts, placed, meanwhile);
      for (const change of late) change(projection);
      if (this.#lease !== undefined) this.#setProjection(projection);
      log.info({ why, hosts: hosts.length, instances: placed.length }, "placement projection built");
    } finally {
      this.#lettingGo = undefined;
    }
  }

  #setProjection(projection: Projection | undefined): void {
    this.#projection = projection;
    if (projection !== undefined) this.#ready.resolve();
    else this.#ready = Promise.withResolvers();
  }
}
