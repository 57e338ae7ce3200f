/**
 * The way out of a VPC and into it: an elastic address that follows its instance from host to host, and egress as each subnet has it.
 * The test's machine is somebody on the underlay who knows nothing of VPCs.
 */
import { execFile, execFileSync } from "node:child_process";
import { createServer, type AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { SecurityRule, WantedSecurityGroup, WantedSubnet, WantedVpc } from "../../src/api/agent.ts";
import { newId, type InstanceId, type SecurityGroupId, type SubnetId, type VpcId } from "../../src/lib/ids.ts";
import { until } from "../until.ts";
import { TestUnderlay } from "./support/compute-host.ts";
import type { NetworkOrder } from "./support/network-driver.ts";
import { guestSpec, NetworkHost, type Nic } from "./support/network-host.ts";

const vpc: WantedVpc = { id: "vpc-elastic1" as VpcId, cidrs: ["10.1.0.0/16"], domain: "z.internal" };
const subnet: WantedSubnet = {
  id: "subnet-elastic1" as SubnetId,
  vpcId: vpc.id,
  cidr: "10.1.1.0/24",
  gateway: "10.1.1.1",
  gatewayMac: "02:77:00:00:00:01",
  vni: 950,
  mtu: 1450,
  dns: [],
  egress: "none",
};
/** Another subnet of the VPC, with a way out of its own. */
const routed: WantedSubnet = {
  ...subnet,
  id: "subnet-elastic2" as SubnetId,
  cidr: "10.1.2.0/24",
  gateway: "10.1.2.1",
  gatewayMac: "02:77:00:00:00:02",
  vni: 951,
  egress: "host",
};
const anything: SecurityRule = { action: "accept", protocol: "all", ports: null, peer: { cidr: "0.0.0.0/0" } };
const group = (ingress: SecurityRule[]): WantedSecurityGroup => ({
  id: "sg-elastic1" as SecurityGroupId,
  ingress,
  egress: [anything],
});

let underlay: TestUnderlay;
const hosts: NetworkHost[] = [];
let elastic = "";
interface Guest {
  id: InstanceId;
  host: number;
  nic: Nic;
}
const nic = (mac: string, ip: string): Nic => ({
  mac,
  ip,
  subnetId: subnet.id,
  securityGroupIds: ["sg-elastic1" as SecurityGroupId],
  elasticIp: null,
});
const known: Guest = { id: newId("instance"), host: 0, nic: nic("02:56:00:00:00:01", "10.1.1.10") };
const unknown: Guest = { id: newId("instance"), host: 0, nic: nic("02:56:00:00:00:02", "10.1.1.11") };
let egress: WantedSubnet["egress"] = "none";
let rules = [anything];

async function everywhere(what: NetworkOrder["do"]): Promise<void> {
  for (const [index, host] of hosts.entries()) {
    const here = [known, unknown].filter((one) => one.host === index);
    await host.order({
      do: what,
      network: { vpcs: [vpc], subnets: [{ ...subnet, egress }, routed], securityGroups: [group(rules)] },
      peers: [],
      guests: here.map((one) => [one.id, guestSpec("g", [one.nic])]),
    });
  }
}
const hostOf = (one: Guest): NetworkHost => {
  const host = hosts[one.host];
  if (host === undefined) throw new Error("no such host");
  return host;
};

/** By the machine, which is on the underlay. */
function machine(...line: string[]): Promise<string> {
  return new Promise((done) => void execFile("busybox", line, { timeout: 20_000 }, (_, out) => done(out)));
}
const answers = async (address: string): Promise<boolean> =>
  (await machine("ping", "-c", "2", "-W", "1", address)).includes(" 0% packet loss");
const getsOut = async (one: Guest, name: string): Promise<boolean> =>
  (await hostOf(one).inGuest(name, `busybox ping -c 2 -W 1 ${underlay.address}`)).includes(" 0% packet loss");

beforeAll(async () => {
  underlay = new TestUnderlay();
  elastic = underlay.host(200);
  known.nic = { ...known.nic, elasticIp: elastic };
  for (const number of [1, 2]) hosts.push(await NetworkHost.start(underlay, number + 140));
  await everywhere("changed");
  await everywhere("guests");
  hostOf(known).plug("known", known.id, known.nic);
  hostOf(unknown).plug("unknown", unknown.id, unknown.nic);
  await hostOf(known).lease("known");
  await hostOf(unknown).lease("unknown");
}, 120_000);

afterAll(async () => {
  for (const host of hosts) await host.stop();
  underlay?.remove();
});

test("an instance is reached by its elastic address, and goes out by it from a subnet that has no other way out", async () => {
  await until("the elastic address to answer", () => answers(elastic), 30_000);
  expect(await getsOut(known, "known")).toBe(true);
  expect(await getsOut(unknown, "unknown")).toBe(false);
  const callers: (string | undefined)[] = [];
  const server = createServer((socket) => {
    callers.push(socket.remoteAddress);
    socket.on("error", () => undefined).end("heard\n");
  });
  await new Promise<void>((done) => server.listen(0, underlay.address, done));
  const { port } = server.address() as AddressInfo;
  const said = await hostOf(known).inGuest(
    "known",
    `busybox timeout 5 busybox nc ${underlay.address} ${port} </dev/null`,
  );
  server.close();
  expect([said, callers]).toEqual(["heard\n", [elastic]]);
  // The router's own addresses, and the other guest's, are nobody's out here.
  expect(await answers(unknown.nic.ip)).toBe(false);
});

test("its security groups hold for who comes by it", async () => {
  rules = [{ ...anything, peer: { cidr: "192.0.2.0/24" } }];
  await everywhere("changed");
  expect(await answers(elastic)).toBe(false);
  rules = [{ ...anything, peer: { cidr: `${underlay.address}/32` } }];
  await everywhere("changed");
  expect(await answers(elastic)).toBe(true);
});

test("the address goes with the instance to another host, and the underlay is told at once", async () => {
  const macOf = (host: NetworkHost): string =>
    /ether ([0-9a-f:]{17})/.exec(host.sh("ip -o link show eth0"))?.[1] ?? "?";
  const entry = (): string => execFileSync("ip", ["neigh", "show", elastic], { encoding: "utf8" });
  expect(entry()).toContain(macOf(hostOf(known)));
  hostOf(known).unplug("known", known.id);
  known.host = 1;
  await everywhere("changed");
  await everywhere("guests");
  // Before anybody asks: a gratuitous ARP came.
  await until("the machine to know the new host", () => entry().includes(macOf(hostOf(known))), 10_000);
  hostOf(known).plug("known", known.id, known.nic);
  await hostOf(known).lease("known");
  await until("the elastic address to answer from the other host", () => answers(elastic), 30_000);
  expect(hosts[0]?.sh("ip neigh show proxy; ip route")).not.toContain(elastic);
});

test("a way out by the host is there when the subnet has it, and gone when not, whatever another one has", async () => {
  egress = "host";
  await everywhere("changed");
  expect(await getsOut(unknown, "unknown")).toBe(true);
  egress = "none";
  await everywhere("changed");
  expect(await getsOut(unknown, "unknown")).toBe(false);
});

test("an elastic address that is taken from its instance is nobody's", async () => {
  known.nic = { ...known.nic, elasticIp: null };
  await everywhere("changed");
  expect(await answers(elastic)).toBe(false);
  expect(hosts[1]?.sh("ip neigh show proxy; ip route")).not.toContain(elastic);
});
