/**
 * What the reconciler decided about one instance: the changes of one transaction, and what the instance is after them. Pure; see
 * reconcile.ts for who decides and src/vstation/reconciler/apply.ts for who writes it down.
 */
import type { Failed, Instance, Step } from "./wanted.ts";

export type HostLink = "connected" | "unreachable";

export type Patch = Partial<
  Pick<
    Instance,
    | "power"
    | "incarnation"
    | "resets"
    | "launched"
    | "runningSince"
    | "quickEnds"
    | "notBefore"
    | "triedHosts"
    | "failure"
  >
>;

/** The changes of one step; the empty one means that nothing is to be done before `dueAt` or the next report. */
export interface Decision {
  patch: Patch;
  /** How the open operation ends. */
  end: { as: "SUCCEEDED" } | ({ as: "FAILED" } & Failed) | null;
  /** The host works on the open operation. */
  taken: boolean;
  deadline: number | null;
  /** A recovery begins (or, with `failed`, is given up at once), after `end`. */
  recover: { failed: Failed | null; deadline: number } | null;
  steps: Step[];
  /** `capacity`: nothing is left on the host. `everything`: and the instance is over. */
  release: "capacity" | "everything" | null;
  /** `enter`: its promised address is its own from now on, and the one that it had becomes the former. `letGo`: the other one is free. */
  address: "enter" | "letGo" | null;
  /** It needs a host other than the tried ones. */
  place: boolean;
  /** Look again then, if nothing happens before. */
  dueAt: number | null;
}

export const nothing: Decision = {
  patch: {},
  end: null,
  taken: false,
  deadline: null,
  recover: null,
  steps: [],
  release: null,
  address: null,
  place: false,
  dueAt: null,
};

/** True when the decision changes anything but the time of the next look; finding a host (`place`) is a change of its own. */
export function changes(decision: Decision): boolean {
  const { patch, end, taken, deadline, recover, steps, release, address } = decision;
  const count = Object.keys(patch).length + steps.length;
  const others = [end, deadline, recover, release, address];
  return count > 0 || taken || others.some((one) => one !== null);
}

/** True when the host has to hear of it: the instance gets its host's next generation. */
export function isOrder({ patch, address }: Decision): boolean {
  const power = patch.power !== undefined || patch.incarnation !== undefined || patch.resets !== undefined;
  return power || address === "enter";
}

/** The instance after the decision, without its operation (which the decision may have ended) and generation. */
export function afterDecision(instance: Instance, decision: Decision): Instance {
  const next = { ...instance, ...decision.patch, ...addressAfter(decision) };
  return decision.release === "capacity" ? { ...next, hostId: null } : next;
}

function addressAfter({ address }: Decision): Partial<Instance> {
  if (address === null) return {};
  return { otherAddress: address === "enter" ? "former" : null };
}
