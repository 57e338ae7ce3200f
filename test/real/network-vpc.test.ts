/**
 * Two hosts, two VPCs with the same range, guests that are network stacks of their own: who gets an address and a name, who sees
 * whom, what a security group lets through, what nobody may say. All on the real kernel, with Compute's network as it is.
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Peer, SecurityRule, WantedSecurityGroup, WantedSubnet, WantedVpc } from "../../src/api/agent.ts";
import { newId, type InstanceId, type SecurityGroupId, type SubnetId, type VpcId } from "../../src/lib/ids.ts";
import { until } from "../until.ts";
import { TestUnderlay } from "./support/compute-host.ts";
import type { NetworkOrder } from "./support/network-driver.ts";
import { guestSpec, NetworkHost, type Nic } from "./support/network-host.ts";

const vpc = (name: string): WantedVpc => ({
  id: `vpc-${name}` as VpcId,
  cidrs: ["10.1.0.0/16"],
  domain: `${name}.internal`,
});
const red = vpc("red00001");
const blue = vpc("blue0001");
const subnet = (name: string, of: WantedVpc, third: number, vni: number): WantedSubnet => ({
  id: `subnet-${name}` as SubnetId,
  vpcId: of.id,
  cidr: `10.1.${third}.0/24`,
  gateway: `10.1.${third}.1`,
  gatewayMac: `02:77:00:00:0${third}:01`,
  vni,
  mtu: 1450,
  dns: [],
  egress: "none",
});
const redOne = subnet("red1aaaa", red, 1, 901);
const redTwo = subnet("red2aaaa", red, 2, 902);
const blueOne = subnet("blue1aaa", blue, 1, 903);

const accept = (rule: Partial<SecurityRule> = {}): SecurityRule => ({
  action: "accept",
  protocol: "all",
  ports: null,
  peer: { cidr: "0.0.0.0/0" },
  ...rule,
});
const group = (name: string, ingress: SecurityRule[], egress = [accept()]): WantedSecurityGroup => ({
  id: `sg-${name}` as SecurityGroupId,
  ingress,
  egress,
});
const open = group("open0001", [accept()]);
/** Port 80 to all, 443 to members of `clients`. */
const web = group("web00001", [
  accept({ protocol: "tcp", ports: [{ from: 80, to: 80 }] }),
  accept({ protocol: "tcp", ports: [{ from: 443, to: 443 }], peer: { groupId: "sg-clients1" as SecurityGroupId } }),
]);
const clients = group("clients1", []);

interface Guest {
  readonly id: InstanceId;
  readonly name: string;
  readonly host: number;
  readonly nic: Nic;
}
let last = 0;
function guest(name: string, host: number, on: WantedSubnet, ip: string, groups: WantedSecurityGroup[]): Guest {
  const mac = `02:56:00:00:00:${(++last).toString(16).padStart(2, "0")}`;
  const securityGroupIds = groups.map(({ id }) => id);
  return { id: newId("instance"), name, host, nic: { mac, ip, subnetId: on.id, securityGroupIds, elasticIp: null } };
}

const a = guest("web-a", 0, redOne, "10.1.1.10", [web]);
const b = guest("client-b", 0, redOne, "10.1.1.11", [clients]);
const c = guest("client-c", 1, redTwo, "10.1.2.10", [clients, open]);
const d = guest("other-d", 1, redOne, "10.1.1.12", [open]);
/** The same address as `a`, in the other VPC. */
const e = guest("blue-e", 1, blueOne, "10.1.1.10", [open]);
const f = guest("blue-f", 0, blueOne, "10.1.1.11", [open]);
let guests = [a, b, c, d, e, f];
let groups = [open, web, clients];

let underlay: TestUnderlay;
const hosts: NetworkHost[] = [];

function order(host: number, what: NetworkOrder["do"]): NetworkOrder {
  const peers = guests.map(({ nic, host: at, name }): Peer => ({
    subnetId: nic.subnetId,
    ip: nic.ip,
    mac: nic.mac,
    vtep: hosts[at]?.address ?? null,
    name,
    groupIds: nic.securityGroupIds,
  }));
  return {
    do: what,
    network: { vpcs: [red, blue], subnets: [redOne, redTwo, blueOne], securityGroups: groups },
    peers,
    guests: guests.filter((one) => one.host === host).map((one) => [one.id, guestSpec(one.name, [one.nic])]),
  };
}
const everywhere = (what: NetworkOrder["do"]) =>
  Promise.all(hosts.map((host, index) => host.order(order(index, what))));
const on = (one: Guest): NetworkHost => {
  const host = hosts[one.host];
  if (host === undefined) throw new Error("no such host");
  return host;
};
const say = (one: Guest, line: string): Promise<string> => on(one).inGuest(one.name, line);
const serve = (one: Guest, port: number) =>
  on(one).inGuestStart(one.name, `busybox nc -ll -p ${port} -e echo ${one.name}`);
async function reaches(from: Guest, to: Guest, port: number): Promise<boolean> {
  return (await say(from, `busybox timeout 3 busybox nc ${to.nic.ip} ${port} </dev/null`)).includes(to.name);
}
async function pings(from: Guest, to: string): Promise<boolean> {
  return (await say(from, `busybox ping -c 2 -W 1 ${to}`)).includes(" 0% packet loss");
}

beforeAll(async () => {
  underlay = new TestUnderlay();
  for (const number of [1, 2]) hosts.push(await NetworkHost.start(underlay, number + 100));
  await everywhere("changed");
  await everywhere("guests");
  for (const one of guests) on(one).plug(one.name, one.id, one.nic);
  await Promise.all(guests.map((one) => on(one).lease(one.name)));
}, 120_000);

afterAll(async () => {
  for (const host of hosts) await host.stop();
  underlay?.remove();
});

test("each guest gets its own address by DHCP, and the same address in two VPCs is two guests", async () => {
  for (const one of guests) expect(await say(one, "ip -4 addr show eth0")).toContain(`${one.nic.ip}/24`);
  expect(await pings(d, a.nic.ip)).toBe(false);
  for (const port of [80, 443]) serve(a, port);
  for (const port of [80, 443]) serve(e, port);
  await until("the red web server to answer", () => reaches(d, a, 80), 30_000);
  await until("the blue web server to answer", () => reaches(f, e, 80), 30_000);
});

test("routes between a VPC's subnets, over hosts, and not into another VPC", async () => {
  expect(await pings(d, c.nic.ip)).toBe(true);
  expect(await pings(b, c.nic.ip)).toBe(true);
  expect(await pings(f, c.nic.ip)).toBe(false);
  expect(await pings(d, "10.1.2.1")).toBe(true);
});

test("finds an instance by its name, also on another host, and no other VPC's", async () => {
  const ask = (from: Guest, name: string): Promise<string> => say(from, `busybox nslookup ${name} 10.1.1.1`);
  expect(await ask(a, `client-c.${red.domain}`)).toContain(c.nic.ip);
  expect(await ask(d, "web-a")).toContain(a.nic.ip);
  expect(await ask(f, `client-c.${red.domain}`)).not.toContain(c.nic.ip);
});

/** What the metadata service says to a guest. */
const ask = (from: Guest, path: string, at = "169.254.0.23"): Promise<string> =>
  say(from, String.raw`printf 'GET /latest/meta-data/${path} HTTP/1.0\r\n\r\n' | busybox nc -w 5 ${at} 80 | tail -n 1`);
const knowsItself = async (one: Guest): Promise<boolean> => (await ask(one, "instance-id")) === one.id;

test("tells each guest about itself at both addresses, and one VPC nothing of another", async () => {
  for (const at of ["169.254.0.23", "169.254.169.254"]) {
    await until("the red guest to learn its id", async () => (await ask(a, "instance-id", at)) === a.id, 30_000);
    await until("the blue one to learn its own", async () => (await ask(e, "instance-id", at)) === e.id, 30_000);
  }
  expect(await ask(b, "local-ipv4")).toBe(b.nic.ip);
  expect(await ask(c, "placement/zone")).toBe("test-1");
  expect(await ask(c, `network/interfaces/macs/${c.nic.mac}/vpc-id`)).toBe(red.id);
});

test("a group's rules let through what they name: an address, a port, a group's members", async () => {
  expect(await reaches(d, a, 80)).toBe(true);
  expect(await reaches(d, a, 443)).toBe(false);
  expect(await reaches(b, a, 443)).toBe(true);
  // A member on another host and in another subnet.
  expect(await reaches(c, a, 443)).toBe(true);
  expect(await pings(d, b.nic.ip)).toBe(false);
});

test("a rule that closes a port closes it at once, and an admitted connection lives on", async () => {
  const listener = on(a).inGuestStart(a.name, "busybox nc -l -p 8080");
  groups = [
    open,
    { ...web, ingress: [accept({ protocol: "tcp", ports: [{ from: 8080, to: 8080 }] }), ...web.ingress] },
    clients,
  ];
  await everywhere("changed");
  const talker = on(d).inGuestStart(d.name, `sleep 0.5; exec busybox nc ${a.nic.ip} 8080`);
  let heard = "";
  listener.stdout?.on("data", (part: Buffer) => (heard += part.toString()));
  talker.stdin?.write("before\n");
  await until("the first line to arrive", () => heard.includes("before"), 30_000);
  expect(await reaches(d, a, 80)).toBe(true);
  // Port 80 is not named any more.
  groups = [open, { ...web, ingress: [accept({ protocol: "tcp", ports: [{ from: 8080, to: 8080 }] })] }, clients];
  await everywhere("changed");
  // Nothing is waited for: when Compute has taken the change over, the port is closed.
  expect(await reaches(d, a, 80)).toBe(false);
  talker.stdin?.write("after\n");
  await until("the second line to arrive", () => heard.includes("after"), 30_000);
  // And one that is not admitted any more ends, although it is there.
  groups = [open, { ...web, ingress: [] }, clients];
  await everywhere("changed");
  talker.stdin?.write("too late\n");
  expect(await reaches(d, a, 8080)).toBe(false);
  expect(heard).not.toContain("too late");
  for (const child of [talker, listener]) child.kill("SIGKILL");
  groups = [open, web, clients];
  await everywhere("changed");
});

test("nobody speaks as somebody else", async () => {
  expect(await pings(d, c.nic.ip)).toBe(true);
  // Another's address, another's MAC, an address of nobody's.
  await say(d, `ip addr add 10.1.1.99/24 dev eth0`);
  expect(await say(d, `busybox ping -c 1 -W 1 -I 10.1.1.99 ${c.nic.ip}`)).toContain("100% packet loss");
  await say(d, `ip addr del 10.1.1.99/24 dev eth0`);
  await say(d, `ip link set eth0 address 02:56:00:00:00:77`);
  expect(await pings(d, c.nic.ip)).toBe(false);
  await say(d, `ip link set eth0 address ${d.nic.mac}`);
  await until("the honest guest to be heard again", () => pings(d, c.nic.ip), 30_000);
  // An ARP answer for the gateway's address reaches nobody.
  await say(b, `ip addr add 10.1.1.1/32 dev eth0`);
  await say(b, `busybox arping -U -c 3 -I eth0 -s 10.1.1.1 10.1.1.1`);
  await say(b, `ip addr del 10.1.1.1/32 dev eth0`);
  expect(await say(a, "ip neigh show 10.1.1.1")).not.toContain(b.nic.mac);
  // And a guest does not go around its router by the bridge's own MAC.
  const mac = /ether ([0-9a-f:]{17})/.exec(on(d).sh("ip -o link show br-red1aaaa"))?.[1] ?? "";
  const { address } = on(d);
  on(d).sh("(timeout 3 busybox nc -u -l -p 9999 > /run/heard) >/dev/null 2>&1 &");
  await say(
    d,
    `ip neigh replace 10.1.1.250 lladdr ${mac} dev eth0; ip route add ${address}/32 via 10.1.1.250 dev eth0`,
  );
  await say(d, `echo around | timeout 1 busybox nc -u ${address} 9999`);
  expect(on(d).sh("cat /run/heard")).toBe("");
});

test("Compute may be killed anywhere, and comes back without touching what is right", async () => {
  const host = on(a);
  const before = host.sh("ip -o link | cut -d: -f1,2; pgrep dnsmasq; ls -i /run/netns");
  await host.killCompute();
  host.startCompute();
  await host.order(order(0, "check"));
  expect(host.sh("ip -o link | cut -d: -f1,2; pgrep dnsmasq; ls -i /run/netns")).toBe(before);
  expect(await reaches(d, a, 80)).toBe(true);
});

test("a metadata service that is slow to come is waited for, and no other VPC's with it", async () => {
  const host = on(a);
  await host.killCompute();
  const folder = "/run/slow";
  host.sh(`mkdir ${folder}`);
  const slowly = pathToFileURL(join(import.meta.dirname, "support/slow-listener.ts")).href;
  host.startCompute({ NODE_OPTIONS: `--import=${slowly}`, SLOW_LISTENER: folder });
  await host.order(order(0, "check"));
  await until("one VPC's service to be there", async () => (await knowsItself(a)) || (await knowsItself(f)), 60_000);
  const slow = (await knowsItself(a)) ? f : a;
  expect(await knowsItself(slow)).toBe(false);
  host.sh(`ls ${folder}/held; touch ${folder}/go`);
  await until("the slow one to be there too", () => knowsItself(slow), 60_000);
});

test("what somebody changed is put right by a check", async () => {
  const host = on(a);
  host.sh(
    `nft flush ruleset; ip link del vx-red1aaaa; ip -n vstation-red00001 addr flush dev gw-red1aaaa;
     nsenter --net=/run/netns/vstation-red00001 nft flush ruleset; ip netns del vstation-blue0001`,
  );
  await until(
    "a check without an error",
    () => host.tryOrder(order(0, "check")).then((error) => error === null),
    30_000,
  );
  expect(await reaches(d, a, 80)).toBe(true);
  expect(await reaches(d, a, 443)).toBe(false);
  await until("the blue guests to reach each other", () => pings(f, e.nic.ip), 30_000);
});

test("nothing is left when a host's last guest of a VPC has gone", async () => {
  const host = on(a);
  for (const one of guests.filter((each) => each.host === 0)) host.unplug(one.name, one.id);
  guests = guests.filter((one) => one.host !== 0);
  await host.order({ ...order(0, "changed"), network: { vpcs: [], subnets: [], securityGroups: [] } });
  await until("dnsmasq to have ended", () => host.sh("pgrep dnsmasq || true") === "", 30_000);
  const left = host.sh("ls /run/netns /run/network; ip -o link | cut -d: -f2").trim().split(/\s+/);
  const cable = expect.stringMatching(/^eth0@/) as string;
  expect(left).toEqual(["/run/netns:", "/run/network:", "slots.json", "lo", cable]);
  expect(host.sh("nft list table inet vstation")).not.toContain("red00001");
});
