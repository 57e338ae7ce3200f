import { describe, expect, test } from "vitest";
import type { Peer, WantedSubnet, WantedVpc } from "../../api/agent.ts";
import type { InstanceId, SubnetId, VpcId } from "../../lib/ids.ts";
import type { ActualLink, ActualNetwork } from "./actual.ts";
import { diffNetwork } from "./diff.ts";
import { tapName } from "./names.ts";
import { planNetwork, type GuestNic, type NetworkPlan } from "./plan.ts";

const vpc: WantedVpc = { id: "vpc-abcd1234" as VpcId, cidrs: ["10.1.0.0/16"], domain: "z.internal" };
const subnet: WantedSubnet = {
  id: "subnet-abcd1234" as SubnetId,
  vpcId: vpc.id,
  cidr: "10.1.0.0/16",
  gateway: "10.1.0.1",
  gatewayMac: "02:00:00:00:00:01",
  vni: 7,
  mtu: 1450,
  dns: [],
  egress: "host",
};
const peer = (ip: string, mac: string, vtep: string | null): Peer => ({
  subnetId: subnet.id,
  ip,
  mac,
  vtep,
  name: null,
  groupIds: [],
});
const remote = peer("10.1.0.20", "52:54:00:00:00:20", "192.0.2.2");
const nic: GuestNic = {
  instance: "ins-abcd1234" as InstanceId,
  index: 0,
  tap: "t0-abcd1234",
  mac: "52:54:00:00:00:10",
  ip: "10.1.0.10",
  subnetId: subnet.id,
  groups: [],
  elasticIp: null,
  place: { is: "here" },
};
const planOf = (peers: readonly Peer[], nics: readonly GuestNic[] = [], subnets = [subnet]): NetworkPlan =>
  planNetwork({
    network: { vpcs: [vpc], subnets, securityGroups: [] },
    peers,
    nics,
    slots: new Map<string, number>([
      [vpc.id, 1],
      [subnet.id, 2],
    ]),
    underlay: { address: "192.0.2.1", device: "eth0" },
  });
const plan = planOf([remote, peer("10.1.0.10", "52:54:00:00:00:10", "192.0.2.1")]);

const nothing: ActualNetwork = {
  links: new Map(),
  inUse: new Set(),
  tunnels: new Map(),
  ports: new Map(),
  neighbours: new Map(),
  proxied: new Set(),
  routes: new Map(),
  underlay: { index: 2, mac: "02:99:00:00:00:02" },
};
const link = (name: string, rest: Partial<ActualLink>): ActualLink => ({
  name,
  mac: "02:99:00:00:00:01",
  mtu: 1450,
  up: true,
  master: null,
  vxlan: null,
  filtered: false,
  port: null,
  addresses: [],
  ...rest,
});
const bridge = link("br-abcd1234", { mac: "0e:76:73:00:00:02", filtered: true });
const vxlan = link("vx-abcd1234", {
  master: "br-abcd1234",
  vxlan: { id: 7, local: "192.0.2.1", device: "eth0", learning: false },
  port: { learning: false, neighSuppress: true, hairpin: false },
});
const port = link("rp-abcd1234", {
  master: "br-abcd1234",
  port: { learning: true, neighSuppress: false, hairpin: false },
});
const uplink = link("up-abcd1234", { mtu: 1500, addresses: ["169.254.192.2/31"] });
const asWanted: ActualNetwork = {
  ...nothing,
  links: new Map([bridge, vxlan, port, uplink].map((one) => [one.name, one])),
  tunnels: new Map([[vxlan.name, new Map([[remote.mac, "192.0.2.2"]])]]),
  ports: new Map([
    [vxlan.name, new Set([remote.mac])],
    [port.name, new Set([subnet.gatewayMac])],
  ]),
  neighbours: new Map([[bridge.name, new Map([[remote.ip, remote.mac]])]]),
};
const withLink = (one: ActualLink): ActualNetwork => ({
  ...asWanted,
  links: new Map([...asWanted.links, [one.name, one]]),
});
const unread = new Map<string, ReadonlySet<string>>();
const diff = (wanted: NetworkPlan, actual: ActualNetwork) => diffNetwork(wanted, actual, unread);

describe("diffNetwork", () => {
  test("makes everything on a host that has nothing", () => {
    expect(diff(plan, nothing)).toMatchInlineSnapshot(`
      {
        "arrived": [],
        "bridge": [
          "link set dev vx-abcd1234 learning off neigh_suppress on",
          "fdb replace 02:00:00:00:00:01 dev rp-abcd1234 master static",
          "fdb replace 52:54:00:00:00:20 dev vx-abcd1234 dst 192.0.2.2 self permanent",
          "fdb replace 52:54:00:00:00:20 dev vx-abcd1234 master static",
        ],
        "ip": [
          "link add name up-abcd1234 type veth peer name uplink netns vstation-abcd1234",
          "link set dev up-abcd1234 alias vstation",
          "link set dev up-abcd1234 addrgenmode none",
          "addr add 169.254.192.2/31 dev up-abcd1234",
          "link set dev up-abcd1234 up",
          "link add name br-abcd1234 address 0e:76:73:00:00:02 mtu 1450 type bridge stp_state 0 mcast_snooping 0 nf_call_iptables 1",
          "link set dev br-abcd1234 alias vstation",
          "link set dev br-abcd1234 addrgenmode none",
          "link set dev br-abcd1234 up",
          "link add name vx-abcd1234 mtu 1450 type vxlan id 7 local 192.0.2.1 dev eth0 dstport 4789 nolearning",
          "link set dev vx-abcd1234 alias vstation",
          "link set dev vx-abcd1234 addrgenmode none",
          "link set dev vx-abcd1234 master br-abcd1234",
          "link set dev vx-abcd1234 up",
          "link add name rp-abcd1234 mtu 1450 type veth peer name gw-abcd1234 address 02:00:00:00:00:01 mtu 1450 netns vstation-abcd1234",
          "link set dev rp-abcd1234 alias vstation",
          "link set dev rp-abcd1234 addrgenmode none",
          "link set dev rp-abcd1234 master br-abcd1234",
          "link set dev rp-abcd1234 up",
          "neigh replace 10.1.0.20 lladdr 52:54:00:00:00:20 dev br-abcd1234 nud permanent",
        ],
      }
    `);
  });

  test("has nothing to do when all is as wanted", () => {
    expect(diff(plan, asWanted)).toEqual({ ip: [], bridge: [], arrived: [] });
  });

  test("repairs a bridge in place, so that no guest's tap falls off it; one that was the gateway itself included", () => {
    const worn = {
      ...bridge,
      mac: subnet.gatewayMac,
      mtu: 1500,
      up: false,
      filtered: false,
      addresses: ["10.1.0.1/16"],
    };
    expect(diff(plan, withLink(worn)).ip).toEqual([
      "link set dev br-abcd1234 address 0e:76:73:00:00:02",
      "link set dev br-abcd1234 mtu 1450",
      "link set dev br-abcd1234 type bridge nf_call_iptables 1",
      "addr del 10.1.0.1/16 dev br-abcd1234",
      "link set dev br-abcd1234 up",
    ]);
  });

  test("replaces a VXLAN device of another network, with every entry in it", () => {
    const other = { ...vxlan, vxlan: { id: 8, local: "192.0.2.1", device: "eth0", learning: false } };
    const commands = diff(plan, withLink(other));
    expect(commands.ip[0]).toBe("link del dev vx-abcd1234");
    expect(commands.bridge).toContain("fdb replace 52:54:00:00:00:20 dev vx-abcd1234 dst 192.0.2.2 self permanent");
  });

  test("lays the cables to a router anew that is not the one they led to", () => {
    const { ip, bridge: entries } = diffNetwork(plan, asWanted, new Map([["vstation-abcd1234", new Set(["lo"])]]));
    expect(ip.filter((line) => line.startsWith("link del"))).toEqual([
      "link del dev up-abcd1234",
      "link del dev rp-abcd1234",
    ]);
    expect(entries).toEqual(["fdb replace 02:00:00:00:00:01 dev rp-abcd1234 master static"]);
  });

  test("follows a peer that moved to another host, and forgets one that moved here or is gone", () => {
    expect(diff(planOf([{ ...remote, vtep: "192.0.2.3" }]), asWanted).bridge).toEqual([
      "fdb del 52:54:00:00:00:20 dev vx-abcd1234 dst 192.0.2.2 self",
      "fdb replace 52:54:00:00:00:20 dev vx-abcd1234 dst 192.0.2.3 self permanent",
    ]);
    for (const vtep of [null, "192.0.2.1"]) {
      expect(diff(planOf([{ ...remote, vtep }]), asWanted)).toEqual({
        ip: ["neigh del 10.1.0.20 dev br-abcd1234"],
        bridge: [
          "fdb del 52:54:00:00:00:20 dev vx-abcd1234 dst 192.0.2.2 self",
          "fdb del 52:54:00:00:00:20 dev vx-abcd1234 master",
        ],
        arrived: [],
      });
    }
  });

  test("an address that another machine has now points to that one", () => {
    const commands = diff(planOf([{ ...remote, mac: "52:54:00:00:00:99" }]), asWanted);
    expect(commands.ip).toEqual(["neigh replace 10.1.0.20 lladdr 52:54:00:00:00:99 dev br-abcd1234 nud permanent"]);
    expect(commands.bridge).toContain("fdb del 52:54:00:00:00:20 dev vx-abcd1234 master");
  });

  test("answers for an elastic address from when its instance is here until it has gone", () => {
    const wanted = planOf([remote], [{ ...nic, elasticIp: "192.0.2.200" }]);
    const came = diff(wanted, asWanted);
    expect(came).toEqual({
      ip: [
        "route replace 192.0.2.200/32 via 169.254.192.3 dev up-abcd1234",
        "neigh add proxy 192.0.2.200 dev eth0 protocol 118",
      ],
      bridge: [],
      arrived: ["192.0.2.200"],
    });
    const here = {
      ...asWanted,
      proxied: new Set(["192.0.2.200"]),
      routes: new Map([["up-abcd1234", new Set(["192.0.2.200"])]]),
    };
    expect(diff(wanted, here)).toEqual({ ip: [], bridge: [], arrived: [] });
    expect(diff(plan, here).ip).toEqual([
      "route del 192.0.2.200/32 dev up-abcd1234",
      "neigh del proxy 192.0.2.200 dev eth0",
    ]);
  });

  test("removes the links of a subnet that is not wanted any more, but not under a guest that nobody knows", () => {
    const none = planOf([], [], []);
    expect(diff(none, asWanted).ip).toEqual([
      "link del dev br-abcd1234",
      "link del dev vx-abcd1234",
      "link del dev rp-abcd1234",
      "link del dev up-abcd1234",
    ]);
    expect(diff(none, { ...asWanted, inUse: new Set(["br-abcd1234"]) }).ip).toEqual([]);
  });

  test("an interface name fits the kernel's 15 characters", () => {
    expect(tapName("ins-abcd1234" as InstanceId, 7).length).toBeLessThanOrEqual(15);
  });
});
