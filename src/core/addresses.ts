/** IPv4 arithmetic for subnets, and the MAC that belongs to an address. */

export function ipToNumber(ip: string): number {
  return ip.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

export function numberToIp(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join(".");
}

export interface AddressRange {
  first: number;
  last: number;
}

/** Addresses of a subnet that may be given out: without the reserved ones at its start and its broadcast address. */
export function usableRange(cidr: string, reserved: number): AddressRange {
  const [base = "", bits = "32"] = cidr.split("/");
  const size = 2 ** (32 - Number(bits));
  const start = Math.floor(ipToNumber(base) / size) * size;
  return { first: start + reserved, last: start + size - 2 };
}

/** Locally administered, and the same whenever the address is given out again: neighbours need to forget nothing. */
export function macOf(ip: string): string {
  const bytes = ip.split(".").map((part) => Number(part).toString(16).padStart(2, "0"));
  return ["02", "56", ...bytes].join(":");
}
