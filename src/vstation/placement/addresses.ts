/**
 * Free addresses of every subnet that has any in use. They are given out in a circle, so that one that was just released rests for as
 * long as the range allows: a client that still remembers the former owner should not meet the new one. SQL's unique index has the
 * last word.
 *
 * Only what is taken costs memory, so a /16 costs no more than its instances. What a subnet's range is comes with each request: the
 * subnets themselves are SQL's.
 */
import { ipToNumber, numberToIp, sizeOf, usableRange } from "../../core/addresses.ts";
import type { SubnetId } from "../../lib/ids.ts";
import { addressInUse, noRoom } from "./refusals.ts";

export interface SubnetRange {
  id: SubnetId;
  cidr: string;
  reserved: number;
}

export interface AddressInUse {
  subnetId: SubnetId;
  ip: string;
}

interface Pool {
  readonly taken: Set<number>;
  /** The highest address that has been given out in this round. */
  last: number;
}

export class AddressBook {
  readonly #pools = new Map<SubnetId, Pool>();

  constructor(inUse: Iterable<AddressInUse>) {
    for (const { subnetId, ip } of inUse) {
      const pool = this.#pool(subnetId);
      const value = ipToNumber(ip);
      pool.taken.add(value);
      pool.last = Math.max(pool.last, value);
    }
  }

  /** A free address, taken at once; undefined when there is none. */
  take({ id, cidr, reserved }: SubnetRange): string | undefined {
    const range = usableRange(cidr, reserved);
    const pool = this.#pool(id);
    for (let tries = Math.min(sizeOf(range), pool.taken.size + 1); tries > 0; tries--) {
      const next = pool.last + 1;
      const value = next > range.last || next < range.first ? range.first : next;
      pool.last = value;
      if (pool.taken.has(value)) continue;
      pool.taken.add(value);
      return numberToIp(value);
    }
    return undefined;
  }

  /** Takes this very address; false when somebody has it. */
  takeThis(subnetId: SubnetId, ip: string): boolean {
    const { taken } = this.#pool(subnetId);
    const value = ipToNumber(ip);
    if (taken.has(value)) return false;
    taken.add(value);
    return true;
  }

  /** A certain one, or any (null); undefined when it cannot be had. */
  takeOne(subnet: SubnetRange, wanted: string | null): string | undefined {
    if (wanted === null) return this.take(subnet);
    return this.takeThis(subnet.id, wanted) ? wanted : undefined;
  }

  /** An address for each that asks, a certain one or any (null); none is taken if one of them cannot be had. */
  takeEach(subnet: SubnetRange, asked: readonly (string | null)[]): string[] {
    const taken: string[] = [];
    try {
      for (const wanted of asked) {
        const ip = this.takeOne(subnet, wanted);
        if (ip === undefined) {
          throw wanted === null ? noRoom("addresses", taken.length, asked.length) : addressInUse(wanted);
        }
        taken.push(ip);
      }
      return taken;
    } catch (error) {
      for (const ip of taken) this.release(subnet.id, ip);
      throw error;
    }
  }

  release(subnetId: SubnetId, ip: string): void {
    const pool = this.#pools.get(subnetId);
    pool?.taken.delete(ipToNumber(ip));
  }

  #pool(id: SubnetId): Pool {
    let pool = this.#pools.get(id);
    if (pool === undefined) this.#pools.set(id, (pool = { taken: new Set(), last: -1 }));
    return pool;
  }
}
