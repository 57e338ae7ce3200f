/**
 * A VPC's router on this host: what its namespace should hold, what it holds, and the commands between the two. Reading is one
 * process for all of it; a router whose plan did not change is read only by the check of drift.
 */
import { stat, statfs } from "node:fs/promises";
import * as z from "zod";
import { Failure } from "../../lib/errors.ts";
import { namesIn } from "../../lib/files.ts";
import { run } from "../process.ts";
import { list } from "./actual.ts";
import { metadataAddresses, namespaceFile, namespacePrefix, uplinkInside } from "./names.ts";
import type { VpcPlan } from "./plan.ts";

export interface ActualRouter {
  /** Its kernel's settings are as they should be. */
  readonly isSet: boolean;
  readonly links: ReadonlyMap<string, RouterLink>;
  readonly routes: ReadonlySet<string>;
  /** The listing of our table, empty if there is none. */
  readonly rules: string;
}

interface RouterLink {
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly addresses: readonly string[];
}

const linkSchema = z.object({
  ifname: z.string(),
  address: z.string().optional(),
  mtu: z.number(),
  flags: z.array(z.string()).default([]),
  addr_info: z
    .array(z.object({ family: z.string().optional(), local: z.string().optional(), prefixlen: z.number().optional() }))
    .default([]),
});
const routeSchema = z.object({ dst: z.string(), type: z.string().optional(), gateway: z.string().optional() });

/** Namespaces of ours that are there and whole, each with the number that tells it from a later one of the same name. */
export async function readNamespaces(): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (const name of await namesIn(namespaceFile("."))) {
    if (!name.startsWith(namespacePrefix)) continue;
    const file = namespaceFile(name);
    // Of one whose making or removal was cut off an empty file is left.
    if ((await statfs(file)).type !== nsfs) await run("ip", ["netns", "delete", name]);
    else found.set(name, (await stat(file)).ino);
  }
  return found;
}
const nsfs = 0x6e_73_66_73;

/** Runs a program inside a namespace. */
export function runIn(namespace: string, program: readonly string[], input?: string): Promise<string> {
  const args = [`--net=${namespaceFile(namespace)}`, ...program];
  return run("nsenter", args, input === undefined ? {} : { input });
}

export async function makeNamespace(name: string): Promise<void> {
  await run("ip", ["netns", "add", name]);
}

/**
 * A namespace inherits them from nobody: to pass packets on, and to take connections as they are whose windows have moved on without
 * this host, because their guest has moved away and is back.
 */
const settings = ["ip_forward", "../netfilter/nf_conntrack_tcp_be_liberal"].map((name) => `/proc/sys/net/ipv4/${name}`);
const separator = "----";
const reading = [
  `cat ${settings.join(" ")}`,
  "ip -j addr show",
  "ip -j -4 route show table main",
  "nft -s list table inet vstation 2>/dev/null || true",
].join(`; echo; echo ${separator}; `);

export async function readRouter(namespace: string): Promise<ActualRouter> {
  const parts = (await runIn(namespace, ["sh", "-c", reading])).split(`\n${separator}\n`);
  const [set, links, routes, rules] = parts;
  if (set === undefined || links === undefined || routes === undefined || rules === undefined) {
    throw new Failure("internal", "CommandFailed", `the state of ${namespace} could not be read`);
  }
  return {
    isSet: set
      .trim()
      .split("\n")
      .every((value) => value === "1"),
    links: new Map(
      list(linkSchema, links).map((link) => [
        link.ifname,
        {
          mac: link.address ?? "",
          mtu: link.mtu,
          up: link.flags.includes("UP"),
          addresses: link.addr_info.flatMap((a) =>
            a.family === "inet" && a.local !== undefined ? [`${a.local}/${a.prefixlen}`] : [],
          ),
        },
      ]),
    ),
    routes: new Set(list(routeSchema, routes).map(routeText)),
    rules: rules.trim(),
  };
}

const routeText = (route: z.output<typeof routeSchema>): string =>
  route.type === "unreachable" ? `unreachable ${route.dst}` : `${route.dst} via ${route.gateway ?? "link"}`;

/** Lines for `ip -batch` in the namespace. `actual`: as read before the cables to it were laid. */
export function diffRouter(vpc: VpcPlan, actual: ActualRouter): string[] {
  const ip: string[] = [];
  const lo = actual.links.get("lo");
  if (!lo?.up) ip.push("link set dev lo up");
  for (const address of metadataAddresses) {
    if (!lo?.addresses.includes(`${address}/32`)) ip.push(`addr add ${address}/32 dev lo`);
  }
  for (const { gate, gateway, gatewayMac, mtu } of vpc.subnets) {
    const is = actual.links.get(gate);
    if (is !== undefined && is.mac !== gatewayMac) ip.push(`link set dev ${gate} address ${gatewayMac}`);
    if (is !== undefined && is.mtu !== mtu) ip.push(`link set dev ${gate} mtu ${mtu}`);
    addressed(gate, gateway, is, ip);
  }
  const uplink = actual.links.get(uplinkInside);
  addressed(uplinkInside, `${vpc.transit.router}/31`, uplink, ip);
  // With the link its routes went; replacing one that is right changes nothing.
  if (uplink?.up !== true || !actual.routes.has(`default via ${vpc.transit.host}`)) {
    ip.push(`route replace default via ${vpc.transit.host} dev ${uplinkInside}`);
  }
  // What is the VPC's but no subnet's leads nowhere, and not out.
  for (const cidr of vpc.cidrs) {
    if (!actual.routes.has(`unreachable ${cidr}`)) ip.push(`route replace unreachable ${cidr} metric ${lastResort}`);
  }
  for (const route of actual.routes) {
    const cidr = /^unreachable (.+)$/.exec(route)?.[1];
    if (cidr !== undefined && !vpc.cidrs.includes(cidr)) ip.push(`route del unreachable ${cidr} metric ${lastResort}`);
  }
  return ip;
}
const lastResort = 1_000_000;

function addressed(name: string, address: string, is: RouterLink | undefined, ip: string[]): void {
  for (const other of is?.addresses ?? []) if (other !== address) ip.push(`addr del ${other} dev ${name}`);
  if (!is?.addresses.includes(address)) ip.push(`addr add ${address} dev ${name}`);
  // Once it is up it would have made itself an address of IPv6.
  if (!is?.up) ip.push(`link set dev ${name} addrgenmode none`, `link set dev ${name} up`);
}

export async function setUp(namespace: string): Promise<void> {
  await runIn(namespace, ["sh", "-c", settings.map((file) => `echo 1 > ${file}`).join(" && ")]);
}
