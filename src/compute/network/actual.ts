/** Reads what the kernel has: links, addresses, forwarding and neighbour entries of our own bridges and VXLAN devices. */
import * as z from "zod";
import { run } from "../process.ts";
import { linkAlias } from "./plan.ts";

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
  readonly port: { readonly learning: boolean; readonly neighSuppress: boolean } | null;
  readonly addresses: readonly string[];
}

export interface ActualNetwork {
  /** Ours only: those with our alias. */
  readonly links: ReadonlyMap<string, ActualLink>;
  /** Per VXLAN device: MAC -> address of the host. */
  readonly tunnels: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** Per VXLAN device: MACs that the bridge sends there. */
  readonly ports: ReadonlyMap<string, ReadonlySet<string>>;
  /** Per bridge: IP -> MAC. */
  readonly neighbours: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** Every link's name, foreign ones included. */
  readonly names: ReadonlySet<string>;
}

const linkSchema = z.object({
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
        })
        .optional()
        .catch(undefined),
      info_slave_data: z
        .object({ learning: z.boolean().optional(), neigh_suppress: z.boolean().optional() })
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

export async function readNetwork(): Promise<ActualNetwork> {
  const [links, fdb, neighbours] = await Promise.all([
    json(linkSchema, "ip", ["-j", "-d", "addr", "show"]),
    json(fdbSchema, "bridge", ["-j", "fdb", "show"]),
    json(neighbourSchema, "ip", ["-j", "-4", "neigh", "show", "nud", "permanent"]),
  ]);
  const ours = new Map(links.filter((l) => l.ifalias === linkAlias).map((l) => [l.ifname, actualLink(l)]));
  const tunnels = new Map<string, Map<string, string>>();
  const ports = new Map<string, Set<string>>();
  for (const entry of fdb) {
    if (!ours.get(entry.ifname)?.vxlan) continue;
    if (entry.master === undefined) {
      if (entry.dst !== undefined) into(tunnels, entry.ifname, () => new Map()).set(entry.mac, entry.dst);
    } else if (entry.state === "static") {
      into(ports, entry.ifname, () => new Set()).add(entry.mac);
    }
  }
  const known = new Map<string, Map<string, string>>();
  for (const entry of neighbours) {
    if (!ours.has(entry.dev) || entry.lladdr === undefined) continue;
    into(known, entry.dev, () => new Map()).set(entry.dst, entry.lladdr);
  }
  return { links: ours, tunnels, ports, neighbours: known, names: new Set(links.map((l) => l.ifname)) };
}

async function json<S extends z.ZodType>(item: S, program: string, args: readonly string[]): Promise<z.output<S>[]> {
  const text = await run(program, args);
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
    port: port ? { learning: port.learning ?? true, neighSuppress: port.neigh_suppress ?? false } : null,
    addresses: link.addr_info.flatMap((a) => (a.family === "inet" && a.local ? [`${a.local}/${a.prefixlen}`] : [])),
  };
}

function into<V>(map: Map<string, V>, key: string, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) map.set(key, (value = make()));
  return value;
}
