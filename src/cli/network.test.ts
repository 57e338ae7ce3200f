import { describe, expect, it } from "vitest";
import { failure } from "../core/failure-codes.ts";
import { personEach } from "./person.fake.ts";

const here = personEach();
const { cli } = here;

/** What is printed, with every id that is made anew put as `kind-*`. */
async function said(line: string): Promise<string> {
  const { code, out, err } = await cli(line);
  expect({ line, code, err: code === 0 ? "" : err }).toEqual({ line, code: 0, err: "" });
  return out.replaceAll(/\b(vpc|subnet|rtb|nat|sg|eip)-[a-z0-9]{8}/g, "$1-********");
}

describe("VPCs, subnets and ways out", () => {
  it("are made by names, listed, renamed and deleted", async () => {
    await said("vpc create v --cidr 10.1.0.0/16");
    await said("subnet create web --vpc v --cidr 10.1.1.0/24");
    await said("nat-gateway create out --vpc v");
    await said("route-table create open --vpc v");
    expect(await said("route-table set open --nat-gateway out")).toBe("rtb-******** leads out by nat-********\n");
    expect(await said("subnet set web --route-table open")).toBe("subnet-******** has route table rtb-********\n");
    await said("vpc rename v w");
    expect(await said("vpc list")).toMatchInlineSnapshot(`
      "ID            NAME  RANGE        DEFAULT  AGE
      vpc-********  w     10.1.0.0/16  -        5m
      "
    `);
    expect(await said("subnet list --vpc w")).toMatchInlineSnapshot(`
      "ID               NAME  VPC           RANGE        FREE     WAY OUT       DEFAULT  AGE
      subnet-********  web   vpc-********  10.1.1.0/24  253/253  nat-********  -        5m
      "
    `);
    expect(await said("route-table list")).toMatchInlineSnapshot(`
      "ID            NAME  VPC           MAIN  SUBNETS  WAY OUT       AGE
      rtb-********  open  vpc-********  -           0  nat-********  5m
      "
    `);
    expect(await said("nat-gateway list")).toMatchInlineSnapshot(`
      "ID            NAME  VPC           AGE
      nat-********  out   vpc-********  5m
      "
    `);
    expect(await said("route-table set open --no-nat-gateway")).toBe("rtb-******** leads nowhere\n");
    for (const thing of ["subnet delete web", "route-table rm open", "nat-gateway delete out", "vpc delete w"]) {
      expect(await said(`${thing} --yes`)).toMatch(/^deleted /);
    }
    const { vpcs } = here.cloud.network;
    expect((await vpcs.list({ accountId: "any", requestId: "r" }, {}, { offset: 0, limit: 1 })).total).toBe(0);
  });

  it("are for programs as the API has them", async () => {
    const made = JSON.parse((await cli("vpc create v --cidr 10.1.0.0/16 --json")).out) as { id: string };
    expect(JSON.parse((await cli("vpc list --json")).out)).toMatchObject({
      total: 1,
      vpcs: [{ id: made.id, name: "v" }],
    });
    expect(JSON.parse((await cli("vpc delete v --json")).out)).toEqual({ deleted: [made.id] });
  });

  it("say what to do where something does not go", async () => {
    here.cloud.failNext = failure("NetworkInUse", "VPC vpc-00000001 has subnets still");
    const { code, err } = await cli("vpc delete vpc-00000001 --yes");
    expect([code, err]).toEqual([4, expect.stringContaining("next: ")]);
    expect(await cli("subnet create s --vpc nobody --cidr 10.1.1.0/24")).toMatchObject({
      code: 3,
      err: expect.stringContaining('there is no VPC with the id or name "nobody" (VpcNotFound)') as string,
    });
    expect((await cli("route-table set t")).code).toBe(2);
  });
});

describe("security groups", () => {
  it("are rules in words, in an order that one can see and choose", async () => {
    expect((await cli("security-group create web")).err).toContain("nothing passes it yet");
    await said("security-group create clients");
    await said("security-group allow web tcp:22,8000-8010 --from anywhere --from 192.0.2.7 --description ssh");
    await said("security-group allow web tcp:443 --from clients --at 1");
    await said("security-group refuse web all --from 10.6.6.0/24");
    expect(await said("security-group allow web all --to anywhere")).toMatchInlineSnapshot(`
      "id                sg-********
      name              web
      description       -
      instances         0
      groups naming it  0
      created           2026-01-02T03:04:05.678Z
      account           acct-00000001

      in: the first that matches decides, what none matches does not pass
      AT  RULE    WHAT              FROM                   DESCRIPTION
       0  refuse  all               10.6.6.0/24            -
       1  allow   tcp:22,8000-8010  anywhere               ssh
       2  allow   tcp:443           clients (sg-********)  -
       3  allow   tcp:22,8000-8010  192.0.2.7              ssh

      out: the first that matches decides, what none matches does not pass
      AT  RULE   WHAT  TO        DESCRIPTION
       0  allow  all   anywhere  -
      "
    `);
    expect(await said("security-group remove web tcp:22,8000-8010 --from 192.0.2.7/32 --from anywhere")).not.toContain(
      "8010",
    );
    const left = await said("security-group remove web all --from 10.6.6.0/24");
    expect(left).not.toContain("refuse");
    expect(left).toContain("clients (sg-********)");
  });

  it("refuse in one line what is no rule", async () => {
    await said("security-group create web");
    const mistakes = {
      "allow web tcp:22": "give --from for what comes in, or --to for what goes out",
      "allow web tcp:22 --from anywhere --to anywhere": "give --from",
      "allow web tcp:99999 --from anywhere": "ports are such as",
      "allow web icmp:8 --from anywhere": "only tcp and udp have ports",
      "allow web http --from anywhere": "it is one of",
      "allow web tcp:22 --from 10.0.0.9/16": "is 10.0.0.0/16 meant?",
      "remove web tcp:22 --from anywhere": "has no such rule",
    };
    for (const [line, says] of Object.entries(mistakes)) {
      expect(await cli(`security-group ${line}`)).toMatchObject({
        code: 2,
        out: "",
        err: expect.stringContaining(says) as string,
      });
    }
    expect((await cli("security-group allow web tcp:22 --from 10.0.0.0/33")).code).toBe(3);
  });
});

describe("elastic addresses", () => {
  it("are known by id, name or the address itself", async () => {
    await cli("instance run --name a");
    expect(await said("address allocate --count 2 --name front")).toBe(
      "eip-********  192.0.2.1\neip-********  192.0.2.2\n",
    );
    expect(await said("address attach 192.0.2.2 --to a")).toBe("192.0.2.2 is ins-00000001's\n");
    await said("address rename 192.0.2.2 back");
    expect(await said("address list")).toMatchInlineSnapshot(`
      "ID            NAME   ADDRESS    KIND      INSTANCE      INSIDE  AGE
      eip-********  front  192.0.2.1  your own  -             -       5m
      eip-********  back   192.0.2.2  your own  ins-00000001  -       5m
      "
    `);
    expect(await said("address detach back")).toMatch(/^detached /);
    expect(await said("address release front 192.0.2.2 --yes")).toMatch(/^released eip-\*{8}, eip-\*{8}\n$/);
  });
});

describe("an instance's network", () => {
  it("is chosen by names when it is run, and its groups are changed", async () => {
    await said("vpc create v --cidr 10.1.0.0/16");
    await said("subnet create s --vpc v --cidr 10.1.1.0/24");
    for (const name of ["one", "two"]) await cli(`security-group create ${name}`);
    const idOf = async (line: string): Promise<string> => (await cli(line)).out.match(/(?:subnet|sg)-\w{8}/)?.[0] ?? "";
    const subnetId = await idOf("subnet list");
    const groupId = await idOf("security-group list");
    await cli("instance run --name a --subnet s --ip 10.1.1.9 --security-group one --security-group one --public");
    const { cloud } = here;
    expect(cloud.seen.findLast(({ call }) => call === "instances.run")?.args[1]).toMatchObject({
      network: { subnetId },
      addresses: ["10.1.1.9"],
      securityGroupIds: [groupId],
      publicAddress: { bandwidthMbps: 100 },
    });
    expect((await cli("instance run --public 20")).code).toBe(0);
    expect((await cli("instance set a --security-group two --security-group one")).code).toBe(0);
    const [, , groups] = cloud.seen.findLast(({ call }) => call === "securityGroup.setGroups")?.args ?? [];
    expect(groups).toEqual([expect.not.stringContaining(groupId), groupId]);
    expect((await cli("instance list --vpc v --subnet s --security-group one")).code).toBe(0);
    const [, query] = cloud.seen.findLast(({ call }) => call === "instances.list")?.args ?? [];
    expect(query).toMatchObject({ subnetIds: [subnetId], securityGroupIds: [groupId] });
  });
});
