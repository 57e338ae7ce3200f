/** What a host makes of a guest that moves, before VStation has told everybody. */
import { describe, expect, test } from "vitest";
import type { Peer } from "../../api/agent.ts";
import type { InstanceId, SecurityGroupId, SubnetId, VpcId } from "../../lib/ids.ts";
import { Places, switchOver, type Place } from "./places.ts";
import { guestNics, planNetwork, type NetworkPlan } from "./plan.ts";

const id = "ins-aaaaaaaa" as InstanceId;
const subnetId = "subnet-aaaaaaaa" as SubnetId;
const vpcId = "vpc-aaaaaaaa" as VpcId;
const [source, target] = ["192.0.2.1", "192.0.2.2"];
const mac = "52:54:00:00:00:01";
const peerAt = (vtep: string): Peer => ({ subnetId, ip: "10.0.0.5", mac, vtep, name: null, groupIds: [] });
const spec = {
  nics: [{ mac, ip: "10.0.0.5", subnetId, securityGroupIds: [] as SecurityGroupId[], elasticIp: "192.0.2.99" }],
} as unknown as Parameters<typeof guestNics>[0] extends Iterable<readonly [unknown, infer Spec]> ? Spec : never;
const subnet = {
  ...{ id: subnetId, vpcId, cidr: "10.0.0.0/24", gateway: "10.0.0.1", gatewayMac: "02:00:00:00:00:01" },
  ...{ vni: 7, mtu: 1500, dns: [], egress: "host" as const },
};

function planAt(address: string, place: Place, peers: readonly Peer[]): NetworkPlan {
  return planNetwork({
    network: { vpcs: [{ id: vpcId, cidrs: ["10.0.0.0/24"], domain: "a.b" }], subnets: [subnet], securityGroups: [] },
    peers,
    nics: guestNics([[id, spec]], new Map([[id, place]])),
    slots: new Map(),
    underlay: { address, device: "eth0" },
  });
}
const facts = (plan: NetworkPlan) => ({
  to: plan.subnets[0]?.remote.get(mac)?.vtep,
  translates: plan.vpcs[0]?.elastic.size,
  answers: plan.vpcs[0]?.answered.size,
  forwards: plan.subnets[0]?.forwards,
});

describe("a guest that moves", () => {
  test("is the source's until the hand-over, at the target too", () => {
    expect(facts(planAt(source, { is: "here" }, [peerAt(source)]))).toEqual({
      ...{ to: undefined, translates: 1, answers: 1, forwards: false },
    });
    expect(facts(planAt(target, { is: "coming" }, [peerAt(source)]))).toEqual({
      ...{ to: source, translates: 1, answers: 0, forwards: false },
    });
  });

  test("is the target's from then on, though VStation has not said so yet", () => {
    expect(facts(planAt(source, { is: "gone", vtep: target }, [peerAt(source)]))).toEqual({
      ...{ to: target, translates: 0, answers: 0, forwards: true },
    });
    expect(facts(planAt(target, { is: "arrived" }, [peerAt(source)]))).toEqual({
      ...{ to: undefined, translates: 1, answers: 1, forwards: false },
    });
  });

  test("needs no word of its hosts once VStation's agrees", () => {
    const places = new Places(target);
    places.set(id, { is: "arrived" });
    const nics = guestNics([[id, spec]], places.all);
    places.settle(nics, [peerAt(source)]);
    expect(places.all.get(id)).toEqual({ is: "arrived" });
    places.settle(nics, [peerAt(target)]);
    expect(places.all.size).toBe(0);
  });

  test("has its own entries changed at once, and nobody else's", () => {
    const lines = (place: Place) => switchOver(guestNics([[id, spec]], new Map([[id, place]])));
    expect(lines({ is: "gone", vtep: target })).toEqual({
      bridge: [
        `fdb replace ${mac} dev vx-aaaaaaaa dst ${target} self permanent`,
        `fdb replace ${mac} dev vx-aaaaaaaa master static`,
        "link set dev vx-aaaaaaaa hairpin on",
      ],
      ip: [`neigh replace 10.0.0.5 lladdr ${mac} dev br-aaaaaaaa nud permanent`],
    });
    expect(lines({ is: "arrived" }).ip).toEqual(["neigh del 10.0.0.5 dev br-aaaaaaaa"]);
  });
});
