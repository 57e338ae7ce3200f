/**
 * Group commit of requests for new instances. Those that arrive while a commit is on its way wait together and are placed and committed
 * together, so the number of commits per second does not bound the number of requests.
 *
 * Order of things for one batch: claim room and addresses in the projection (memory, no await), commit everything in one
 * transaction that checks the lease's epoch, answer. Claims of a commit that failed are dropped again; when nobody can say
 * whether it took place, the projection is rebuilt from SQL before the next one. What can race: another replica takes the lease
 * (the commit is refused by its epoch and everyone is told to ask again), a key or group is deleted meanwhile (a foreign key
 * refuses; then the batch is committed request by request so that only the culprit fails).
 */
import { failure, type CapacityReason } from "../../core/failure-codes.ts";
import { exceeded, exceededText } from "../../core/quotas.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { isFailure } from "../../lib/errors.ts";
import { newId } from "../../lib/ids.ts";
import { violatedConstraint, type Store } from "../store/database.ts";
import { instanceInsert, type Acceptance } from "../store/instance-insert.ts";
import type { Placed, PlaceRequest } from "./place-request.ts";
import type { ProjectionKeeper } from "./projection-keeper.ts";
import { quotaOf } from "./projection.ts";
import { addressInUse, noRoom, type AddressReason } from "./refusals.ts";

interface Waiting {
  request: PlaceRequest;
  resolve: (acceptance: Acceptance) => void;
  reject: (error: unknown) => void;
}

interface Claimed extends Waiting {
  placed: Placed[];
  acceptance: Acceptance;
}

export interface GroupCommitOptions {
  store: Store;
  zone: string;
  keeper: ProjectionKeeper;
  /** Instances have been committed whose operations have this deadline (ms) at the earliest. */
  onAccepted: (deadline: number) => void;
}

const batchInstances = 2_000;
const idTries = 3;

export class GroupCommit {
  readonly #options: GroupCommitOptions;
  readonly #keeper: ProjectionKeeper;
  #queue: Waiting[] = [];
  #draining = false;

  constructor(options: GroupCommitOptions) {
    this.#options = options;
    this.#keeper = options.keeper;
  }

  /** Requests that no commit has been begun for. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Resolves with what was committed. Throws the failures of {@link PlaceRequest}'s checks. */
  async place(request: PlaceRequest): Promise<Acceptance> {
    await this.#keeper.whenReady();
    return new Promise((resolve, reject) => {
      this.#queue.push({ request, resolve, reject });
      if (!this.#draining) void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    this.#draining = true;
    while (this.#queue.length > 0) await this.#keeper.alone(() => this.#batch());
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
      this.#keeper.afterFailedCommit(error);
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
    for (const error of errors) this.#keeper.afterFailedCommit(error);
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
    const { epoch } = this.#keeper.current();
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
      const { projection } = this.#keeper.current();
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
    for (const { id, ip } of placed) this.#keeper.drop(id, request.subnet.id, ip);
  }
}

/** Something of one request alone: what it names or its account is gone, or what it wants beside room is used up, or its account may have no more. The others need not fail with it. */
function isOneRequests(error: unknown): boolean {
  return violatedConstraint(error) !== undefined || isFailure(error, "not_found", "no_capacity", "limit");
}
