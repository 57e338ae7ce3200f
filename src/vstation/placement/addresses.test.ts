/** The book of addresses against a plain model: nothing twice, nothing outside, everything until there is nothing left. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { ipToNumber, usableRange } from "../../core/addresses.ts";
import type { SubnetId } from "../../lib/ids.ts";
import { AddressBook, type SubnetRange } from "./addresses.ts";

const subnets: SubnetRange[] = [
  { id: "subnet-00000001" as SubnetId, cidr: "10.0.0.0/28", reserved: 2 },
  // The same range in another VPC.
  { id: "subnet-00000002" as SubnetId, cidr: "10.0.0.0/28", reserved: 2 },
  { id: "subnet-00000003" as SubnetId, cidr: "10.1.0.0/16", reserved: 10 },
];
const steps = fc.array(
  fc.record({
    do: fc.constantFrom("take", "takeThis", "release"),
    subnet: fc.constantFrom(...subnets),
    last: fc.integer({ min: 2, max: 14 }),
  }),
  { maxLength: 60 },
);

it("gives each address once, whatever came before", () =>
  fc.assert(
    fc.property(steps, (list) => {
      const book = new AddressBook([]);
      const held = new Map<SubnetId, Set<string>>(subnets.map(({ id }) => [id, new Set()]));
      for (const { do: what, subnet, last } of list) {
        const mine = held.get(subnet.id) ?? new Set();
        const { first, last: end } = usableRange(subnet.cidr, subnet.reserved);
        const named = subnet.cidr.replace("0/28", String(last)).replace("0.0/16", `0.${last}`);
        if (what === "release") {
          book.release(subnet.id, named);
          mine.delete(named);
          continue;
        }
        const isUsable = (ip: string): boolean => ipToNumber(ip) >= first && ipToNumber(ip) <= end;
        const free = what === "take" ? mine.size <= end - first : isUsable(named) && !mine.has(named);
        const taken =
          what === "take" ? book.take(subnet) : isUsable(named) && book.takeThis(subnet.id, named) ? named : undefined;
        expect(taken !== undefined).toBe(free);
        expect(taken === undefined || (isUsable(taken) && !mine.has(taken))).toBe(true);
        if (taken !== undefined) mine.add(taken);
      }
    }),
  ));

it("lets one that was released rest while others are free", () => {
  const subnet = subnets[0]!;
  const book = new AddressBook([{ subnetId: subnet.id, ip: "10.0.0.5" }]);
  expect(book.take(subnet)).toBe("10.0.0.6");
  book.release(subnet.id, "10.0.0.6");
  expect([1, 2, 3].map(() => book.take(subnet))).toEqual(["10.0.0.7", "10.0.0.8", "10.0.0.9"]);
});
