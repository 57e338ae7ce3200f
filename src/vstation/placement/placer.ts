/**
 * The single writer of placements in a zone: what others ask of it. New instances are placed and committed together (group-commit.ts),
 * patiently with hosts that are on their way (host-patience.ts); what changes for one that is placed already is claimed and committed
 * here, alone. All of it is claimed in one projection (projection-keeper.ts), by whoever holds the zone's lease.
 *
 * A change claims in the projection, commits under the lease's epoch, and takes its claim back if that failed. Instances let go of
 * things at any time: that is true already when it is told, and needs no turn.
 */
import { crashPoint } from "../../lib/crash-point.ts";
import { failure } from "../../core/failure-codes.ts";
import { addRoom, type Choice, type Room } from "../../core/placement.ts";
import { exceeded, exceededText, type Limits } from "../../core/quotas.ts";
import type { Instance } from "../../core/wanted.ts";
import type { AccountId, GroupId, HostId, InstanceId, MigrationId, SubnetId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { Reader, Store, Tx } from "../store/database.ts";
import { groupAffinity } from "../store/groups.ts";
import { instanceMove, type Acceptance } from "../store/instance-insert.ts";
import { zoneFence } from "../store/zone.ts";
import type { SubnetRange } from "./addresses.ts";
import { GroupCommit } from "./group-commit.ts";
import { HostPatience } from "./host-patience.ts";
import type { Lease } from "./lease.ts";
import type { PlaceRequest } from "./place-request.ts";
import { ProjectionKeeper } from "./projection-keeper.ts";
import { quotaOf, type Projection } from "./projection.ts";
import { noRoomToMove } from "./refusals.ts";
import type { Turn } from "./turn.ts";

export interface PlacerOptions {
  store: Store;
  zone: string;
  log: Log;
  /** Instances have been committed whose operations have this deadline (ms) at the earliest. */
  onAccepted: (deadline: number) => void;
}

/** `avoid`: hosts that are taken only where there is no other. */
export interface MoveAsk {
  readonly id: MigrationId;
  readonly instanceId: InstanceId;
  readonly groupId: GroupId | null;
  readonly to: HostId | null;
  readonly avoid: readonly HostId[];
  /** What its data disks take of its host's own storage. */
  readonly dataDiskGiB: number;
}

export class Placer {
  readonly #options: PlacerOptions;
  readonly #keeper: ProjectionKeeper;
  readonly #requests: GroupCommit;
  readonly #patience = new HostPatience(() => this.refreshHosts());

  constructor(options: PlacerOptions) {
    this.#options = options;
    const onHosts = (joined: boolean): void => {
      if (joined) this.#patience.renew();
      this.#patience.hostsChanged();
    };
    this.#keeper = new ProjectionKeeper({ ...options, onHosts });
    this.#requests = new GroupCommit({ ...options, keeper: this.#keeper });
  }

  /** The zone's lease is ours from now on: the projection is built, then requests are served. */
  begin(lease: Lease): void {
    this.#patience.renew();
    this.#keeper.begin(lease);
  }

  end(): void {
    this.#keeper.end();
  }

  /** Requests that no commit has been begun for. */
  get waiting(): number {
    return this.#requests.waiting;
  }

  /**
   * Places and commits; resolves with what was committed. Throws the failures of {@link PlaceRequest}'s checks; that there is no room only
   * when hosts that may have some, and are still joining or dialling in, have had a moment for it.
   */
  place(request: PlaceRequest): Promise<Acceptance> {
    return this.#patience.during(() => this.#requests.place(request));
  }

  /** Gives an instance that was released by its former host a new one. False when no host has room. */
  async relocate(
    id: InstanceId,
    facts: Instance,
    room: Room,
    accountId: AccountId,
    groupId: GroupId | null,
  ): Promise<boolean> {
    await this.#keeper.whenReady();
    return this.#keeper.alone(async () => {
      const { zone, store } = this.#options;
      const group = await groupOf(store, groupId);
      const { projection, epoch } = this.#keeper.current();
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
        this.#keeper.afterFailedCommit(error);
        throw error;
      }
    });
  }

  /**
   * Takes room for a move of a running guest, at a certain host or at the one where it fits best, if its turn has come; `commit` writes
   * it down (null: it is to wait, and no room is taken), and fences itself between its own locks on instances and on hosts. Throws
   * InsufficientCapacity.
   */
  async migrate<T>(
    move: MoveAsk,
    turnOf: (db: Reader) => Promise<Turn>,
    commit: (tx: Tx, fence: () => Promise<unknown>, target: HostId | null) => Promise<T>,
  ): Promise<T> {
    await this.#keeper.whenReady();
    return this.#keeper.alone(async () => {
      const { zone, store } = this.#options;
      const { id, groupId } = move;
      const group = await groupOf(store, groupId);
      const turn = await store.read(turnOf);
      const { projection, epoch } = this.#keeper.current();
      const target = targetOf(projection, zone, move, group, turn);
      try {
        crashPoint("placement.migrate.claimed");
        return await store.transaction((tx) => commit(tx, () => zoneFence(tx, zone, epoch), target));
      } catch (error) {
        projection.endMove(id);
        this.#keeper.afterFailedCommit(error);
        throw error;
      }
    });
  }

  /** Where a move would go now; nothing is taken. */
  async wouldMove(move: Omit<MoveAsk, "avoid">): Promise<Choice> {
    await this.#keeper.whenReady();
    return this.#keeper.alone(async () => {
      const { zone, store } = this.#options;
      const { id, instanceId, groupId, to, dataDiskGiB } = move;
      const group = await groupOf(store, groupId);
      const { projection } = this.#keeper.current();
      const choice = projection.claimMove(id, instanceId, { zone, to, group, dataDiskGiB, not: [] });
      projection.endMove(id);
      return choice;
    });
  }

  /** An instance is the target's from now on; at the source it still takes room. */
  moved(id: MigrationId, hosts: { source: HostId; target: HostId }): void {
    this.#keeper.letGo((projection) => projection.moved(id, hosts));
  }

  /** A move is over: nothing of the instance is at the other of the two hosts. */
  endMove(id: MigrationId): void {
    this.#keeper.letGo((projection) => projection.endMove(id));
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
    await this.#keeper.whenReady();
    await this.#keeper.alone(async () => {
      const { projection } = this.#keeper.current();
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
        this.#keeper.afterFailedCommit(error);
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
    await this.#keeper.whenReady();
    return this.#keeper.alone(async () => {
      const { zone, store } = this.#options;
      const { projection, epoch } = this.#keeper.current();
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
        this.#keeper.afterFailedCommit(error);
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
    await this.#keeper.whenReady();
    return this.#keeper.alone(async () => {
      const { zone, store } = this.#options;
      const { projection, epoch } = this.#keeper.current();
      const taken = projection.addresses.takeEach(subnet, asked);
      const release = (ips: readonly string[]) => ips.forEach((ip) => projection.addresses.release(subnet.id, ip));
      try {
        crashPoint("placement.readdress.claimed");
        const { used, result } = await store.transaction((tx) => commit(tx, () => zoneFence(tx, zone, epoch), taken));
        release(taken.filter((ip) => !used.has(ip)));
        return result;
      } catch (error) {
        release(taken);
        this.#keeper.afterFailedCommit(error);
        throw error;
      }
    });
  }

  /** An instance has let go of an address that is not its own any more, or never came to be. */
  releaseAddress(subnetId: SubnetId, ip: string): void {
    this.#keeper.letGo((projection) => projection.addresses.release(subnetId, ip));
  }

  /** An instance is over: its room and address are free again. */
  drop(id: InstanceId, subnetId: SubnetId, ip: string): void {
    this.#keeper.drop(id, subnetId, ip);
  }

  /** Nothing of the instance is left on its host. */
  leave(id: InstanceId): void {
    this.#keeper.letGo((projection) => projection.leave(id));
  }

  /** The system disk of an instance takes so much of its host from now on. */
  setDisk(id: InstanceId, diskGiB: number): void {
    this.#keeper.letGo((projection) => projection.setDisk(id, diskGiB));
  }

  /** How many more instances of each type would fit. */
  async room(diskGiB: number): Promise<Map<string, number>> {
    await this.#keeper.whenReady();
    return this.#keeper.current().projection.room(this.#options.zone, diskGiB);
  }

  /** Hosts changed: reads what they offer again. Whoever asks for room from now on waits for it. */
  refreshHosts(): Promise<void> {
    return this.#keeper.refreshHosts();
  }

  /** Compares what is believed to be taken with SQL, which is read anew when they differ; true if they agreed. */
  verify(): Promise<boolean> {
    return this.#keeper.verify();
  }
}

async function groupOf(store: Store, id: GroupId | null): Promise<{ id: GroupId; affinity: number } | null> {
  return id === null ? null : { id, affinity: await store.read((db) => groupAffinity(db, id)) };
}

/** Where room is taken for it now; null: it waits for its turn, or for a host that takes others at present. */
function targetOf(
  projection: Projection,
  zone: string,
  { id, instanceId, to, avoid, dataDiskGiB }: MoveAsk,
  group: { id: GroupId; affinity: number } | null,
  turn: Turn,
): HostId | null {
  const full = turn.is === "now" ? turn.full : [];
  const claim = (not: readonly HostId[]) => projection.claimMove(id, instanceId, { zone, to, group, dataDiskGiB, not });
  const unclaimed = (): null => {
    projection.endMove(id);
    return null;
  };
  const others = to === null ? avoid : [];
  if (turn.is === "now") {
    const choice = claim([...full, ...others]);
    if ("host" in choice) return choice.host;
    if (others.length > 0) {
      // One that takes others at present is better than one where it has failed.
      if ("host" in claim(others)) return unclaimed();
      const former = claim(full);
      if ("host" in former) return former.host;
    }
  }
  const later = claim([]);
  if (!("host" in later)) throw noRoomToMove(later.refused, to);
  return unclaimed();
}
