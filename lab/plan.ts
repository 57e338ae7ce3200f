/**
 * What a lab is called and which addresses it uses, derived from one small number `n` (0..63), so that labs in different
 * homes run side by side on one machine. Pure: who picks `n` and how it is kept is in home.ts and edge.ts.
 *
 *   underlay   10.96.n.0/24       the machine is .1, namespace hosts are .11, .12, ..., nested ones .101, .102, ..., elastic addresses
 *                                 from .128; VXLAN and the hosts' control run on it
 *   guests     10.(128+n).0.0/16  gateway .0.1 (a router on every host), .0.2 the machine itself, instances from .0.10
 */
export const planCount = 64;
export const maxHosts = 64;
export const maxNested = 8;

/** Underlay frames are larger than guests' frames by more than VXLAN's 50 bytes, so guests keep the usual 1500. */
export const underlayMtu = 9000;
export const guestMtu = 1500;

export interface Plan {
  readonly n: number;
  readonly underlay: {
    readonly cidr: string;
    /** The machine's own address; VStation's listener for hosts is bound to it. */
    readonly address: string;
    readonly bridge: string;
    readonly mac: string;
    /** The upper half: addresses that instances may have towards the machine. */
    readonly elastic: string;
  };
  readonly guests: {
    readonly cidr: string;
    readonly gateway: string;
    readonly gatewayMac: string;
    readonly vni: number;
    /** The machine's own presence in the guests' subnet. */
    readonly edge: { readonly device: string; readonly ip: string; readonly mac: string };
  };
  readonly nftTable: string;
  readonly agentPort: number;
}

export interface HostPlan {
  readonly kind: "namespace" | "nested";
  readonly index: number;
  readonly name: string;
  readonly address: string;
  /** The outer end of the host's cable (veth or tap), a port of the underlay bridge; inside it is `eth0`. */
  readonly port: string;
  readonly mac: string;
}

export function planOf(n: number): Plan {
  const nn = n.toString(16).padStart(2, "0");
  return {
    n,
    underlay: {
      cidr: `10.96.${n}.0/24`,
      address: `10.96.${n}.1`,
      bridge: `vs${n}u`,
      mac: `02:76:73:${nn}:00:03`,
      elastic: `10.96.${n}.128/25`,
    },
    guests: {
      cidr: `10.${128 + n}.0.0/16`,
      gateway: `10.${128 + n}.0.1`,
      gatewayMac: `02:76:73:${nn}:00:01`,
      vni: 4096 + n,
      edge: { device: `vs${n}x`, ip: `10.${128 + n}.0.2`, mac: `02:76:73:${nn}:00:02` },
    },
    nftTable: `vstation_lab_${n}`,
    agentPort: 7443,
  };
}

/** The i-th namespace host of a lab, counted from 1. */
export function hostPlanOf(plan: Plan, index: number): HostPlan {
  const nn = plan.n.toString(16).padStart(2, "0");
  const ii = index.toString(16).padStart(2, "0");
  return {
    kind: "namespace",
    index,
    name: `host${index}`,
    address: `10.96.${plan.n}.${10 + index}`,
    port: `vs${plan.n}h${index}`,
    mac: `02:76:73:${nn}:01:${ii}`,
  };
}

/** The i-th nested host of a lab, counted from 1. */
export function nestedPlanOf(plan: Plan, index: number): HostPlan {
  const nn = plan.n.toString(16).padStart(2, "0");
  const ii = index.toString(16).padStart(2, "0");
  return {
    kind: "nested",
    index,
    name: `nested${index}`,
    address: `10.96.${plan.n}.${100 + index}`,
    port: `vs${plan.n}n${index}`,
    mac: `02:76:73:${nn}:02:${ii}`,
  };
}

/** Is this link the outer end of the cable of one of the lab's hosts? */
export function isPort({ n }: Plan, link: string): boolean {
  return /^vs(\d+)[hn]\d+$/.exec(link)?.[1] === String(n);
}

/** Is this part of a lab a host, and of which kind? */
export function hostKindOf(part: string): HostPlan["kind"] | undefined {
  const word = /^(host|nested)\d+$/.exec(part)?.[1];
  return word === undefined ? undefined : word === "host" ? "namespace" : "nested";
}

/** Where the search for a free `n` starts: the same home tends to get the same numbers. */
export function firstChoice(homePath: string): number {
  let hash = 2166136261;
  for (const byte of Buffer.from(homePath)) hash = Math.imul(hash ^ byte, 16777619) >>> 0;
  return hash % planCount;
}

/** Does an IPv4 prefix such as "10.96.3.0/24" (or "default") share addresses with another? The default route never counts. */
export function overlaps(a: string, b: string): boolean {
  const left = range(a);
  const right = range(b);
  return left !== undefined && right !== undefined && left.first <= right.last && right.first <= left.last;
}

function range(prefix: string): { first: number; last: number } | undefined {
  const match = /^(\d+)\.(\d+)\.(\d+)\.(\d+)(?:\/(\d+))?$/.exec(prefix);
  if (match === null) return undefined;
  const length = Number(match[5] ?? 32);
  if (length === 0) return undefined;
  const address = [1, 2, 3, 4].reduce((sum, i) => sum * 256 + Number(match[i]), 0);
  const size = 2 ** (32 - length);
  const first = Math.floor(address / size) * size;
  return { first, last: first + size - 1 };
}
