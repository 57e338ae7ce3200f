/**
 * Who has room: the zone's hosts, what is taken on each, members of groups, and free addresses, in memory. Only the holder of the
 * zone's lease keeps one, and only it places; it is rebuilt from SQL whenever it may be wrong (a fresh lease, a commit whose
 * outcome is unknown, a digest that differs), so nothing in it needs saving or repairing.
 */
import {
  addRoom,
  choose,
  emptyRoom,
  fits,
  hasRoom,
  memoryOf,
  roomOf,
  type Capacity,
  type Choice,
  type PlacementHost,
  type Room,
} from "../../core/placement.ts";
import type { Amounts } from "../../core/quotas.ts";
import { instanceTypes } from "../../core/instance-types.ts";
import type { AccountId, GroupId, HostId, InstanceId, MigrationId } from "../../lib/ids.ts";
import type { HostRead } from "../store/hosts.ts";
import type { MeanwhileRow, PlacedRow } from "../store/placement-load.ts";
import { AddressBook } from "./addresses.ts";

export interface Claim {
  id: InstanceId;
  accountId: AccountId;
  zone: string;
  room: Room;
  dataDiskGiB: number;
  group: { id: GroupId; affinity: number } | null;
  not: readonly HostId[];
}

interface Holding {
  accountId: AccountId;
  hostId: HostId | null;
  groupId: GroupId | null;
  room: Room;
}

/** What an instance that moves takes beside its {@link Holding}: at the target, and once it is that one's, at the source. */
type Meanwhile = Pick<MeanwhileRow, "instanceId" | "hostId" | "groupId" | "room">;

class Host implements PlacementHost {
  readonly id: HostId;
  zone: string | null = null;
  /** The joining that its certificates are of. */
  joining: string | null = null;
  open = false;
  /** It would take instances, as far as is known, but is not connected. */
  away = false;
  capacity: Capacity | null = null;
  used: Room = emptyRoom;
  /** What claims took of `capacity` for data disks since SQL was last asked for those. */
  readonly #claimedDataGiB = new Map<InstanceId, number>();
  readonly #members = new Map<GroupId, number>();

  constructor(id: HostId) {
    this.id = id;
  }

  members(group: GroupId): number {
    return this.#members.get(group) ?? 0;
  }

  /** Takes (`sign` 1) or gives back (-1) the room of one instance. */
  account(holding: Pick<Holding, "room" | "groupId">, sign: 1 | -1): void {
    this.used = addRoom(this.used, holding.room, sign);
    if (holding.groupId === null) return;
    this.#members.set(holding.groupId, this.members(holding.groupId) + sign);
  }

  claimData(id: InstanceId, diskGiB: number): void {
    if (diskGiB === 0) return;
    this.#claimedDataGiB.set(id, diskGiB);
    this.#offerDisk(-diskGiB);
  }

  /** A claim that came to nothing; what was read from SQL since knows nothing of it. */
  unclaimData(id: InstanceId): void {
    const diskGiB = this.#claimedDataGiB.get(id);
    if (diskGiB === undefined) return;
    this.#claimedDataGiB.delete(id);
    this.#offerDisk(diskGiB);
  }

  /** Capacity as SQL has it, all data disks that are committed taken off. */
  offer(capacity: Capacity): void {
    this.capacity = capacity;
    this.#claimedDataGiB.clear();
  }

  #offerDisk(moreGiB: number): void {
    if (this.capacity !== null) this.capacity = { ...this.capacity, diskGiB: this.capacity.diskGiB + moreGiB };
  }
}

export class Projection {
  readonly addresses: AddressBook;
  readonly #hosts = new Map<HostId, Host>();
  readonly #held = new Map<InstanceId, Holding>();
  /** By migration: it outlives its instance where that is ended before the former host has let go. */
  readonly #meanwhile = new Map<MigrationId, Meanwhile>();
  readonly #perAccount = new Map<AccountId, { instances: number; vcpus: number; memoryGiB: number }>();

  constructor(
    addresses: AddressBook,
    hosts: readonly HostRead[],
    placed: readonly PlacedRow[],
    meanwhile: readonly MeanwhileRow[] = [],
  ) {
    this.addresses = addresses;
    this.updateHosts(hosts);
    for (const { id, accountId, hostId, groupId, room } of placed) {
      this.#take(id, { accountId, hostId, groupId, room });
    }
    for (const { id, ...one } of meanwhile) this.#takeMeanwhile(id, one);
  }

  /**
   * Hosts joined, came, went, or offer something else; what is taken on them stays as it is known here. True if one has joined since
   * the last time: it is about to connect.
   */
  updateHosts(hosts: readonly HostRead[]): boolean {
    let joined = false;
    for (const { row, connected, dataDiskGiB } of hosts) {
      const host = this.#host(row.id);
      host.zone = row.removed_at === null ? row.zone : null;
      joined ||= host.zone !== null && host.joining !== row.certificate_serial;
      host.joining = row.certificate_serial;
      const isBroken = row.readiness?.checks.some(({ level }) => level === "error") ?? false;
      const takes = !isBroken && !row.cordoned && row.removed_at === null;
      host.open = takes && connected;
      host.away = takes && !connected;
      if (row.inventory === null) continue;
      host.offer({
        overcommit: row.overcommit_cpu ?? 1,
        vcpus: Math.floor(row.inventory.cores * (row.overcommit_cpu ?? 1)),
        dedicated: row.inventory.offers?.dedicated ?? 0,
        memoryMiB: Math.floor(row.inventory.memoryMiB * (row.overcommit_memory ?? 1)),
        pages2MiB: row.inventory.offers?.pages2MiB ?? 0,
        pages1GiB: row.inventory.offers?.pages1GiB ?? 0,
        diskGiB: row.inventory.diskGiB - dataDiskGiB,
      });
    }
    return joined;
  }

  /** How many hosts that are out of reach have room for one of these, or have not said yet what they have. */
  away(zone: string, room: Room): number {
    const away = [...this.#hosts.values()].filter((host) => host.away && host.zone === zone);
    return away.filter(({ capacity, used }) => capacity === null || hasRoom(capacity, used, room)).length;
  }

  /** Finds a host and takes the room there at once, or says why there is none. */
  claim(claim: Claim): Choice {
    const { id, accountId, room, dataDiskGiB, group } = claim;
    const all = { ...room, diskGiB: room.diskGiB + dataDiskGiB };
    const choice = choose(this.#hosts.values(), { ...claim, room: all });
    if ("host" in choice) {
      this.#take(id, { accountId, hostId: choice.host, groupId: group?.id ?? null, room });
      // Until the hosts are read again, which tells of data disks from SQL.
      this.#host(choice.host).claimData(id, dataDiskGiB);
    }
    return choice;
  }

  /** Forgets an instance that is over, or a claim that was not committed. */
  drop(id: InstanceId): void {
    const holding = this.#held.get(id);
    if (holding === undefined) return;
    this.leave(id);
    this.#held.delete(id);
    this.#count(holding, -1);
  }

  /** Nothing of the instance is on its host any more; it is still one of its account's. */
  leave(id: InstanceId): void {
    const holding = this.#held.get(id);
    if (holding === undefined || holding.hostId === null) return;
    const host = this.#host(holding.hostId);
    host.account(holding, -1);
    host.unclaimData(id);
    holding.hostId = null;
  }

  /** Takes room for a move at a host other than its own, a certain one or any (null). */
  claimMove(
    id: MigrationId,
    instanceId: InstanceId,
    {
      zone,
      to,
      group,
      dataDiskGiB,
      not,
    }: Pick<Claim, "zone" | "group" | "dataDiskGiB" | "not"> & { to: HostId | null },
  ): Choice {
    const holding = this.#held.get(instanceId);
    if (holding === undefined || holding.hostId === null) return { refused: "no_host" };
    const hosts = [...this.#hosts.values()].filter((host) => to === null || host.id === to);
    const { room } = holding;
    const all = { ...room, diskGiB: room.diskGiB + dataDiskGiB };
    const choice = choose(hosts, { zone, room: all, group, not: [holding.hostId, ...not] });
    if ("host" in choice) {
      this.#takeMeanwhile(id, { instanceId, hostId: choice.host, groupId: group?.id ?? null, room });
      this.#host(choice.host).claimData(instanceId, dataDiskGiB);
    }
    return choice;
  }

  /** The instance is the target's; at the source it takes room until the move has ended. Told twice it is the same. */
  moved(id: MigrationId, { source, target }: { source: HostId; target: HostId }): void {
    const meanwhile = this.#meanwhile.get(id);
    if (meanwhile === undefined) return;
    const holding = this.#held.get(meanwhile.instanceId);
    if (holding !== undefined) this.#take(meanwhile.instanceId, { ...holding, hostId: target });
    this.endMove(id);
    this.#takeMeanwhile(id, { ...meanwhile, hostId: source });
  }

  /** The other of the two hosts has nothing of it, or the claim was not committed. */
  endMove(id: MigrationId): void {
    const meanwhile = this.#meanwhile.get(id);
    if (meanwhile === undefined) return;
    const host = this.#host(meanwhile.hostId);
    host.account(meanwhile, -1);
    host.unclaimData(meanwhile.instanceId);
    this.#meanwhile.delete(id);
  }

  /** Its system disk was made larger. */
  setDisk(id: InstanceId, diskGiB: number): void {
    const holding = this.#held.get(id);
    if (holding === undefined) return;
    if (holding.hostId !== null) this.#host(holding.hostId).account(holding, -1);
    holding.room = { ...holding.room, diskGiB };
    if (holding.hostId !== null) this.#host(holding.hostId).account(holding, 1);
  }

  /**
   * Makes an instance a member of this group and of no other, where it is. Returns how to take that back, or undefined where its host
   * has as many members as the group allows already.
   */
  regroup(id: InstanceId, group: { id: GroupId; affinity: number } | null): (() => void) | undefined {
    const holding = this.#held.get(id);
    if (holding === undefined || holding.groupId === (group?.id ?? null)) return () => undefined;
    const moving = [...this.#meanwhile.values()].filter(({ instanceId }) => instanceId === id);
    const takes = [holding, ...moving];
    const hosts = takes.flatMap(({ hostId }) => (hostId === null ? [] : [this.#host(hostId)]));
    if (group !== null && hosts.some((host) => host.members(group.id) >= group.affinity)) return undefined;
    const before = holding.groupId;
    const put = (groupId: GroupId | null): void => {
      for (const one of takes) {
        const host = one.hostId === null ? undefined : this.#host(one.hostId);
        host?.account(one, -1);
        one.groupId = groupId;
        host?.account(one, 1);
      }
    };
    put(group?.id ?? null);
    return () => put(before);
  }

  /** What the instance takes, wherever it is. */
  roomOf(id: InstanceId): Room | undefined {
    return this.#held.get(id)?.room;
  }

  /** Takes `type` in place of what it has, on the same host; its disk stays. False, and nothing changed, if it does not fit there. */
  resize(id: InstanceId, type: Room): boolean {
    const holding = this.#held.get(id);
    if (holding === undefined) return false;
    const { hostId } = holding;
    const room = { ...type, diskGiB: holding.room.diskGiB };
    if (hostId !== null) {
      const { capacity, used } = this.#host(hostId);
      if (capacity === null || !hasRoom(capacity, addRoom(used, holding.room, -1), room)) return false;
    }
    this.#take(id, { ...holding, room });
    return true;
  }

  /** Puts back what {@link resize} changed. */
  restore(id: InstanceId, type: Room): void {
    const holding = this.#held.get(id);
    if (holding !== undefined) this.#take(id, { ...holding, room: { ...type, diskGiB: holding.room.diskGiB } });
  }

  /** The host on which room is taken for it. */
  hostOf(id: InstanceId): HostId | undefined {
    return this.#held.get(id)?.hostId ?? undefined;
  }

  /** What counts against the account's quotas, wherever it is. */
  usedBy(account: AccountId): Amounts {
    return this.#perAccount.get(account) ?? nothing;
  }

  /** How many more of each type would fit now, each alone. */
  room(zone: string, diskGiB: number): Map<string, number> {
    const open = [...this.#hosts.values()].flatMap((host) => {
      const { capacity, used } = host;
      return host.open && host.zone === zone && capacity !== null ? [{ capacity, used }] : [];
    });
    return new Map(
      instanceTypes.map(({ name, vcpus, memoryGiB, promised }) => {
        const ask = roomOf({ vcpus, memoryMiB: memoryGiB * 1024, diskGiB }, promised);
        return [name, open.reduce((sum, { capacity, used }) => sum + fits(capacity, used, ask), 0)];
      }),
    );
  }

  /** What it believes is taken, host by host, to be compared with SQL. */
  digest(): Map<HostId, string> {
    return new Map([...this.#hosts.values()].map(({ id, used }) => [id, digestOf(used)]));
  }

  #take(id: InstanceId, holding: Holding): void {
    this.drop(id);
    this.#held.set(id, holding);
    this.#count(holding, 1);
    if (holding.hostId !== null) this.#host(holding.hostId).account(holding, 1);
  }

  #takeMeanwhile(id: MigrationId, one: Meanwhile): void {
    this.#meanwhile.set(id, one);
    this.#host(one.hostId).account(one, 1);
  }

  #count({ accountId, room }: Holding, sign: 1 | -1): void {
    const used = this.#perAccount.get(accountId) ?? { ...nothing };
    const one = quotaOf(room, sign);
    used.instances += one.instances;
    used.vcpus += one.vcpus;
    used.memoryGiB += one.memoryGiB;
    this.#perAccount.set(accountId, used);
  }

  #host(id: HostId): Host {
    let host = this.#hosts.get(id);
    if (host === undefined) this.#hosts.set(id, (host = new Host(id)));
    return host;
  }
}

const nothing = { instances: 0, vcpus: 0, memoryGiB: 0 };

/** What so many instances of this size count. */
export function quotaOf(room: Room, count: number): { instances: number; vcpus: number; memoryGiB: number } {
  const vcpus = room.vcpus + room.dedicated;
  return { instances: count, vcpus: count * vcpus, memoryGiB: (count * memoryOf(room)) / 1024 };
}

export function digestOf(used: Room): string {
  const { vcpus, dedicated, memoryMiB, pages2MiB, pages1GiB, diskGiB } = used;
  return [vcpus, dedicated, memoryMiB, pages2MiB, pages1GiB, diskGiB].join("/");
}
