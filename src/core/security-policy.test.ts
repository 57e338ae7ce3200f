/** Policies: ports as text, and the order after each change, over any lists. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { SecurityGroupId } from "../lib/ids.ts";
import {
  findPolicies,
  hasDuplicate,
  insertPolicies,
  firstPort,
  lastPort,
  parsePorts,
  portRangeLimit,
  portsText,
  removePolicies,
  type Policy,
} from "./security-policy.ts";

const port = fc.integer({ min: firstPort, max: lastPort });
const range = fc.tuple(port, port).map(([a, b]) => ({
  from: Math.min(a, b),
  to: Math.max(a, b),
}));
const ports = fc.option(fc.array(range, { minLength: 1, maxLength: portRangeLimit }));
const policy: fc.Arbitrary<Policy> = fc.record({
  action: fc.constantFrom("accept", "drop"),
  protocol: fc.constantFrom("tcp", "udp"),
  ports,
  peer: fc.constantFrom({ cidr: "10.0.0.0/8" }, { groupId: "sg-00000001" as SecurityGroupId }),
  description: fc.string(),
});
const policies = fc.array(policy, { maxLength: 20 });

describe("ports", () => {
  it("are read back from their text", () =>
    fc.assert(
      fc.property(ports, (given) => {
        expect(parsePorts(portsText(given))).toEqual(given);
      }),
    ));

  it.each([
    ["all", null],
    ["ALL", null],
    ["80", [{ from: 80, to: 80 }]],
    ["8000-8010", [{ from: 8000, to: 8010 }]],
    [
      "80, 443",
      [
        { from: 80, to: 80 },
        { from: 443, to: 443 },
      ],
    ],
  ])("%j", (text, expected) => expect(parsePorts(text)).toEqual(expected));

  it.each([
    "",
    "-",
    "80-",
    "-80",
    "90-80",
    "65536",
    "0",
    "0-80",
    "80,0",
    "80,",
    "ssh",
    "1e3",
    "80-90-100",
    Array(16).fill("1").join(","),
  ])("are not %j", (text) => expect(parsePorts(text)).toBeUndefined());
});

describe("the order", () => {
  it("after an addition has the new ones together where they were asked for, and the others as they were", () =>
    fc.assert(
      fc.property(policies, policies, fc.nat({ max: 30 }), (present, added, position) => {
        const next = insertPolicies(present, added, position);
        const at = Math.min(position, present.length);
        expect(next.slice(at, at + added.length)).toEqual(added);
        expect([...next.slice(0, at), ...next.slice(at + added.length)]).toEqual(present);
      }),
    ));

  it("after a removal is that of what is left", () =>
    fc.assert(
      fc.property(policies, fc.array(fc.integer({ min: -1, max: 20 }), { maxLength: 5 }), (present, positions) => {
        const next = removePolicies(present, positions);
        const possible = positions.every((one) => one >= 0 && one < present.length);
        const left = present.filter((_, index) => !positions.includes(index));
        expect(next).toEqual(possible ? left : undefined);
      }),
    ));

  it("is found again by what the policies say, not by how they are described", () =>
    fc.assert(
      fc.property(policies, fc.string(), (present, description) => {
        const named = present.map((one) => ({ ...one, description }));
        const found = findPolicies(present, named);
        expect(found).toBeDefined();
        expect(hasDuplicate(present) || found?.length === present.length).toBe(true);
      }),
    ));
});
