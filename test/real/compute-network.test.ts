/** Two hosts and a machine outside, one subnet: guests reach each other over VXLAN without a frame that floods, and never lose one. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Peer, WantedInstance } from "../../src/api/agent.ts";
import { until } from "../until.ts";
import { ComputeBed } from "./support/compute-bed.ts";
import type { ComputeHost } from "./support/compute-host.ts";
import type { FakeHostSession } from "./support/fake-vstation.ts";
import { Outside } from "./support/outside.ts";
import { testGroup, testSubnet, tinyInstance } from "./support/wanted-documents.ts";

let bed: ComputeBed;
const hosts: ComputeHost[] = [];
const sessions: FakeHostSession[] = [];
const guests: Omit<WantedInstance, "generation">[] = [];

let outside: Outside | undefined;

beforeAll(async () => {
  bed = await ComputeBed.begin();
  for (const number of [1, 2]) {
    const { host, session } = await bed.host({ number });
    hosts.push(host);
    sessions.push(session);
    host.startCompute();
  }
  for (const [index, session] of sessions.entries()) {
    await until("hello", () => session.hello !== null);
    const guest = tinyInstance();
    guests.push(guest);
    session.want(guest);
    await session.untilPhase(guest.id, "running");
    const log = `${hosts[index]?.stateDir}/instances/${guest.id}/console-1.log`;
    await until("the guest's ready line", () => readFileSync(log, "latin1").includes("tiny: ready"), 90_000);
  }
  outside = new Outside(bed.underlay);
  const peers = members();
  for (const session of sessions) session.setPeers(peers);
  outside.knows(peers);
});

afterAll(async () => {
  try {
    outside?.remove();
  } finally {
    await bed?.end();
  }
});

function members(): Peer[] {
  const peers: Peer[] = outside === undefined ? [] : [outside.peer];
  for (const [index, guest] of guests.entries()) {
    const nic = guest.spec.nics[0];
    const vtep = hosts[index]?.address;
    if (nic && vtep !== undefined)
      peers.push({
        subnetId: testSubnet.id,
        ip: nic.ip,
        mac: nic.mac,
        vtep,
        name: guest.spec.hostname,
        groupIds: [testGroup.id],
      });
  }
  return peers;
}

const addressOf = (index: number): string => guests[index]?.spec.nics[0]?.ip ?? "";

const pings = async (address: string, count: number): Promise<number> => (await outside?.pings(address, count)) ?? 0;

/** What a guest's shell prints for a line typed on its console. */
async function inGuest(index: number, line: string, awaited: RegExp): Promise<string> {
  const session = sessions[index];
  const guest = guests[index];
  if (!session || !guest) throw new Error("no such guest");
  const name = `shell-${index}-${session.output.size}`;
  await session.ask({ kind: "console.open", instanceId: guest.id, session: name });
  session.type(name, `${line}\n`);
  await until(`${awaited} from the guest`, () => awaited.test(session.output.get(name) ?? ""), 60_000);
  return session.output.get(name) ?? "";
}

test("what answers a tenant's DHCP and DNS is nobody on the host", () => {
  for (const host of hosts) expect(host.sh("ps -o user= -C dnsmasq").trim()).toBe("nobody");
});

test("the machine outside reaches guests on both hosts by their own addresses", async () => {
  for (const index of [0, 1]) {
    await until(`guest ${index} to answer`, async () => (await pings(addressOf(index), 1)) === 1, 60_000);
    expect(await pings(addressOf(index), 20)).toBe(20);
  }
});

test("guests on two hosts reach each other, and learn who is who without a broadcast on the cable", async () => {
  const said = await inGuest(0, `ping -c 3 -W 5 ${addressOf(1)}; echo lost-$?`, /lost-\d/);
  expect(said).toContain("lost-0");
  const flood = hosts[0]?.sh("bridge -j fdb show dev vx-test0001") ?? "";
  expect(flood).not.toContain("00:00:00:00:00:00");
});

test("each host is its guests' gateway, and nothing of a lease crosses the cable", async () => {
  const said = await inGuest(1, `ping -c 1 -W 5 ${testSubnet.gateway}; echo gate-$?`, /gate-\d/);
  expect(said).toContain("gate-0");
  for (const [index, host] of hosts.entries()) {
    const leases = host.sh("cat /run/vstation/network/*/hosts/*").trim().split("\n");
    expect(leases).toEqual([`${guests[index]?.spec.nics[0]?.mac},${addressOf(index)},infinite`]);
  }
});

test("a Compute that is killed and comes back takes no packet from its guests", async () => {
  const host = hosts[0];
  if (!host) throw new Error("no host");
  const same = "pgrep dnsmasq; ip -o link | cut -d: -f1,2";
  const before = host.sh(same);
  const counting = pings(addressOf(0), 100);
  await host.killCompute();
  const session = sessions[0];
  if (session) session.hello = null;
  host.startCompute();
  await until("hello", () => session?.hello !== null);
  expect(await counting).toBe(100);
  expect(host.sh(same)).toBe(before);
});

test("what an operator broke is repaired by the next change", async () => {
  const [host, session] = [hosts[1], sessions[1]];
  if (!host || !session) throw new Error("no host");
  // What answers names is missed when it ends, and all else with it.
  host.sh("ip link del vx-test0001 && ip netns del vstation-test0001 && nft flush ruleset && kill $(pgrep dnsmasq)");
  session.setPeers(members());
  await until("the guest to answer again", async () => (await pings(addressOf(1), 1)) === 1, 60_000);
  expect(host.sh("nft list table inet vstation")).toContain("masquerade");
  const gate = host.sh("nsenter --net=/run/netns/vstation-test0001 ip -4 addr show dev gw-test0001");
  expect(gate).toContain(`${testSubnet.gateway}/16`);
});
