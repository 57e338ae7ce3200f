/** Reads what the kernel has in the host's own namespace: links, addresses, forwarding, neighbour and proxy entries of our own. */
import * as z from "zod";
import { run } from "../process.ts";
import { linkAlias, ourProtocol } from "./names.ts";

export interface ActualLink {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly master: string | null;
  readonly vxlan: {
    readonly id: number;
    readonly local: string;
    readonly device: string;
    readonly learning: boolean;
  } | null;
  /** A bridge's IPv4 frames pass the firewall. */
  readonly filtered: boolean;
  readonly port: { readonly learning: boolean; readonly neighSuppress: boolean; readonly hairpin: boolean } | null;
  readonly addresses: readonly string[];
}

export interface ActualNetwork {
  /** Ours only: those with our alias. */
  readonly links: ReadonlyMap<string, ActualLink>;
  /** Bridges with a port that is not ours: a guest's tap. */
  readonly inUse: ReadonlySet<string>;
  /** Per VXLAN device: MAC -> address of the host. */
  readonly tunnels: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** Per port of a bridge of ours: MACs that the bridge sends there. */
  readonly ports: ReadonlyMap<string, ReadonlySet<string>>;
  /** Per bridge: IP -> MAC. */
  readonly neighbours: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** Addresses that the host answers for on the underlay without having them. */
  readonly proxied: ReadonlySet<string>;
  /** Per link of ours: single addresses that are routed there. */
  readonly routes: ReadonlyMap<string, ReadonlySet<string>>;
  /** The device towards the other hosts, if it is there. */
  readonly underlay: { readonly index: number; readonly mac: string } | null;
}

const linkSchema = z.object({
  ifindex: z.number(),
  ifname: z.string(),
  ifalias: z.string().optional(),
  address: z.string().optional(),
  mtu: z.number(),
  flags: z.array(z.string()).default([]),
  master: z.string().optional(),
  linkinfo: z
    .object({
      info_kind: z.string().optional(),
      info_data: z
        .object({
          id: z.number().optional(),
          local: z.string().optional(),
          link: z.string().optional(),
          learning: z.boolean().optional(),
          nf_call_iptables: z.number().optional(),
        })
        .optional()
        .catch(undefined),
      info_slave_data: z
        .object({
          learning: z.boolean().optional(),
          neigh_suppress: z.boolean().optional(),
          hairpin: z.boolean().optional(),
        })
        .optional()
        .catch(undefined),
    })
    .optional(),
  addr_info: z
    .array(z.object({ family: z.string().optional(), local: z.string().optional(), prefixlen: z.number().optional() }))
    .default([]),
});
const fdbSchema = z.object({
  mac: z.string(),
  ifname: z.string(),
  dst: z.string().optional(),
  master: z.string().optional(),
  state: z.string().optional(),
  flags: z.array(z.string()).default([]),
});
const neighbourSchema = z.object({ dst: z.string(), dev: z.string(), lladdr: z.string().optional() });
const proxySchema = z.object({ dst: z.string(), protocol: z.literal(String(ourProtocol)) });
const routeSchema = z.object({ dst: z.string(), dev: z.string().optional() });

/** `underlay`: the device on which addresses are answered for. */
export async function readNetwork(underlay: string): Promise<ActualNetwork> {
  const [links, fdb, neighbours, proxied, routes] = await Promise.all([
    json(linkSchema, "ip", ["-j", "-d", "addr", "show"]),
    json(fdbSchema, "bridge", ["-j", "fdb", "show"]),
    json(neighbourSchema, "ip", ["-j", "-4", "neigh", "show", "nud", "permanent"]),
    json(proxySchema, "ip", ["-j", "-d", "-4", "neigh", "show", "proxy", "dev", underlay]),
    json(routeSchema, "ip", ["-j", "-4", "route", "show", "table", "main"]),
  ]);
  const ours = new Map(links.filter((l) => l.ifalias === linkAlias).map((l) => [l.ifname, actualLink(l)]));
  const inUse = new Set(links.flatMap((l) => (l.master !== undefined && !ours.has(l.ifname) ? [l.master] : [])));
  const tunnels = new Map<string, Map<string, string>>();
  const ports = new Map<string, Set<string>>();
  for (const entry of fdb) {
    const link = ours.get(entry.ifname);
    if (link === undefined) continue;
    if (entry.master === undefined) {
      if (link.vxlan && entry.dst !== undefined) into(tunnels, entry.ifname, () => new Map()).set(entry.mac, entry.dst);
    } else if (entry.state === "static") {
      into(ports, entry.ifname, () => new Set()).add(entry.mac);
    }
  }
  const known = new Map<string, Map<string, string>>();
  for (const entry of neighbours) {
    if (!ours.has(entry.dev) || entry.lladdr === undefined) continue;
    into(known, entry.dev, () => new Map()).set(entry.dst, entry.lladdr);
  }
  const routed = new Map<string, Set<string>>();
  for (const { dst, dev } of routes) {
    if (dev !== undefined && ours.has(dev) && !dst.includes("/")) into(routed, dev, () => new Set()).add(dst);
  }
  const device = links.find((link) => link.ifname === underlay);
  return {
    underlay: device === undefined ? null : { index: device.ifindex, mac: device.address ?? "" },
    links: ours,
    inUse,
    tunnels,
    ports,
    neighbours: known,
    proxied: new Set(proxied.map(({ dst }) => dst)),
    routes: routed,
  };
}

async function json<S extends z.ZodType>(item: S, program: string, args: readonly string[]): Promise<z.output<S>[]> {
  return list(item, await run(program, args));
}

/** What of a printed list can be read as such items. */
export function list<S extends z.ZodType>(item: S, text: string): z.output<S>[] {
  // An empty answer is an empty list; `ip` prints `{}` for a neighbour that went away while it was printing.
  const parsed: unknown = text.trim() === "" ? [] : JSON.parse(text);
  return Array.isArray(parsed) ? parsed.flatMap((one: unknown) => item.safeParse(one).data ?? []) : [];
}

function actualLink(link: z.output<typeof linkSchema>): ActualLink {
  const data = link.linkinfo?.info_data;
  const port = link.linkinfo?.info_slave_data;
  return {
    name: link.ifname,
    mac: link.address ?? "",
    mtu: link.mtu,
    up: link.flags.includes("UP"),
    master: link.master ?? null,
    vxlan:
      link.linkinfo?.info_kind === "vxlan"
        ? { id: data?.id ?? 0, local: data?.local ?? "", device: data?.link ?? "", learning: data?.learning ?? true }
        : null,
    filtered: data?.nf_call_iptables === 1,
    port: port
      ? {
          learning: port.learning ?? true,
          neighSuppress: port.neigh_suppress ?? false,
          hairpin: port.hairpin ?? false,
        }
      : null,
    addresses: link.addr_info.flatMap((a) => (a.family === "inet" && a.local ? [`${a.local}/${a.prefixlen}`] : [])),
  };
}

function into<V>(map: Map<string, V>, key: string, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) map.set(key, (value = make()));
  return value;
}
