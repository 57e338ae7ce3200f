/** Another address, subnet or VPC for an instance, by the API, in SQL and as its host is told: real PostgreSQL, a real VStation, simulated hosts. */
import { afterEach, expect, it } from "vitest";
import type { InstanceId } from "../../src/lib/ids.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { until } from "../until.ts";
import { areGone, inState, list, show, stop, terminate } from "./support/cloud.ts";
import { CvmCaller } from "./support/cvm.ts";
import { makeNet, nicOn, readyHost, runIn, subnetsOn, zone, type Net } from "./support/network.ts";
import { vstationForEach } from "./support/vstation-for.ts";
import type { TestVstation } from "./support/vstation.ts";

let vstation: TestVstation;
let cvm: CvmCaller;
let host: SimHost;
let one: Net;
let two: Net;

vstationForEach(async (made) => {
  vstation = made;
  await vstation.start();
  cvm = new CvmCaller(vstation.credentials);
  host = await readyHost(vstation);
  one = await makeNet(cvm, "10.1.0.0/16", "one");
  two = await makeNet(cvm, "10.2.0.0/16", "two");
});
afterEach(() => vstation.expectNoErrors());

async function running(net: Net, more: object = {}): Promise<InstanceId> {
  const id = await runIn(cvm, net, more);
  await inState(vstation, [id], "RUNNING");
  return id;
}

function to(net: Net, id: InstanceId | InstanceId[], ips?: string[], more: object = {}): Promise<unknown> {
  return cvm.call("ModifyInstancesVpcAttribute", move(net, id, ips, more));
}

function refused(net: Net, id: InstanceId | InstanceId[], ips?: string[], more: object = {}): Promise<string> {
  return cvm.refusal("ModifyInstancesVpcAttribute", move(net, id, ips, more));
}

function move(
  { vpcId: VpcId, subnetId: SubnetId }: Net,
  id: InstanceId | InstanceId[],
  ips?: string[],
  more: object = {},
) {
  const VirtualPrivateCloud = { VpcId, SubnetId, ...(ips === undefined ? {} : { PrivateIpAddresses: ips }) };
  return { InstanceIds: [id].flat(), VirtualPrivateCloud, ...more };
}

/** By the API that tells of addresses in use, and by SQL. */
async function addressesOf(id: InstanceId): Promise<string[]> {
  const rows = await vstation.sql<{ ip: string; held_as: string }>(
    `select ip, held_as from address where instance_id = '${id}' and released_at is null order by held_as`,
  );
  const filter = { Filters: [{ Name: "resource-id", Values: [id] }] };
  const told = await Promise.all(
    [one, two].map(({ vpcId }) => cvm.call("DescribeUsedIpAddress", { VpcId: vpcId, ...filter })),
  );
  const ips = told.flatMap(({ IpAddressStates }) =>
    (IpAddressStates as { IpAddress: string }[]).map((each) => each.IpAddress),
  );
  expect(ips.toSorted()).toEqual(rows.map(({ ip }) => ip).toSorted());
  return rows.map(({ ip, held_as }) => `${held_as} ${ip}`);
}

it("takes one that runs down and up in the other VPC, with all that is its own but the address", async () => {
  const id = await running(one, { HostName: "web" });
  const { AddressSet } = await cvm.call("AllocateAddresses", { AddressCount: 1 });
  await cvm.call("AssociateAddress", { AddressId: AddressSet[0], InstanceId: id });
  const before = await show(vstation.native, id);
  const mac = nicOn(host, id)?.mac;
  const groups = before.securityGroupIds;
  await to(two, id);
  const [after] = await inState(vstation, [id], "RUNNING");
  expect(after).toMatchObject({ vpcId: two.vpcId, subnetId: two.subnetId, incarnation: 2, epoch: 1 });
  expect(host.specs.get(id)?.hostname).toBe("web");
  expect(after).toMatchObject({ elastic: before.elastic, securityGroupIds: groups });
  expect(after?.latestOperation).toMatchObject({ kind: "instance.renumber", state: "SUCCEEDED" });
  expect(after?.ip).toMatch(/^10\.2\.1\./);
  expect(nicOn(host, id)).toMatchObject({ ip: after?.ip, subnetId: two.subnetId, mac, elasticIp: before.elastic?.ip });
  expect(subnetsOn(host)).toEqual([two.subnetId]);
  await until("the peer has moved", () => {
    const peers = [...host.peers.values()].filter(({ name }) => name === "web");
    return peers.length === 1 && peers[0]?.ip === after?.ip && peers[0]?.subnetId === two.subnetId;
  });
  await until("one address", async () => (await addressesOf(id)).length === 1);
  expect(await addressesOf(id)).toEqual([`own ${after?.ip}`]);
  // Nothing holds the network that it has left; what it is in now is held.
  await cvm.call("DeleteSubnet", { SubnetId: one.subnetId });
  await cvm.call("DeleteVpc", { VpcId: one.vpcId });
  expect(await cvm.refusal("DeleteSubnet", { SubnetId: two.subnetId })).toBe("ResourceInUse");
  const { InstanceSet } = await cvm.call("DescribeInstances", { InstanceIds: [id] });
  expect(InstanceSet[0]).toMatchObject({
    LatestOperation: "ModifyInstancesVpcAttribute",
    LatestOperationState: "SUCCESS",
    VirtualPrivateCloud: { VpcId: two.vpcId, SubnetId: two.subnetId },
    PrivateIpAddresses: [after?.ip],
    PublicIpAddresses: [before.elastic?.ip],
  });
});

it("leaves off what was off, within a subnet too, and is the same said twice", async () => {
  const id = await running(one);
  await stop(vstation.native, [id]);
  await inState(vstation, [id], "STOPPED");
  await to(one, id, ["10.1.1.77"], { ForceStop: false, ReserveHostName: false });
  const [after] = await inState(vstation, [id], "STOPPED");
  expect(after).toMatchObject({ ip: "10.1.1.77", subnetId: one.subnetId, incarnation: 1 });
  expect(host.specs.get(id)?.hostname).toBe(id);
  await until("one address", async () => (await addressesOf(id)).length === 1);
  const before = await show(vstation.native, id);
  await to(one, id, ["10.1.1.77"]);
  await to(one, id);
  expect((await show(vstation.native, id)).latestOperation?.id).toBe(before.latestOperation?.id);
  expect(nicOn(host, id)?.ip).toBe("10.1.1.77");
});

it("moves many with the addresses that are named for them, in their order", async () => {
  const ids = [await running(one), await running(one), await running(two)];
  const ips = ["10.2.1.30", "10.2.1.20", "10.2.1.10"];
  await to(two, ids, ips);
  const all = await inState(vstation, ids, "RUNNING");
  expect(all.map(({ ip }) => ip)).toEqual(ips);
});

it("refuses what cannot be, and changes nothing", async () => {
  const id = await running(one);
  const other = await running(two);
  const nobody = "ins-00000000" as InstanceId;
  const { ip } = await show(vstation.native, other);
  expect(await refused(two, id, [ip])).toBe("VpcIpIsUsed");
  // Outside the subnet, its own address, its gateway's, its broadcast address.
  for (const wrong of ["10.1.1.9", "10.2.1.0", "10.2.1.1", "10.2.1.255"]) {
    expect(await refused(two, id, [wrong])).toBe("VpcAddrNotInSubNet");
  }
  expect(await refused(two, id, ["10.2.1.300"])).toBe("InvalidParameterValue.Malformed");
  expect(await refused(two, [id, other], ["10.2.1.9"])).toBe("InvalidParameterCombination");
  expect(await refused(two, [id, other], ["10.2.1.9", "10.2.1.9"])).toBe("InvalidParameterValue");
  expect(await refused({ ...two, vpcId: one.vpcId }, id)).toBe("InvalidParameterCombination");
  expect(await refused({ ...two, vpcId: "vpc-00000000" }, id)).toBe("InvalidParameterValue.VpcIdNotExist");
  expect(await refused({ ...two, subnetId: "subnet-00000000" }, id)).toBe("InvalidParameterValue.SubnetNotExist");
  expect(await refused({ ...two, subnetId: "x" }, id)).toBe("InvalidParameterValue.SubnetIdMalformed");
  expect(await refused(two, nobody)).toBe("InvalidInstanceId.NotFound");
  expect(await refused(two, [id, nobody])).toBe("InvalidInstanceId.NotFound");
  expect(await refused(two, id, undefined, { ForceStop: false })).toBe("UnsupportedOperation.InstanceStateRunning");
  const small = await cvm.call("CreateSubnet", {
    VpcId: two.vpcId,
    SubnetName: "small",
    CidrBlock: "10.2.9.0/28",
    Zone: zone,
  });
  const smallNet = { ...two, subnetId: small.Subnet.SubnetId as string };
  await runIn(cvm, smallNet, { InstanceCount: 12 });
  expect(await refused(smallNet, [id, other])).toBe("FailedOperation.NoAvailableIpAddressCountInSubnet");
  expect(await addressesOf(id)).toHaveLength(1);
  expect(await show(vstation.native, id)).toMatchObject({ state: "RUNNING", incarnation: 1, subnetId: one.subnetId });
  // What was refused took nothing: the one that is left can be had.
  await to(smallNet, id);
  await inState(vstation, [id], "RUNNING");
});

it("keeps both addresses from everybody until its host has answered", async () => {
  const id = await running(one);
  const { ip: former } = await show(vstation.native, id);
  host.setDefaultFaults({ frozen: true });
  for (const machine of host.machines.values()) machine.faults.frozen = true;
  await to(two, id, ["10.2.1.50"]);
  expect(await addressesOf(id)).toEqual(["next 10.2.1.50", `own ${former}`]);
  expect(await show(vstation.native, id)).toMatchObject({ ip: former, state: "STOPPING" });
  const { InstanceSet } = await cvm.call("DescribeInstances", { InstanceIds: [id] });
  expect(InstanceSet[0]).toMatchObject({ LatestOperationState: "OPERATING", PrivateIpAddresses: [former] });
  const taken = (net: Net, ip: string) => ({
    Placement: { Zone: zone },
    ImageId: "img-test0001",
    InstanceType: "T1.SMALL1",
    VirtualPrivateCloud: { VpcId: net.vpcId, SubnetId: net.subnetId, PrivateIpAddresses: [ip] },
  });
  expect(await cvm.refusal("RunInstances", taken(one, former))).toBe("VpcIpIsUsed");
  expect(await cvm.refusal("RunInstances", taken(two, "10.2.1.50"))).toBe("VpcIpIsUsed");
  expect(await cvm.refusal("DeleteSubnet", { SubnetId: two.subnetId })).toBe("ResourceInUse");
  // The same again is no second request, another one is too early.
  await to(two, id, ["10.2.1.50"]);
  expect(await refused(two, id, ["10.2.1.51"])).toBe("OperationDenied.InstanceOperationInProgress");
  expect(await refused(one, id, ["10.1.1.51"])).toBe("OperationDenied.InstanceOperationInProgress");
  // A VStation that dies in the middle knows all of this from SQL.
  await vstation.kill();
  await vstation.start();
  expect(await addressesOf(id)).toEqual(["next 10.2.1.50", `own ${former}`]);
  await terminate(vstation.native, [id]);
  host.setDefaultFaults({ frozen: false });
  for (const machine of host.machines.values()) machine.faults.frozen = false;
  await areGone(vstation, [id]);
  expect(await addressesOf(id)).toEqual([]);
  expect(await vstation.sql("select * from instance_subnet")).toEqual([]);
  await until("both addresses can be had", async () => {
    await cvm.call("RunInstances", taken(one, former));
    await cvm.call("RunInstances", taken(two, "10.2.1.50"));
    return true;
  });
});

it("gives an address that was left to whoever asks for it, and that one another MAC", async () => {
  const at = { VpcId: one.vpcId, SubnetId: one.subnetId };
  const id = await running(one, { VirtualPrivateCloud: { ...at, PrivateIpAddresses: ["10.1.1.40"] } });
  await to(one, id, ["10.1.1.41"]);
  await inState(vstation, [id], "RUNNING");
  await until("one address", async () => (await addressesOf(id)).length === 1);
  const next = await runIn(cvm, one, { VirtualPrivateCloud: { ...at, PrivateIpAddresses: ["10.1.1.40"] } });
  await inState(vstation, [next], "RUNNING");
  expect(nicOn(host, next)?.mac).not.toBe(nicOn(host, id)?.mac);
  expect((await list(vstation.native)).map(({ ip }) => ip).toSorted()).toEqual(["10.1.1.40", "10.1.1.41"]);
});
