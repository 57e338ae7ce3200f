/**
 * Free addresses of one subnet. They are given out in a circle, so that one that was just released rests for as long as the range
 * allows: a client that still remembers the former owner should not meet the new one. SQL's unique index has the last word.
 */
import { ipToNumber, numberToIp, usableRange, type AddressRange } from "../../core/addresses.ts";

export class AddressPool {
  readonly #range: AddressRange;
  readonly #taken = new Set<number>();
  #next: number;

  constructor(cidr: string, reserved: number, taken: Iterable<string>) {
    this.#range = usableRange(cidr, reserved);
    for (const ip of taken) this.#taken.add(ipToNumber(ip));
    const highest = [...this.#taken].reduce((max, value) => Math.max(max, value), this.#range.first - 1);
    this.#next = this.#wrap(highest + 1);
  }

  /** A free address, taken at once; undefined when there is none. */
  take(): string | undefined {
    for (let tries = this.#range.last - this.#range.first + 1; tries > 0; tries--) {
      const value = this.#next;
      this.#next = this.#wrap(value + 1);
      if (this.#taken.has(value)) continue;
      this.#taken.add(value);
      return numberToIp(value);
    }
    return undefined;
  }

  release(ip: string): void {
    this.#taken.delete(ipToNumber(ip));
  }

  #wrap(value: number): number {
    return value > this.#range.last || value < this.#range.first ? this.#range.first : value;
  }
}
