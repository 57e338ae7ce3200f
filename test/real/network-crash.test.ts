/**
 * Compute's network killed at each of its crash points while VPCs come to a host and while they go: the next Compute finishes what
 * was begun, and what it has made then is what one that nobody killed makes.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { WantedSubnet, WantedVpc } from "../../src/api/agent.ts";
import { newId, type SubnetId, type VpcId } from "../../src/lib/ids.ts";
import { familyOf } from "../faults/cases.ts";
import { crashPoints } from "../faults/points.ts";
import { until } from "../until.ts";
import { TestUnderlay } from "./support/compute-host.ts";
import type { NetworkOrder } from "./support/network-driver.ts";
import { guestSpec, NetworkHost, type Nic } from "./support/network-host.ts";
import { testGroup } from "./support/wanted-documents.ts";

/** A guest's addresses change hosts only in its move: compute-migration.test.ts kills there. */
const ofMoves = "network.switch";

const points = crashPoints()
  .filter((point) => point.file.startsWith("src/compute/network/") && familyOf(point) !== ofMoves)
  .map(({ name }) => name);

const vpcs = ["one00001", "two00001"].map((name): WantedVpc => ({
  id: `vpc-${name}` as VpcId,
  cidrs: ["10.1.0.0/16"],
  domain: "z.internal",
}));
const subnets = vpcs.map(({ id }, index): WantedSubnet => ({
  id: id.replace("vpc", "subnet") as SubnetId,
  vpcId: id,
  cidr: "10.1.1.0/24",
  gateway: "10.1.1.1",
  gatewayMac: "02:77:00:00:00:01",
  vni: 800 + index,
  mtu: 1450,
  dns: [],
  egress: "host",
}));

let underlay: TestUnderlay;
beforeAll(() => {
  underlay = new TestUnderlay();
});
afterAll(() => underlay?.remove());

const guests = subnets.map((subnet, index) => {
  const nic: Nic = {
    mac: `02:56:00:00:01:0${index}`,
    ip: "10.1.1.10",
    subnetId: subnet.id,
    securityGroupIds: [testGroup.id],
    elasticIp: index === 0 ? null : "",
  };
  return [newId("instance"), nic] as const;
});

const here = (elastic: string): NetworkOrder => ({
  do: "guests",
  network: { vpcs, subnets, securityGroups: [testGroup] },
  peers: [],
  guests: guests.map(([id, nic]) => [
    id,
    guestSpec("g", [{ ...nic, elasticIp: nic.elasticIp === null ? null : elastic }]),
  ]),
});
const gone: NetworkOrder = {
  do: "check",
  network: { vpcs: [], subnets: [], securityGroups: [] },
  peers: [],
  guests: [],
};

/** Everything there is, but for what differs between two runs. */
function state(host: NetworkHost): string {
  const inside = "ip -o addr; ip route; nft -s list ruleset; cat /proc/sys/net/ipv4/ip_forward";
  const text = host.sh(
    `ls /run/netns /run/network /run/network/*/hosts; ip -o link; ip -o addr; ip route; ip neigh show proxy; nft -s list ruleset;
     bridge fdb show | grep static || true;
     for each in $(ls /run/netns); do echo $each; nsenter --net=/run/netns/$each sh -c '${inside}'; done`,
  );
  const told = text
    .replaceAll(/link\/ether \S+|link-netns\S* \S+|link-netnsid \d+|@if\d+|^\d+: |inet6 .*|valid_lft.*/gm, "")
    .replaceAll(/\S+ (?=dev up-)|([0-9a-f]{2}:){5}[0-9a-f]{2}/g, "");
  // The kernel lists elements, tables and links in the order in which they came.
  const lines = told.split("\n").map((line) => line.replaceAll(/elements = \{|[,}]+$/g, "").trim());
  return lines.toSorted().join("\n");
}

async function settled(host: NetworkHost, order: NetworkOrder): Promise<void> {
  await until("the network to be as wanted", async () => (await host.tryOrder(order)) === null, 30_000);
}

test.each(points)("a death at %s, coming and going", async (point) => {
  const host = await NetworkHost.start(underlay, 120 + points.indexOf(point));
  try {
    const elastic = underlay.host(200);
    await settled(host, here(elastic));
    const whole = state(host);
    await settled(host, gone);
    const empty = state(host);
    for (const [name, order, as] of [
      ["come", here(elastic), whole],
      ["go", gone, empty],
    ] as const) {
      await host.killCompute();
      host.startCompute({ VSTATION_CRASH_AT: point, VSTATION_CRASH_ONCE: `/run/${name}` });
      const died = await host.tryOrder(order);
      // Nothing gets a lease when a network goes.
      const passesBy = name === "come" || point !== "network.guest.lease-written";
      expect(died).toBe(passesBy ? "the driver ended" : null);
      await host.killCompute();
      host.startCompute();
      await settled(host, order);
      // A namespace's end is the kernel's to finish.
      await until("the same as without a death", () => state(host) === as, 30_000).catch(() => undefined);
      expect(state(host)).toBe(as);
    }
  } finally {
    await host.stop();
  }
});
