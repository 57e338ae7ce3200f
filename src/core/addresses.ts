/**
 * IPv4 arithmetic for VPCs and subnets, and the MACs of gateways and instances. Addresses are numbers from 0 to 2^32 - 1; a block is
 * written the one way that has no host bits ("10.0.0.0/8"), and {@link parseBlock} takes no other.
 */

import type { InstanceId } from "../lib/ids.ts";

export function ipToNumber(ip: string): number {
  return ip.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

export function numberToIp(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join(".");
}

const octet = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const ipPattern = new RegExp(`^${octet}(?:\\.${octet}){3}$`);

/** Four numbers from 0 to 255 without leading zeros: other readers take those for octal. */
export function isIp(text: string): boolean {
  return ipPattern.test(text);
}

/** A range of addresses, both ends in it. */
export interface AddressRange {
  first: number;
  last: number;
}

export interface Block extends AddressRange {
  bits: number;
}

/** The block that a text names; undefined for anything else, also for one with host bits set. */
export function parseBlock(cidr: string): Block | undefined {
  const [ip = "", bitsText, ...rest] = cidr.split("/");
  if (bitsText === undefined || rest.length > 0 || !isIp(ip) || !/^(?:\d|[12]\d|3[0-2])$/.test(bitsText))
    return undefined;
  const bits = Number(bitsText);
  const first = ipToNumber(ip);
  const size = 2 ** (32 - bits);
  return first % size === 0 ? { bits, first, last: first + size - 1 } : undefined;
}

/** The same, of a text that has been parsed before: one from our own tables. */
export function blockOf(cidr: string): Block {
  const block = parseBlock(cidr);
  if (block === undefined) throw new Error(`not a block of addresses: ${cidr}`);
  return block;
}

export function blockText({ first, bits }: Pick<Block, "first" | "bits">): string {
  return `${numberToIp(first)}/${bits}`;
}

/** An address or a block, as a block with its host bits cleared; undefined for anything else. */
export function looseBlock(text: string): Block | undefined {
  const [ip = "", bitsText = "32", ...rest] = text.split("/");
  if (rest.length > 0 || !isIp(ip) || !/^(?:\d|[12]\d|3[0-2])$/.test(bitsText)) return undefined;
  const bits = Number(bitsText);
  const size = 2 ** (32 - bits);
  const first = Math.floor(ipToNumber(ip) / size) * size;
  return { bits, first, last: first + size - 1 };
}

export function contains(outer: AddressRange, inner: AddressRange): boolean {
  return outer.first <= inner.first && inner.last <= outer.last;
}

export function overlap(a: AddressRange, b: AddressRange): boolean {
  return a.first <= b.last && b.first <= a.last;
}

export function sizeOf({ first, last }: AddressRange): number {
  return Math.max(0, last - first + 1);
}

/** A block's mask as its guests write it: "255.255.240.0". */
export function netmask(cidr: string): string {
  return numberToIp(2 ** 32 - sizeOf(blockOf(cidr)));
}

/** Addresses of a subnet that may be given out: without the reserved ones at its start and its broadcast address. */
export function usableRange(cidr: string, reserved: number): AddressRange {
  const { first, last } = blockOf(cidr);
  return { first: first + reserved, last: last - 1 };
}

/** The ranges that are nobody's in the Internet; a VPC lies in one of them. */
const privateBlocks = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"].map(blockOf);
const vpcBits = { fewest: 12, most: 28 };
const subnetBits = { fewest: 16, most: 28 };

/** May a VPC have this block? */
export function isVpcBlock(block: Block): boolean {
  const { fewest, most } = vpcBits;
  return block.bits >= fewest && block.bits <= most && privateBlocks.some((each) => contains(each, block));
}

/** May a subnet have a block of this size? */
export function isSubnetSize({ bits }: Block): boolean {
  return bits >= subnetBits.fewest && bits <= subnetBits.most;
}

/** A gateway's: the same on every host, and whenever its address is used again. */
export function macOfGateway(ip: string): string {
  const bytes = ip.split(".").map((part) => Number(part).toString(16).padStart(2, "0"));
  return ["02", "56", ...bytes].join(":");
}

/**
 * An instance's own for its life, whatever its address: systems know their network card by it. An id is a number of 42 bits (eight
 * digits of 36), and all of them are in it, so no two instances have the same; never one of {@link macOfGateway}'s.
 */
export function macOfInstance(id: InstanceId): string {
  const number = Number.parseInt(id.slice(id.indexOf("-") + 1), 36);
  const high = Math.floor(number / 2 ** 40);
  const bytes = [32, 24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256);
  return [0x06 + 16 * high, ...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}
