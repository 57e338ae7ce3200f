/** Blocks of addresses: what is one, what is inside of what, and the addresses that are given out, over any input. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  blockOf,
  blockText,
  contains,
  ipToNumber,
  isIp,
  isSubnetSize,
  isVpcBlock,
  looseBlock,
  netmask,
  numberToIp,
  overlap,
  parseBlock,
  sizeOf,
  usableRange,
} from "./addresses.ts";

const address = fc.nat({ max: 2 ** 32 - 1 });
const bits = fc.integer({ min: 0, max: 32 });
const block = fc.tuple(address, bits).map(([value, length]) => {
  const size = 2 ** (32 - length);
  return blockOf(blockText({ first: Math.floor(value / size) * size, bits: length }));
});

describe("a block", () => {
  it.each([
    ["0.0.0.0/0", "0.0.0.0"],
    ["10.0.0.0/8", "255.0.0.0"],
    ["10.1.0.0/20", "255.255.240.0"],
    ["10.1.2.3/32", "255.255.255.255"],
  ])("%s has the mask %s", (cidr, mask) => expect(netmask(cidr)).toBe(mask));
  it("is written one way, and read back from it", () =>
    fc.assert(
      fc.property(block, (each) => {
        expect(parseBlock(blockText(each))).toEqual(each);
        expect(sizeOf(each)).toBe(2 ** (32 - each.bits));
      }),
    ));

  it("has no host bits; with them it is read only where that is said to be meant", () =>
    fc.assert(
      fc.property(address, bits, (value, length) => {
        const text = `${numberToIp(value)}/${length}`;
        const size = 2 ** (32 - length);
        expect(parseBlock(text) !== undefined).toBe(value % size === 0);
        const loose = looseBlock(text);
        expect(loose?.first).toBe(value - (value % size));
        expect(loose?.bits).toBe(length);
      }),
    ));

  it.each([
    "",
    "10.0.0.0",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/08",
    "010.0.0.0/8",
    "10.0.0/8",
    "10.0.0.0/8/8",
    " 10.0.0.0/8",
    "10.0.0.0/8 ",
    "256.0.0.0/8",
    "0x0a.0.0.0/8",
    "::/0",
  ])("is not %j", (text) => expect(parseBlock(text)).toBeUndefined());

  it("reads any text without an error", () =>
    fc.assert(
      fc.property(fc.string(), (text) => {
        const parsed = parseBlock(text);
        expect(parsed === undefined ? text : blockText(parsed)).toBe(text);
        expect(isIp(text) ? numberToIp(ipToNumber(text)) : text).toBe(text);
      }),
    ));

  it("overlaps another exactly when one of the two is inside of the other", () =>
    fc.assert(
      fc.property(block, block, (a, b) => {
        expect(overlap(a, b)).toBe(contains(a, b) || contains(b, a));
        expect(overlap(a, b)).toBe(overlap(b, a));
        expect(contains(a, a)).toBe(true);
      }),
    ));
});

describe("what may be a VPC or a subnet", () => {
  it.each(["10.0.0.0/12", "10.255.255.240/28", "172.16.0.0/12", "192.168.0.0/16", "10.1.2.0/24"])("%s", (text) =>
    expect(isVpcBlock(blockOf(text))).toBe(true),
  );
  it.each([
    "10.0.0.0/8",
    "10.0.0.0/29",
    "11.0.0.0/16",
    "172.32.0.0/16",
    "192.168.0.0/15",
    "169.254.0.0/16",
    "0.0.0.0/0",
  ])("not %s", (text) => expect(isVpcBlock(looseBlock(text) ?? blockOf(text))).toBe(false));
  it("has room for an instance behind what is reserved", () =>
    fc.assert(
      fc.property(block.filter(isSubnetSize), (each) => {
        const range = usableRange(blockText(each), 2);
        expect(contains(each, range)).toBe(true);
        expect(sizeOf(range)).toBe(sizeOf(each) - 3);
        expect(sizeOf(range)).toBeGreaterThanOrEqual(13);
      }),
    ));
});
