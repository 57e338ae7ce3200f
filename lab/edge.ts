/**
 * What a lab changes on the machine itself, and how it is taken back: the underlay bridge, the machine's own tunnel end in the
 * guests' subnet, the firewall rules that both need (firewall.ts), and forwarding between them.
 *
 * Everything lives in the kernel only and carries the lab's number `n`, so nothing on disk can go stale and a killed
 * supervisor's rest can be removed by anyone who knows `n`. The bridge's alias is the register: whose lab it is, and which
 * interfaces had forwarding switched on by us. Several labs share that switch: when one ends while others run, it hands the
 * duty to switch it off to one of them. All of this happens under the machine-wide lock.
 */
import { readFileSync, writeFileSync } from "node:fs";
import * as z from "zod";
import { closeFirewall, openFirewall } from "./firewall.ts";
import { withMachineLock } from "./lock.ts";
import { firstChoice, guestMtu, isPort, overlaps, planCount, planOf, underlayMtu, type Plan } from "./plan.ts";
import { run, succeeds } from "./run.ts";

const aliasSchema = z.strictObject({ vstationLab: z.string(), forwarding: z.array(z.string()) });
type Alias = z.infer<typeof aliasSchema>;

const linkSchema = z.looseObject({
  ifname: z.string(),
  ifalias: z.string().optional(),
  address: z.string().optional(),
});
type Link = z.infer<typeof linkSchema>;
const routeSchema = z.looseObject({ dst: z.string(), dev: z.string().optional() });

async function links(): Promise<Link[]> {
  return z.array(linkSchema).parse(JSON.parse(await run("ip", ["-j", "link", "show"])));
}

async function routes(): Promise<z.infer<typeof routeSchema>[]> {
  const text = await run("ip", ["-j", "-4", "route", "show", "table", "all"]);
  return z.array(routeSchema).parse(JSON.parse(text === "" ? "[]" : text));
}

function aliasOf(link: Link): Alias | undefined {
  if (link.ifalias?.startsWith('{"vstationLab"') !== true) return undefined;
  const parsed = aliasSchema.safeParse(JSON.parse(link.ifalias));
  return parsed.success ? parsed.data : undefined;
}

async function writeAlias(bridge: string, alias: Alias): Promise<void> {
  await run("ip", ["link", "set", bridge, "alias", JSON.stringify(alias)]);
}

/** The lab number of a bridge that a lab made, and whose lab it is: nobody's if its maker was killed before it could say so. */
function labOf(link: Link): { n: number; home: string | undefined } | undefined {
  const n = Number(/^vs(\d+)u$/.exec(link.ifname)?.[1] ?? -1);
  if (n < 0 || n >= planCount || link.address !== planOf(n).underlay.mac) return undefined;
  return { n, home: aliasOf(link)?.vstationLab };
}

/**
 * Puts up the machine's side of a lab and returns its plan. `remembered` is the number of an earlier start of this home: it
 * must be free again, because instances hold addresses that derive from it.
 */
export function edgeUp(home: string, remembered: number | undefined): Promise<Plan> {
  return withMachineLock(async () => {
    const present = await links();
    const mine = present.map(labOf).find((lab) => lab?.home === home);
    const plan = mine === undefined ? await choose(remembered, firstChoice(home), present) : planOf(mine.n);
    const { bridge, mac } = plan.underlay;
    // A fixed address: it marks the bridge as a lab's from its first moment, and stays when hosts come and go.
    if (!present.some((link) => link.ifname === bridge)) {
      await run("ip", ["link", "add", bridge, "address", mac, "type", "bridge"]);
    }
    if (mine === undefined) await writeAlias(bridge, { vstationLab: home, forwarding: [] });
    await configure(plan);
    await forward(home, plan);
    return plan;
  });
}

async function choose(remembered: number | undefined, first: number, present: readonly Link[]): Promise<Plan> {
  const used = await routes();
  const obstacle = (plan: Plan): string | undefined => {
    const bridge = present.find((link) => link.ifname === plan.underlay.bridge);
    const lab = bridge && labOf(bridge);
    if (bridge !== undefined && (lab === undefined || lab.home !== undefined)) {
      return `link ${bridge.ifname} of ${lab?.home ?? "somebody else"}`;
    }
    const route = used.find((each) => [plan.underlay.cidr, plan.guests.cidr].some((cidr) => overlaps(each.dst, cidr)));
    return route && `route to ${route.dst} by ${route.dev ?? "another table"}`;
  };
  if (remembered !== undefined) {
    const plan = planOf(remembered);
    const what = obstacle(plan);
    if (what === undefined) return plan;
    throw new Error(
      `this home uses ${plan.underlay.cidr} and ${plan.guests.cidr}, which are taken by now (${what}): free them, or start with another --home`,
    );
  }
  for (let i = 0; i < planCount; i++) {
    const plan = planOf((first + i) % planCount);
    if (obstacle(plan) === undefined) return plan;
  }
  throw new Error(
    "all 64 address ranges that a lab can use (10.96.n.0/24 with 10.(128+n).0.0/16) are taken on this machine",
  );
}

/** Level-triggered: brings whatever is there to what should be, so an interrupted start is simply run again. */
async function configure(plan: Plan): Promise<void> {
  const { underlay, guests } = plan;
  const { device, ip, mac } = guests.edge;
  // No delay before a new port forwards, and no router solicitations into the lab.
  await run("ip", [
    "link",
    "set",
    underlay.bridge,
    "mtu",
    String(underlayMtu),
    "type",
    "bridge",
    "forward_delay",
    "0",
    "stp_state",
    "0",
  ]);
  await run("ip", ["address", "replace", `${underlay.address}/24`, "dev", underlay.bridge]);
  await run("ip", ["link", "set", underlay.bridge, "up"]);
  if (!(await succeeds("ip", ["link", "show", device]))) {
    await run("ip", [
      "link",
      "add",
      device,
      "address",
      mac,
      "mtu",
      String(guestMtu),
      "type",
      "vxlan",
      "id",
      String(guests.vni),
      "dstport",
      "4789",
      "local",
      underlay.address,
      "dev",
      underlay.bridge,
    ]);
  }
  // What it learned of a guest would be wrong once that has moved and says nothing; nobody tells this end of the tunnel.
  await run("ip", ["link", "set", device, "type", "vxlan", "nolearning"]);
  await run("ip", ["address", "replace", `${ip}/16`, "dev", device]);
  await run("ip", ["link", "set", device, "up"]);
  await openFirewall(plan);
}

/** Where the machine's own tunnel end sends everything: to every host, and the one that has the guest takes it. Repeated per host, harmless when there. */
export async function edgeFlood(plan: Plan, hostAddress: string): Promise<void> {
  const { device } = plan.guests.edge;
  const all = "00:00:00:00:00:00";
  const present = await run("bridge", ["fdb", "show", "dev", device]);
  if (present.includes(`${all} dst ${hostAddress} `)) return;
  await run("bridge", ["fdb", "append", all, "dev", device, "dst", hostAddress]);
}

/* Forwarding is switched on per interface, not for the whole machine: the bridge's switch goes with the bridge, and of the
 * machine's own interfaces only those towards the outside are touched, and only if they did not forward before. */

function forwardingFile(device: string): string {
  return `/proc/sys/net/ipv4/conf/${device}/forwarding`;
}

async function forward(home: string, plan: Plan): Promise<void> {
  writeFileSync(forwardingFile(plan.underlay.bridge), "1");
  const uplinks = new Set((await routes()).filter((route) => route.dst === "default").map((route) => route.dev));
  const off = [...uplinks].filter(
    (device) => device !== undefined && readFileSync(forwardingFile(device), "utf8").trim() === "0",
  ) as string[];
  if (off.length === 0) return;
  const link = (await links()).find((each) => each.ifname === plan.underlay.bridge);
  const before = (link && aliasOf(link)?.forwarding) ?? [];
  // The register first: a crash in between leaves a promise to switch off what is off.
  await writeAlias(plan.underlay.bridge, { vstationLab: home, forwarding: [...new Set([...before, ...off])] });
  for (const device of off) writeFileSync(forwardingFile(device), "1");
}

/**
 * Removes everything that edgeUp made for this home, and the unfinished bridge of anybody who was killed in the middle: under
 * the lock, nobody is still at work on one. Called when no host of the lab runs.
 */
export function edgeDown(home: string): Promise<void> {
  return withMachineLock(async () => {
    for (const lab of (await links()).map(labOf)) {
      if (lab !== undefined && (lab.home === home || lab.home === undefined)) await remove(planOf(lab.n));
    }
  });
}

async function remove(plan: Plan): Promise<void> {
  const present = await links();
  const bridge = present.find((link) => link.ifname === plan.underlay.bridge);
  if (bridge === undefined) return;
  const switched = aliasOf(bridge)?.forwarding ?? [];
  const heir = present.find((link) => link !== bridge && labOf(link)?.home !== undefined);
  const heirAlias = heir && aliasOf(heir);
  if (heir !== undefined && heirAlias !== undefined && switched.length > 0) {
    await writeAlias(heir.ifname, { ...heirAlias, forwarding: [...new Set([...heirAlias.forwarding, ...switched])] });
  } else {
    for (const device of switched) {
      if (present.some((link) => link.ifname === device)) writeFileSync(forwardingFile(device), "0");
    }
  }
  await closeFirewall(plan);
  if (present.some((link) => link.ifname === plan.guests.edge.device)) {
    await run("ip", ["link", "delete", plan.guests.edge.device]);
  }
  // Cables go with their hosts, but the kernel clears a namespace away some time after the last process in it has ended,
  // perhaps just now.
  for (const { ifname } of present) if (isPort(plan, ifname)) await succeeds("ip", ["link", "delete", ifname]);
  // Last: while the bridge is there, so is the register.
  await run("ip", ["link", "delete", plan.underlay.bridge]);
}
