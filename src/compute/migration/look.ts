/** Where a guest stands at this host, by libvirt's word of this moment. */
import { unreachable } from "../../lib/errors.ts";
import type { InstanceId } from "../../lib/ids.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import type { Whereabouts } from "../../core/migration/source.ts";
import { isLibvirtError } from "../../libvirt/errors.ts";
import type { DomainStatus } from "../../libvirt/states.ts";
import type { Hypervisor } from "../hypervisor.ts";
import { domainUuid } from "../vm/mark.ts";

export interface Looked {
  readonly guest: Whereabouts;
  /** libvirt vouches that a guest which was to come here by its memory has not run here. */
  readonly neverRan: boolean;
  readonly domain: DomainRef | null;
}

export const unseen: Looked = { guest: "unknown", neverRan: false, domain: null };

/** Throws when libvirt does not say. */
export async function lookAt(libvirt: Hypervisor, id: InstanceId): Promise<Looked> {
  const domain = (await libvirt.domainLookupByUuid(domainUuid(id))) ?? null;
  if (domain === null) return { guest: "off", neverRan: false, domain };
  try {
    const status = await libvirt.domainState(domain);
    return { guest: whereabouts(status), neverRan: hasNeverRun(status), domain };
  } catch (error) {
    if (isLibvirtError(error, "NoDomain")) return { guest: "off", neverRan: false, domain };
    throw error;
  }
}

/** Exported for its test. */
export function whereabouts({ state, reason }: DomainStatus): Whereabouts {
  switch (state) {
    case "running":
    case "blocked":
    case "pmsuspended":
      return "running";
    case "paused":
      return reason === "ioerror" ? "held" : "paused";
    // Also one that libvirtd throws away because it has never run here (it began anew before it was told to let it run): for a moment that
    // looks like a guest that shuts itself down, and to take it for one that has arrived would be the guest's end.
    case "shutting-down":
    case "nostate":
      return "unknown";
    case "shutoff":
    case "crashed":
      return "off";
    default:
      return unreachable(state);
  }
}

/**
 * Whether the reason is one of a machine that waited for its memory: libvirt threw it away, also as one that began anew ("daemon"), it was ended here, or it still waits. Of a host that began
 * anew there is no reason any more ("unknown"). Exported for its test.
 */
export function hasNeverRun({ state, reason }: DomainStatus): boolean {
  switch (state) {
    case "shutoff":
      return reason === "destroyed" || reason === "failed" || reason === "daemon";
    case "paused":
      return reason === "migration" || reason === "starting-up" || reason === "postcopy";
    default:
      return false;
  }
}
