/**
 * Which addresses an image's URL may lead to. A URL comes from a tenant and is fetched from inside the operator's network, so what is
 * not out in the world is refused: this machine, neighbours, metadata services, multicast; an operator may allow own networks.
 */
import { BlockList, isIP } from "node:net";

/** IANA's special-purpose registries, of both families. */
const special = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
] as const;
/** Of IPv6 only what is global unicast is out in the world, and of that not what wraps or tunnels other addresses. */
const wrapped = [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
] as const;

const refused = new BlockList();
for (const [net, bits] of special) refused.addSubnet(net, bits, "ipv4");
for (const [net, bits] of wrapped) refused.addSubnet(net, bits, "ipv6");
const global6 = new BlockList();
global6.addSubnet("2000::", 3, "ipv6");

export class AddressPolicy {
  readonly #allowed = new BlockList();

  constructor(allowedNetworks: readonly string[]) {
    for (const network of allowedNetworks) {
      const [net = "", bits] = network.split("/");
      this.#allowed.addSubnet(net, Number(bits), isIP(net) === 6 ? "ipv6" : "ipv4");
    }
  }

  allows(address: string): boolean {
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    if (isIP(address) === 0) return false;
    if (this.#allowed.check(address, family)) return true;
    if (family === "ipv4") return !refused.check(address, family);
    return global6.check(address, family) && !refused.check(address, family);
  }
}
