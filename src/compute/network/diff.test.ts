import { describe, expect, test } from "vitest";
import type { Peer, WantedSubnet } from "../../api/agent.ts";
import type { InstanceId, SubnetId, VpcId } from "../../lib/ids.ts";
import type { ActualLink, ActualNetwork } from "./actual.ts";
import { diffNetwork } from "./diff.ts";
import { firewallRules } from "./firewall.ts";
import { planNetwork, tapName } from "./plan.ts";

const subnet: WantedSubnet = {
  id: "subnet-abcd1234" as SubnetId,
  vpcId: "vpc-abcd1234" as VpcId,
  cidr: "10.1.0.0/16",
  gateway: "10.1.0.1",
  gatewayMac: "02:00:00:00:00:01",
  vni: 7,
  mtu: 1450,
  dns: [],
};
const peer = (ip: string, mac: string, vtep: string | null): Peer => ({
  subnetId: subnet.id,
  ip,
  mac,
  vtep,
  name: null,
  groupIds: [],
});
const config = { underlayAddress: "192.0.2.1", underlayDevice: "eth0", direct: ["192.0.2.0/24"] };
const remote = peer("10.1.0.20", "52:54:00:00:00:20", "192.0.2.2");
const plan = planNetwork([subnet], [remote, peer("10.1.0.10", "52:54:00:00:00:10", "192.0.2.1")], config);

const nothing: ActualNetwork = {
  links: new Map(),
  tunnels: new Map(),
  ports: new Map(),
  neighbours: new Map(),
  names: new Set(),
};
const bridge: ActualLink = {
  name: "br-abcd1234",
  mac: "02:00:00:00:00:01",
  mtu: 1450,
  up: true,
  master: null,
  vxlan: null,
  port: null,
  addresses: ["10.1.0.1/16"],
};
const vxlan: ActualLink = {
  name: "vx-abcd1234",
  mac: "02:99:00:00:00:01",
  mtu: 1450,
  up: true,
  master: "br-abcd1234",
  vxlan: { id: 7, local: "192.0.2.1", device: "eth0", learning: false },
  port: { learning: false, neighSuppress: true },
  addresses: [],
};
const asWanted: ActualNetwork = {
  ...nothing,
  links: new Map([
    [bridge.name, bridge],
    [vxlan.name, vxlan],
  ]),
  tunnels: new Map([[vxlan.name, new Map([[remote.mac, "192.0.2.2"]])]]),
  ports: new Map([[vxlan.name, new Set([remote.mac])]]),
  neighbours: new Map([[bridge.name, new Map([[remote.ip, remote.mac]])]]),
};
const withLink = (link: ActualLink): ActualNetwork => ({
  ...asWanted,
  links: new Map([...asWanted.links, [link.name, link]]),
});

describe("diffNetwork", () => {
  test("makes everything on a host that has nothing", () => {
    expect(diffNetwork(plan, nothing)).toMatchInlineSnapshot(`
      {
        "bridge": [
          "link set dev vx-abcd1234 learning off neigh_suppress on",
          "fdb replace 52:54:00:00:00:20 dev vx-abcd1234 dst 192.0.2.2 self permanent",
          "fdb replace 52:54:00:00:00:20 dev vx-abcd1234 master static",
        ],
        "ip": [
          "link add name br-abcd1234 address 02:00:00:00:00:01 mtu 1450 type bridge stp_state 0 mcast_snooping 0",
          "link set dev br-abcd1234 alias vstation",
          "link set dev br-abcd1234 addrgenmode none",
          "addr add 10.1.0.1/16 dev br-abcd1234",
          "link set dev br-abcd1234 up",
          "link add name vx-abcd1234 mtu 1450 type vxlan id 7 local 192.0.2.1 dev eth0 dstport 4789 nolearning",
          "link set dev vx-abcd1234 alias vstation",
          "link set dev vx-abcd1234 addrgenmode none",
          "link set dev vx-abcd1234 master br-abcd1234",
          "link set dev vx-abcd1234 up",
          "neigh replace 10.1.0.20 lladdr 52:54:00:00:00:20 dev br-abcd1234 nud permanent",
        ],
      }
    `);
  });

  test("has nothing to do when all is as wanted", () => {
    expect(diffNetwork(plan, asWanted)).toEqual({ ip: [], bridge: [] });
  });

  test("repairs a bridge in place, so that no guest's tap falls off it", () => {
    const worn = { ...bridge, mac: "02:ff:00:00:00:01", mtu: 1500, up: false, addresses: ["10.9.0.1/16"] };
    expect(diffNetwork(plan, withLink(worn)).ip).toEqual([
      "link set dev br-abcd1234 address 02:00:00:00:00:01",
      "link set dev br-abcd1234 mtu 1450",
      "addr del 10.9.0.1/16 dev br-abcd1234",
      "addr add 10.1.0.1/16 dev br-abcd1234",
      "link set dev br-abcd1234 up",
    ]);
  });

  test("replaces a VXLAN device of another network, with every entry in it", () => {
    const other = { ...vxlan, vxlan: { id: 8, local: "192.0.2.1", device: "eth0", learning: false } };
    const commands = diffNetwork(plan, withLink(other));
    expect(commands.ip[0]).toBe("link del dev vx-abcd1234");
    expect(commands.bridge).toContain("fdb replace 52:54:00:00:00:20 dev vx-abcd1234 dst 192.0.2.2 self permanent");
  });

  test("follows a peer that moved to another host, and forgets one that moved here or is gone", () => {
    const moved = planNetwork([subnet], [{ ...remote, vtep: "192.0.2.3" }], config);
    expect(diffNetwork(moved, asWanted).bridge).toEqual([
      "fdb del 52:54:00:00:00:20 dev vx-abcd1234 dst 192.0.2.2 self",
      "fdb replace 52:54:00:00:00:20 dev vx-abcd1234 dst 192.0.2.3 self permanent",
    ]);
    for (const vtep of [null, "192.0.2.1"]) {
      const here = planNetwork([subnet], [{ ...remote, vtep }], config);
      expect(diffNetwork(here, asWanted)).toEqual({
        ip: ["neigh del 10.1.0.20 dev br-abcd1234"],
        bridge: [
          "fdb del 52:54:00:00:00:20 dev vx-abcd1234 dst 192.0.2.2 self",
          "fdb del 52:54:00:00:00:20 dev vx-abcd1234 master",
        ],
      });
    }
  });

  test("an address that another machine has now points to that one", () => {
    const other = { ...remote, mac: "52:54:00:00:00:99" };
    const commands = diffNetwork(planNetwork([subnet], [other], config), asWanted);
    expect(commands.ip).toEqual(["neigh replace 10.1.0.20 lladdr 52:54:00:00:00:99 dev br-abcd1234 nud permanent"]);
    expect(commands.bridge).toContain("fdb del 52:54:00:00:00:20 dev vx-abcd1234 master");
  });

  test("removes the links of a subnet that is not wanted any more", () => {
    const none = planNetwork([], [], config);
    expect(diffNetwork(none, asWanted).ip).toEqual(["link del dev br-abcd1234", "link del dev vx-abcd1234"]);
  });
});

describe("firewallRules", () => {
  test("translate what leaves the subnet and the directly known networks, and nothing else", () => {
    expect(firewallRules(plan)).toMatchInlineSnapshot(`
      "table inet vstation
      delete table inet vstation
      table inet vstation {
      	chain postrouting {
      		type nat hook postrouting priority srcnat; policy accept;
      		ip saddr 10.1.0.0/16 ip daddr != 10.1.0.0/16 ip daddr != 192.0.2.0/24 ip daddr != 224.0.0.0/4 ip daddr != 255.255.255.255/32 masquerade
      	}
      	chain input {
      		type filter hook input priority filter; policy accept;
      		iifname != { "br-abcd1234" } accept
      		ct state established,related accept
      		udp dport { 53, 67 } accept
      		tcp dport 53 accept
      		meta l4proto icmp accept
      		drop
      	}
      }
      "
    `);
  });
});

test("interface names fit into the kernel's 15 characters", () => {
  const tap = tapName("ins-abcd1234" as InstanceId, 7);
  for (const name of [bridge.name, vxlan.name, tap]) expect(name.length).toBeLessThanOrEqual(15);
});
