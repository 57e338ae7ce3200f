/** Networks in SQL and what hosts are told of them: real PostgreSQL, a real VStation, simulated hosts that speak the real contract. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Peer } from "../../src/api/agent.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { areGone, inState, list, run, terminate } from "./support/cloud.ts";
import { CvmCaller } from "./support/cvm.ts";
import { TestPostgres } from "./support/postgres.ts";
import { eventually, TestVstation } from "./support/vstation.ts";

const postgres = new TestPostgres();
let vstation: TestVstation;
let cvm: CvmCaller;

beforeAll(() => postgres.start());
afterAll(() => postgres.close());
beforeEach(async () => {
  vstation = await TestVstation.create(postgres);
  await vstation.start();
  cvm = new CvmCaller(vstation.credentials);
});
afterEach(() => vstation.close());

const zone = "ap-test-1";

/** The one NIC that a host is told of. */
function nicOn(host: SimHost, id: string) {
  return host.specs.get(id as InstanceId)?.nics[0];
}

describe("the network of the configuration", () => {
  it("is the first account's default one, with a way out, and its group admits everything", async () => {
    const host = await vstation.addHost();
    const [id = "" as InstanceId] = await run(vstation.native);
    await inState(vstation, [id], "RUNNING");
    expect(host.network).toMatchObject({
      vpcs: [{ id: "vpc-test0001", cidrs: ["10.200.0.0/16"], egress: "host", domain: "ap-test-1.internal" }],
      subnets: [
        { id: "subnet-test0001", vpcId: "vpc-test0001", cidr: "10.200.0.0/16", gateway: "10.200.0.1", vni: 4242 },
      ],
    });
    const [group] = host.network.securityGroups;
    const open = [{ action: "accept", protocol: "all", ports: null, peer: { cidr: "0.0.0.0/0" } }];
    expect(group).toMatchObject({ ingress: open, egress: open });
    expect(nicOn(host, id)).toMatchObject({
      subnetId: "subnet-test0001",
      securityGroupIds: [group?.id],
      elasticIp: null,
    });
    const peer = await eventually("the peer", () => [...host.peers.values()].find((one: Peer) => one.name === id));
    expect(peer).toMatchObject({ subnetId: "subnet-test0001", groupIds: [group?.id] });
    const [shown] = await list(vstation.native, { id: [id] });
    expect(shown).toMatchObject({ vpcId: "vpc-test0001", securityGroupIds: [group?.id], elastic: null });
    await terminate(vstation.native, [id]);
    await areGone(vstation, [id]);
    for (const table of ["instance_subnet", "instance_security_group"]) {
      expect(await vstation.sql(`select * from ${table}`)).toEqual([]);
    }
  });

  it("is made once, and stays what it is over restarts", async () => {
    const before = await vstation.sql(
      "select id from vpc union select id from subnet union select id from security_group union select id from nat_gateway order by id",
    );
    await vstation.kill();
    await vstation.start();
    const after = await vstation.sql(
      "select id from vpc union select id from subnet union select id from security_group union select id from nat_gateway order by id",
    );
    expect(after).toEqual(before);
    expect(before).toHaveLength(4);
  });

  it("gives certain addresses, each once, and none that it keeps for itself", async () => {
    await vstation.addHost();
    const ips = ["10.200.3.7", "10.200.3.8"];
    const made = await run(vstation.native, { count: 2, ips });
    expect((await list(vstation.native, { id: made })).map(({ ip }) => ip).toSorted()).toEqual(ips);
    await expect(run(vstation.native, { ips: ["10.200.3.7"] })).rejects.toMatchObject({ code: "AddressInUse" });
    for (const ip of ["10.200.0.5", "10.200.255.255", "10.201.0.5"]) {
      await expect(run(vstation.native, { ips: [ip] })).rejects.toMatchObject({ code: "AddressOutside" });
    }
    await expect(run(vstation.native, { count: 2, ips: ["10.200.9.9"] })).rejects.toMatchObject({
      code: "InvalidParameter",
    });
    await terminate(vstation.native, made);
    await areGone(vstation, made);
    expect(await run(vstation.native, { ips: ["10.200.3.7"] })).toHaveLength(1);
  });

  it("is refused to whoever names a VPC that it is not in", async () => {
    await vstation.addHost();
    const network = { VpcId: "vpc-00000000", SubnetId: "subnet-test0001" };
    const request = { Placement: { Zone: zone }, ImageId: "img-test0001", InstanceType: "T1.SMALL1" };
    expect(await cvm.refusal("RunInstances", { ...request, VirtualPrivateCloud: network })).toBe(
      "InvalidParameterValue.VpcIdNotExist",
    );
    const unknown = { VpcId: "vpc-test0001", SubnetId: "subnet-00000000" };
    expect(await cvm.refusal("RunInstances", { ...request, VirtualPrivateCloud: unknown })).toBe(
      "InvalidParameterValue.SubnetNotExist",
    );
    expect(await cvm.refusal("RunInstances", { ...request, SecurityGroupIds: ["sg-00000000"] })).toBe(
      "InvalidSecurityGroupId.NotFound",
    );
  });
});
