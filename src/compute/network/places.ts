/**
 * Where the guests of a live migration are, on its two hosts, before VStation tells every host: the migration's halves write it
 * (compute/migration), plans read it. A guest that this does not name is where VStation says.
 *
 * At the source: `here`, then `gone` from the hand-over on. At the target: `coming`, then `arrived`, until what VStation says of its
 * address agrees. Between the two words the source's entries point at the target and the target's do not point back, so nothing goes
 * in circles.
 */
import type { Peer } from "../../api/agent.ts";
import type { InstanceId } from "../../lib/ids.ts";
import type { GuestNic } from "./plan.ts";
import { bridgeName, vxlanName } from "./names.ts";

export type Place =
  | { readonly is: "here" }
  /** All is ready for it, and its address is still the source's. */
  | { readonly is: "coming" }
  | { readonly is: "arrived" }
  | { readonly is: "gone"; readonly vtep: string };

export class Places {
  readonly #underlayAddress: string;
  readonly #places = new Map<InstanceId, Place>();

  constructor(underlayAddress: string) {
    this.#underlayAddress = underlayAddress;
  }

  get all(): ReadonlyMap<InstanceId, Place> {
    return this.#places;
  }

  set(id: InstanceId, place: Place): void {
    if (place.is === "here") this.#places.delete(id);
    else this.#places.set(id, place);
  }

  /** One that has arrived where VStation says it is needs no word of ours any more. */
  settle(nics: readonly GuestNic[], peers: readonly Peer[]): void {
    for (const [id, { is }] of this.#places) {
      if (is !== "arrived") continue;
      const told = nics.every(
        (nic) =>
          nic.instance !== id ||
          peers.some(
            ({ subnetId, ip, vtep }) => subnetId === nic.subnetId && ip === nic.ip && vtep === this.#underlayAddress,
          ),
      );
      if (told) this.#places.delete(id);
    }
  }
}

/**
 * Lines for `bridge -batch` and `ip -batch` that take one guest's entries from the source's to the target's, or back, without a look
 * at what is there: some may fail for what is so already, and a whole pass puts right what they leave.
 */
export function switchOver(nics: readonly GuestNic[]): { bridge: string[]; ip: string[] } {
  const bridge: string[] = [];
  const ip: string[] = [];
  for (const { subnetId, mac, ip: address, place } of nics) {
    const [port, vxlan] = [bridgeName(subnetId), vxlanName(subnetId)];
    if (place.is === "gone") {
      bridge.push(
        `fdb replace ${mac} dev ${vxlan} dst ${place.vtep} self permanent`,
        `fdb replace ${mac} dev ${vxlan} master static`,
        `link set dev ${vxlan} hairpin on`,
      );
      ip.push(`neigh replace ${address} lladdr ${mac} dev ${port} nud permanent`);
    } else {
      bridge.push(`fdb del ${mac} dev ${vxlan} master`, `fdb del ${mac} dev ${vxlan} self`);
      ip.push(`neigh del ${address} dev ${port}`);
    }
  }
  return { bridge, ip };
}
