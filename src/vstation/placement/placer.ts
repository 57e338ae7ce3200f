/**
 * The single writer of placements in a zone. Requests that arrive while a commit is on its way wait together and are placed and
 * committed together (group commit), so the number of commits per second does not bound the number of requests.
 *
 * Order of things for one batch: claim room and addresses in the projection (memory, no await), commit everything in one
 * transaction that checks the lease's epoch, answer. Claims of a commit that failed are dropped again; when nobody can say
 * whether it took place, the projection is rebuilt from SQL before the next one. What can race: another replica takes the lease
 * (the commit is refused by its epoch and everyone is told to ask again), a key or group is deleted meanwhile (a foreign key
 * refuses; then the batch is committed request by request so that only the culprit fails).
 */
import { crashPoint } from "../../lib/crash-point.ts";
import { failure, type CapacityReason } from "../../core/failure-codes.ts";
import { addRoom, type Room } from "../../core/placement.ts";
import { exceeded, exceededText, type Limits } from "../../core/quotas.ts";
import type { Instance } from "../../core/wanted.ts";
import { formatError, isFailure } from "../../lib/errors.ts";
import { newId, type AccountId, type GroupId, type InstanceId, type SubnetId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { sleep } from "../../lib/retry.ts";
import { isCommitUnknown, logRetry, violatedConstraint, type Store, type Tx } from "../store/database.ts";
import { groupAffinity } from "../store/groups.ts";
import { hostRead } from "../store/hosts.ts";
import { instanceInsert, instanceMove, type Acceptance } from "../store/instance-insert.ts";
import { addressesInUse, placedLoad } from "../store/placement-load.ts";
import { isFenced, zoneFence } from "../store/zone.ts";
import { AddressBook, type SubnetRange } from "./addresses.ts";
import type { Lease } from "./lease.ts";
import { digestOf, Projection, quotaOf } from "./projection.ts";
import type { Placed, PlaceRequest } from "./place-request.ts";
import { addressInUse, isForWantOfHosts, noRoom, type AddressReason } from "./refusals.ts";
import { Serial } from "./serial.ts";

interface Waiting {
  request: PlaceRequest;
  resolve: (acceptance: Acceptance) => void;
  reject: (error: unknown) => void;
}

interface Claimed extends Waiting {
  placed: Placed[];
  acceptance: Acceptance;
}

export interface PlacerOptions {
  store: Store;
  zone: string;
  log: Log;
  /** Instances have been committed whose operations have this deadline (ms) at the earliest. */
  onAccepted: (deadline: number) => void;
}

const batchInstances = 2_000;
/** How long a request waits for a placement that is just starting or changing hands. */
const readyMs = 5_000;
/**
 * How long hosts may take to dial in before there is said to be no room: all of them from when this VStation begins to place, and again
 * from when one has joined. In a zone that has had none for longer everybody is told so at once.
 */
const hostsBackMs = 15_000;
const idTries = 3;

export class Placer {
  readonly #options: PlacerOptions;
  readonly #serial = new Serial();
  #lease: Lease | undefined;
  #projection: Projection | undefined;
  /** Things let go of while the projection was being rebuilt; applied to the new one too. */
  #lettingGo: ((projection: Projection) => void)[] | undefined;
  #queue: Waiting[] = [];
  #draining = false;
  #ready = Promise.withResolvers<void>();
  #hostsChanged = Promise.withResolvers<void>();
  #hostsBackBy = 0;

  constructor(options: PlacerOptions) {
    this.#options = options;
  }

  /** The zone's lease is ours from now on: the projection is built, then requests are served. */
  begin(lease: Lease): void {
    this.#lease = lease;
    this.#hostsBackBy = performance.now() + hostsBackMs;
    void this.rebuild("the lease was taken");
  }

  end(): void {
    this.#lease = undefined;
    this.#setProjection(undefined);
  }

  /** Requests that no commit has been begun for. */
  get waiting(): number {
    return this.#queue.length;
  }

  /**
   * Places and commits; resolves with what was committed. Throws the failures of {@link PlaceRequest}'s checks; that there is no room only
   * when hosts that may have some, and are still joining or dialling in, have had a moment for it.
   */
  async place(request: PlaceRequest): Promise<Acceptance> {
    for (;;) {
      const { promise: changed } = this.#hostsChanged;
      try {
        return await this.#place(request);
      } catch (error) {
        const left = this.#hostsBackBy - performance.now();
        if (left <= 0 || !isForWantOfHosts(error)) throw error;
        await Promise.race([changed, sleep(left)]);
      }
    }
  }

  async #place(request: PlaceRequest): Promise<Acceptance> {
    await this.#whenReady();
    return new Promise((resolve, reject) => {
      this.#queue.push({ request, resolve, reject });
      if (!this.#draining) void this.#drain();
    });
  }

  /** Gives an instance that was released by its former host a new one. False when no host has room. */
  async relocate(
    id: InstanceId,
    facts: Instance,
    room: Room,
    accountId: AccountId,
    groupId: GroupId | null,
  ): Promise<boolean> {
    await this.#whenReady();
    return this.#serial.run(async () => {
      const { zone, store } = this.#options;
      const group =
        groupId === null ? null : { id: groupId, affinity: await store.read((db) => groupAffinity(db, groupId)) };
      const { projection, epoch } = this.#current();
      // Asked for twice, or the answer to the first commit was lost: its room is taken already and must not be given back.
      if (projection.hostOf(id) !== undefined) return true;
      const choice = projection.claim({ id, accountId, zone, room, dataDiskGiB: 0, group, not: facts.triedHosts });
      if (!("host" in choice)) return false;
      crashPoint("placement.relocate.claimed");
      const deadline = facts.operation?.deadline ?? Date.now();
      try {
        const moved = await store.transaction((tx) =>
          instanceMove(tx, zone, epoch, { id, hostId: choice.host, deadline }),
        );
        if (!moved) projection.leave(id);
        return true;
      } catch (error) {
        projection.leave(id);
        this.#afterFailedCommit(error);
        throw error;
      }
    });
  }

  /**
   * Puts instances into a group, or out of theirs, where they are; `commit` writes it down. Throws InsufficientCapacity where the
   * affinity does not allow it.
   */
  async regroup(
    ids: readonly InstanceId[],
    group: { id: GroupId; affinity: number } | null,
    commit: () => Promise<void>,
  ): Promise<void> {
    await this.#whenReady();
    await this.#serial.run(async () => {
      const { projection } = this.#current();
      const undo: (() => void)[] = [];
      try {
        for (const id of ids) {
          const back = projection.regroup(id, group);
          if (back === undefined) {
            throw failure("InsufficientCapacity", `the host of ${id} has as many members of the group as it may have`, {
              detail: { available: 0, reason: "group" },
            });
          }
          undo.push(back);
        }
        await commit();
      } catch (error) {
        for (const back of undo.toReversed()) back();
        this.#afterFailedCommit(error);
        throw error;
      }
    });
  }

  /**
   * Changes what an instance takes on its host; `commit` writes that down, and fences itself between its own locks on instances
   * and on hosts. Nobody is given what became free before that is done.
   */
  async resize<T>(
    id: InstanceId,
    accountId: AccountId,
    room: Room,
    limits: Limits,
    commit: (tx: Tx, fence: () => Promise<unknown>) => Promise<T>,
  ): Promise<T> {
    await this.#whenReady();
    return this.#serial.run(async () => {
      const { zone, store } = this.#options;
      const { projection, epoch } = this.#current();
      const before = projection.roomOf(id);
      if (before !== undefined) {
        const more = quotaOf(addRoom(room, before, -1), 1);
        const over = exceeded(limits, projection.usedBy(accountId), { ...more, instances: 0 });
        if (over !== undefined) throw failure("QuotaExceeded", exceededText(over), { detail: { ...over } });
        if (!projection.resize(id, room)) {
          throw failure("InsufficientCapacity", "its host has no room for this type", {
            detail: { reason: "no_room", available: 0 },
          });
        }
        crashPoint("placement.resize.claimed");
      }
      try {
        return await store.transaction((tx) => commit(tx, () => zoneFence(tx, zone, epoch)));
      } catch (error) {
        if (before !== undefined) projection.restore(id, before);
        this.#afterFailedCommit(error);
        throw error;
      }
    });
  }

  /**
   * Takes an address of the subnet for each that asks, a certain one or any (null); `commit` promises them to instances. Those that it
   * does not use are free again, and all of them if it fails.
   */
  async readdress<T>(
    subnet: SubnetRange,
    asked: readonly (string | null)[],
    commit: (
      tx: Tx,
      fence: () => Promise<number>,
      ips: readonly string[],
    ) => Promise<{ used: ReadonlySet<string>; result: T }>,
  ): Promise<T> {
    await this.#whenReady();
    return this.#serial.run(async () => {
      const { zone, store } = this.#options;
      const { projection, epoch } = this.#current();
      const taken = projection.addresses.takeEach(subnet, asked);
      const release = (ips: readonly string[]) => ips.forEach((ip) => projection.addresses.release(subnet.id, ip));
      try {
        crashPoint("placement.readdress.claimed");
        const { used, result } = await store.transaction((tx) => commit(tx, () => zoneFence(tx, zone, epoch), taken));
        release(taken.filter((ip) => !used.has(ip)));
        return result;
      } catch (error) {
        release(taken);
        this.#afterFailedCommit(error);
        throw error;
      }
    });
  }

  /** An instance has let go of an address that is not its own any more, or never came to be. */
  releaseAddress(subnetId: SubnetId, ip: string): void {
    this.#letGo((projection) => projection.addresses.release(subnetId, ip));
  }

  /** An instance is over: its room and address are free again. */
  drop(id: InstanceId, subnetId: SubnetId, ip: string): void {
    this.#letGo((projection) => {
      projection.drop(id);
      projection.addresses.release(subnetId, ip);
    });
  }

  /** Nothing of the instance is left on its host. */
  leave(id: InstanceId): void {
    this.#letGo((projection) => projection.leave(id));
  }

  /** The system disk of an instance takes so much of its host from now on. */
  setDisk(id: InstanceId, diskGiB: number): void {
    this.#letGo((projection) => projection.setDisk(id, diskGiB));
  }

  /** How many more instances of each type would fit. */
  async room(diskGiB: number): Promise<Map<string, number>> {
    await this.#whenReady();
    return this.#current().projection.room(this.#options.zone, diskGiB);
  }

  /** Hosts changed: reads what they offer again. */
  async refreshHosts(): Promise<void> {
    const hosts = await this.#options.store.read((db) => hostRead(db, { zone: this.#options.zone }));
    if (this.#projection?.updateHosts(hosts) === true) this.#hostsBackBy = performance.now() + hostsBackMs;
    this.#hostsChanged.resolve();
    this.#hostsChanged = Promise.withResolvers();
  }

  /** Compares the projection with SQL and rebuilds it when they differ; true if they agreed. */
  async verify(): Promise<boolean> {
    if (this.#projection === undefined) return true;
    const agreed = await this.#serial.run(async () => {
      const hosts = await this.#options.store.read((db) => hostRead(db, { zone: this.#options.zone }));
      const digest = this.#projection?.digest();
      return hosts.every(({ row, use }) => digest?.get(row.id) === digestOf(use));
    });
    if (!agreed) await this.rebuild("it differs from SQL");
    return agreed;
  }

  /** Reads everything anew from SQL, after what is being committed. */
  async rebuild(why: string): Promise<void> {
    await this.#serial.run(async () => {
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
      const [hosts, placed, addresses] = await store.read((db) =>
        Promise.all([hostRead(db, { zone }), placedLoad(db, zone), addressesInUse(db, zone)]),
      );
      const projection = new Projection(new AddressBook(addresses), hosts, placed);
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

  #letGo(change: (projection: Projection) => void): void {
    this.#lettingGo?.push(change);
    if (this.#projection !== undefined) change(this.#projection);
  }

  async #whenReady(): Promise<void> {
    if (this.#projection !== undefined) return;
    const late = sleep(readyMs).then(() => {
      throw failure("PlacementUnavailable", "no VStation is ready to place in this zone; ask again shortly");
    });
    await Promise.race([this.#ready.promise, late]);
  }

  #current(): { projection: Projection; epoch: number } {
    const epoch = this.#lease?.epoch;
    if (this.#projection === undefined || epoch === undefined) {
      throw failure("PlacementUnavailable", "placement is changing hands; ask again shortly");
    }
    return { projection: this.#projection, epoch };
  }

  async #drain(): Promise<void> {
    this.#draining = true;
    while (this.#queue.length > 0) await this.#serial.run(() => this.#batch());
    this.#draining = false;
  }

  async #batch(): Promise<void> {
    const claimed: Claimed[] = [];
    let instances = 0;
    while (this.#queue.length > 0 && instances < batchInstances) {
      const waiting = this.#queue.shift();
      if (waiting === undefined) break;
      const one = this.#claim(waiting);
      if (one === undefined) continue;
      claimed.push(one);
      instances += one.placed.length;
    }
    if (claimed.length > 0) await this.#commitTogether(claimed);
  }

  async #commitTogether(claimed: Claimed[]): Promise<void> {
    try {
      await this.#commit(claimed);
      for (const { resolve, acceptance } of claimed) resolve(acceptance);
    } catch (error) {
      if (claimed.length > 1 && isOneRequests(error)) return this.#commitEach(claimed);
      for (const one of claimed) this.#unclaim(one);
      this.#afterFailedCommit(error);
      for (const { reject } of claimed) reject(error);
    }
  }

  /** What a failure says about the projection waits for the last one: it is true of what the others claimed as well. */
  async #commitEach(claimed: readonly Claimed[]): Promise<void> {
    const errors: unknown[] = [];
    for (const one of claimed) {
      const error = await this.#commitAlone(one);
      if (error !== undefined) errors.push(error);
    }
    for (const error of errors) this.#afterFailedCommit(error);
  }

  /** Answers the request; returns the error that it was refused with. */
  async #commitAlone(one: Claimed): Promise<unknown> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#commit([one]);
        one.resolve(one.acceptance);
        return undefined;
      } catch (error) {
        const idTaken = /^(instance|operation)_(pkey|uuid_key|disk_id_key)$/.test(violatedConstraint(error) ?? "");
        this.#unclaim(one);
        if (!idTaken || attempt === idTries) {
          one.reject(error);
          return error;
        }
        const again = this.#claim(one);
        if (again === undefined) return undefined;
        one.placed = again.placed;
        one.acceptance = again.acceptance;
      }
    }
  }

  async #commit(claimed: readonly Claimed[]): Promise<void> {
    const { store, zone, onAccepted } = this.#options;
    const { epoch } = this.#current();
    const instances = claimed.flatMap(({ acceptance }) => acceptance.instances);
    const clientTokens = claimed.flatMap(({ acceptance }) => acceptance.clientTokens);
    await store.transaction((tx) => instanceInsert(tx, zone, epoch, { instances, clientTokens }, Date.now()));
    crashPoint("placement.batch.committed");
    onAccepted(Math.min(...instances.map(({ operation }) => operation.deadline)));
  }

  /** Takes room and addresses for one request; undefined when it has been answered already. */
  #claim(waiting: Waiting): Claimed | undefined {
    const { request, resolve, reject } = waiting;
    const placed: Placed[] = [];
    try {
      const { projection } = this.#current();
      const { accountId, zone, room, dataDiskGiB, group, limits } = request;
      const over = exceeded(limits, projection.usedBy(accountId), quotaOf(room, request.count));
      if (over !== undefined) throw failure("QuotaExceeded", exceededText(over), { detail: { ...over } });
      let refused: CapacityReason | AddressReason | undefined;
      while (placed.length < request.count && refused === undefined) {
        const id = newId("instance");
        const choice = projection.claim({ id, accountId, zone, room, dataDiskGiB, group, not: [] });
        if (!("host" in choice)) refused = choice.refused;
        else {
          const ip = projection.addresses.takeOne(request.subnet, request.addresses?.[placed.length] ?? null);
          if (ip === undefined) {
            refused = request.addresses === null ? "addresses" : "address_in_use";
            projection.drop(id);
          } else placed.push({ id, index: placed.length, hostId: choice.host, ip });
        }
      }
      if (refused === "address_in_use") throw addressInUse(request.addresses?.[placed.length]);
      if (refused !== undefined && placed.length < request.minCount)
        throw noRoom(refused, placed.length, request.minCount, projection.away(zone, room));
      if (request.dryRun) {
        this.#unclaim({ request, placed });
        resolve({ instances: [], clientTokens: [] });
        return undefined;
      }
      return { ...waiting, placed, acceptance: request.build(placed) };
    } catch (error) {
      this.#unclaim({ request, placed });
      reject(error);
      return undefined;
    }
  }

  #unclaim({ request, placed }: { request: PlaceRequest; placed: readonly Placed[] }): void {
    for (const { id, ip } of placed) this.drop(id, request.subnet.id, ip);
  }

  #afterFailedCommit(error: unknown): void {
    if (isFenced(error)) this.#lease?.lost();
    else if (isCommitUnknown(error) || violatedConstraint(error)?.startsWith("address_") === true) {
      // Nobody can say what was committed, or an address was in use that the projection took for free. Any other constraint
      // (a key or group that has just been deleted) is the request's own affair.
      if (this.#projection !== undefined) this.#setProjection(undefined);
      void this.rebuild(`a commit failed: ${formatError(error)}`);
    }
  }
}

/** Something of one request alone: what it names or its account is gone, or what it wants beside room is used up, or its account may have no more. The others need not fail with it. */
function isOneRequests(error: unknown): boolean {
  return violatedConstraint(error) !== undefined || isFailure(error, "not_found", "no_capacity", "limit");
}
