/**
 * The CVM API as a tenant meets it: the official, unmodified SDK against a whole lab with real hosts and real guests. What
 * the API says is held against the guests themselves and against the machine's own process table.
 *
 * The tests are one story and share its instances; each begins where the one before it ended.
 */
import { connect } from "node:net";
import { cvm } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/index.js";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { credentialsSchema, sdkConfig } from "../../bench/cloud.ts";
import { ProbeClient } from "../../guest/probe-client.ts";
import { TestLab } from "../../lab/testing.ts";

const imageId = "img-tiny0001";
const type = "T1.SMALL1";
const patience = { timeout: 240_000, interval: 500 };
const pingPort = 9000;

/** A tenant's own service: told an address, it says whether it can reach it. */
const pingService = `#!/bin/sh
cat >/run/reach.sh <<'END'
#!/bin/sh
read -r ip
ping -c 1 -w 20 "$ip" >/dev/null 2>&1 && echo reached || echo lost
END
chmod +x /run/reach.sh
exec nc -ll -p ${pingPort} -e /run/reach.sh
`;

const { Client } = cvm.v20170312;
type Sdk = InstanceType<typeof Client>;

const lab = new TestLab();
let client: Sdk;
let zone: string;
let region: string;

function clientOf(secretKey?: string): Sdk {
  const credentials = credentialsSchema.parse(lab.credentials);
  return new Client(sdkConfig({ ...credentials, secretKey: secretKey ?? credentials.secretKey }));
}

beforeAll(async () => {
  // The SDK obeys it even for loopback.
  delete process.env["http_proxy"];
  delete process.env["HTTP_PROXY"];
  await lab.start({ hosts: 3 });
  client = clientOf();
  ({ zone, region } = credentialsSchema.parse(lab.credentials));
});
afterAll(() => lab.destroy());

const total = async (): Promise<number> => (await client.DescribeInstances({})).TotalCount ?? -1;

async function statesOf(ids: string[]): Promise<(string | undefined)[]> {
  const { InstanceStatusSet = [] } = await client.DescribeInstancesStatus({ InstanceIds: ids, Limit: 100 });
  return ids.map((id) => InstanceStatusSet.find((status) => status.InstanceId === id)?.InstanceState);
}

/** Waits as tenants do, by asking; a failure on the way ends the wait with what the API says of it. */
async function untilAll(ids: string[], state: string): Promise<void> {
  await vi.waitFor(async () => {
    const { InstanceSet = [] } = await client.DescribeInstances({ InstanceIds: ids, Limit: 100 });
    const told = InstanceSet.map((each) => [
      each.InstanceState,
      each.LatestOperationState,
      each.LatestOperationErrorMsg,
    ]);
    expect(told).toEqual(ids.map(() => [state, "SUCCESS", ""]));
  }, patience);
}

async function ipOf(id: string): Promise<string> {
  const { InstanceSet = [] } = await client.DescribeInstances({ InstanceIds: [id] });
  return InstanceSet[0]?.PrivateIpAddresses?.[0] ?? "";
}

async function bootOf(id: string): Promise<{ instanceId: string; bootId: string; boots: number; hostname: string }> {
  const probe = await ProbeClient.connect(await ipOf(id));
  try {
    return await probe.info();
  } finally {
    probe.close();
  }
}

/** Of a guest that may be too busy to answer at once. */
const bootInTime = (id: string) => vi.waitFor(() => bootOf(id), patience);

/** Asks the guest at `from` whether it reaches `to`. */
function reaches(from: string, to: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = "";
    // The guest pings for 20 s of its own time, which passes slowly where it gets little of a processor.
    const socket = connect({ host: from, port: pingPort, timeout: 60_000 });
    socket.on("connect", () => socket.write(`${to}\n`));
    socket.on("data", (data: Buffer) => {
      said += data.toString();
      if (said.includes("\n")) socket.end();
    });
    socket.on("timeout", () => socket.destroy(new Error(`no answer from ${from}`)));
    socket.on("error", reject);
    socket.on("close", () => resolve(said.trim()));
  });
}

const minimal = () => ({ Placement: { Zone: zone }, ImageId: imageId, InstanceType: type });

describe("before anything runs", () => {
  it("the API tells where one is and what there is", async () => {
    expect(await client.DescribeRegions(null)).toMatchObject({ RegionSet: [{ Region: region }] });
    expect(await client.DescribeZones(null)).toMatchObject({ ZoneSet: [{ Zone: zone, ZoneState: "AVAILABLE" }] });
    expect((await client.DescribeImages({})).ImageSet?.map((image) => image.ImageId)).toContain(imageId);
    const { InstanceTypeQuotaSet = [] } = await client.DescribeZoneInstanceConfigInfos({});
    const statusOf = (name: string) => InstanceTypeQuotaSet.find((row) => row.InstanceType === name)?.Status;
    expect([statusOf(type), statusOf("S5.21XLARGE320")]).toEqual(["SELL", "SOLD_OUT"]);
  });

  it("bad requests are told what is wrong, and create nothing", async () => {
    const run = (odd: object): Promise<unknown> => client.RunInstances({ ...minimal(), ...odd });
    const refusals: [() => Promise<unknown>, string][] = [
      [() => clientOf("wrong").RunInstances(minimal()), "AuthFailure.SignatureFailure"],
      [() => run({ Placement: { Zone: "nowhere-1" } }), "InvalidZone.MismatchRegion"],
      [() => run({ ImageId: "img-00000000" }), "InvalidImageId.NotFound"],
      [() => run({ InstanceType: "S9.HUGE1" }), "InvalidParameterValue.InstanceTypeNotFound"],
      [() => run({ InstanceCount: 0 }), "InvalidParameterValue.Range"],
      [() => run({ InstanceCount: 501 }), "InvalidParameterValue.Range"],
      [() => run({ InstanceName: "x".repeat(129) }), "InvalidParameterValue.TooLong"],
      [() => run({ LoginSettings: { KeyIds: ["skey-00000000"] } }), "InvalidKeyPairId.NotFound"],
      [() => run({ DisasterRecoverGroupIds: ["ps-00000000"] }), "FailedOperation.DisasterRecoverGroupNotFound"],
      [() => run({ InstanceCount: 500 }), "ResourceInsufficient.SpecifiedInstanceType"],
      [() => run({ InstanceType: "S5.21XLARGE320" }), "ResourceInsufficient.SpecifiedInstanceType"],
      [() => client.StartInstances({ InstanceIds: ["ins-00000000"] }), "InvalidInstanceId.NotFound"],
    ];
    for (const [refused, code] of refusals) await expect(refused()).rejects.toMatchObject({ code });
    expect(await total()).toBe(0);
  });

  it("a dry run checks everything and creates nothing", async () => {
    expect(Object.keys(await client.RunInstances({ ...minimal(), DryRun: true }))).toEqual(["RequestId"]);
    await expect(client.RunInstances({ ...minimal(), InstanceCount: 500, DryRun: true })).rejects.toMatchObject({
      code: "ResourceInsufficient.SpecifiedInstanceType",
    });
    expect(await total()).toBe(0);
  });
});

describe("six instances", () => {
  let groupId = "";
  let keyId = "";
  let spread: string[] = [];
  let plain: string[] = [];
  const all = (): string[] => [...spread, ...plain];

  it("run, the two of a group on different hosts", async () => {
    const UserData = Buffer.from(pingService).toString("base64");
    const group = await client.CreateDisasterRecoverGroup({
      Name: "spread 世界",
      Type: "HOST",
      ClientToken: "group-1",
    });
    groupId = group.DisasterRecoverGroupId ?? "";
    const { KeyPair } = await client.CreateKeyPair({ KeyName: "mine", ProjectId: 0 });
    keyId = KeyPair?.KeyId ?? "";
    expect(KeyPair?.PrivateKey).toContain("PRIVATE KEY");
    const first = await client.RunInstances({
      ...minimal(),
      InstanceCount: 2,
      InstanceName: "spread-{R:7} 🚀",
      HostName: "spread-{R:7}",
      DisasterRecoverGroupIds: [groupId],
      LoginSettings: { KeyIds: [keyId] },
      TagSpecification: [{ ResourceType: "instance", Tags: [{ Key: "team", Value: "blue" }] }],
      UserData,
    });
    const second = await client.RunInstances({ ...minimal(), InstanceCount: 4, InstanceName: "plain", UserData });
    spread = first.InstanceIdSet ?? [];
    plain = second.InstanceIdSet ?? [];
    // What was answered is there at once.
    expect(await statesOf(all())).not.toContain(undefined);
    await untilAll(all(), "RUNNING");
    const hosts = spread.map((id) => lab.hostOf(id));
    expect(new Set(hosts).size).toBe(2);
    expect(hosts).not.toContain(undefined);
    for (const id of all()) expect(lab.guestsOf(id)).toHaveLength(1);
  });

  it("are the guests that they are said to be", async () => {
    await vi.waitFor(async () => {
      for (const id of all()) expect((await bootOf(id)).instanceId).toBe(id);
    }, patience);
    const { InstanceSet = [] } = await client.DescribeInstances({ InstanceIds: all() });
    expect(new Set(InstanceSet.map((each) => each.InstanceName))).toEqual(
      new Set(["spread-7 🚀", "spread-8 🚀", "plain1", "plain2", "plain3", "plain4"]),
    );
    const names = await Promise.all(spread.map(async (id) => (await bootInTime(id)).hostname));
    expect(names.toSorted()).toEqual(["spread-7", "spread-8"]);
    const { InstanceSet: attributes = [] } = await client.DescribeInstancesAttributes({
      InstanceIds: spread,
      Attributes: ["UserData"],
    });
    expect(attributes.map((each) => Buffer.from(each.Attributes?.UserData ?? "", "base64").toString())).toEqual([
      pingService,
      pingService,
    ]);
  });

  it("ping one another, each every other", async () => {
    const ips = await Promise.all(all().map(ipOf));
    expect(new Set(ips).size).toBe(6);
    const pairs = ips.flatMap((from) => ips.filter((to) => to !== from).map((to) => [from, to] as const));
    for (const [from, to] of pairs) {
      await vi.waitFor(
        async () => expect([from, to, await reaches(from, to)]).toEqual([from, to, "reached"]),
        patience,
      );
    }
    // The answer is the guest's own: nobody has this address.
    expect(await reaches(ips[0] ?? "", lab.plan.guests.cidr.replace(/0\.0\/16$/, "9.9"))).toBe("lost");
  });

  it("are found by each filter, and page by page", async () => {
    const found = async (Name: string, ...Values: string[]): Promise<number> =>
      (await client.DescribeInstances({ Filters: [{ Name, Values }] })).TotalCount ?? -1;
    const { InstanceSet: [one] = [] } = await client.DescribeInstances({ InstanceIds: [spread[0] ?? ""] });
    expect(await found("zone", zone)).toBe(6);
    expect(await found("zone", "nowhere-1")).toBe(0);
    expect(await found("instance-state", "RUNNING", "STOPPED")).toBe(6);
    expect(await found("instance-state", "STOPPED")).toBe(0);
    expect(await found("instance-name", "plain1", "plain3")).toBe(2);
    expect(await found("instance-id", ...spread)).toBe(2);
    expect(await found("uuid", one?.Uuid ?? "")).toBe(1);
    expect(await found("private-ip-address", one?.PrivateIpAddresses?.[0] ?? "")).toBe(1);
    expect(await found("vpc-id", one?.VirtualPrivateCloud?.VpcId ?? "")).toBe(6);
    expect(await found("subnet-id", one?.VirtualPrivateCloud?.SubnetId ?? "")).toBe(6);
    expect(await found("tag:team", "blue", "red")).toBe(2);
    expect(await found("tag:team", "red")).toBe(0);
    expect(await found("tag-key", "team")).toBe(2);
    expect(await found("tag-value", "blue")).toBe(2);
    expect(await found("creation-start-time", "2020-01-01 00:00:00")).toBe(6);
    expect(await found("creation-end-time", "2020-01-01 00:00:00")).toBe(0);
    expect(await found("security-group-id", "sg-00000000")).toBe(0);

    const pages: string[] = [];
    for (let Offset = 0; Offset < 6; Offset += 4) {
      const { TotalCount, InstanceSet = [] } = await client.DescribeInstances({ Offset, Limit: 4 });
      expect(TotalCount).toBe(6);
      pages.push(...InstanceSet.map((each) => each.InstanceId ?? ""));
    }
    expect(pages.toSorted()).toEqual(all().toSorted());
    expect(await client.DescribeInstances({ InstanceIds: ["ins-00000000"] })).toMatchObject({ TotalCount: 0 });
  });

  it("show in their group and their key, which cannot go while they are there", async () => {
    const ids = { DisasterRecoverGroupIds: [groupId] };
    expect(await client.DescribeDisasterRecoverGroups(ids)).toMatchObject({
      DisasterRecoverGroupSet: [{ Name: "spread 世界", CurrentNum: 2 }],
    });
    await expect(client.DeleteDisasterRecoverGroups(ids)).rejects.toMatchObject({
      code: "FailedOperation.PlacementSetNotEmpty",
    });
    const { KeyPairSet = [] } = await client.DescribeKeyPairs({ KeyIds: [keyId] });
    expect(KeyPairSet[0]?.AssociatedInstanceIds?.toSorted()).toEqual(spread.toSorted());
    await expect(client.DeleteKeyPairs({ KeyIds: [keyId] })).rejects.toMatchObject({
      code: "InvalidParameterValue.KeyPairNotSupported",
    });
    // One more would be a second on its host; with the two that run, three hosts have room for one.
    await expect(
      client.RunInstances({ ...minimal(), InstanceCount: 2, DisasterRecoverGroupIds: [groupId] }),
    ).rejects.toMatchObject({ code: "ResourceInsufficient.DisasterRecoverGroupCvmQuota" });
    expect(await total()).toBe(6);
  });

  it("are not made twice by a request that is sent twice", async () => {
    const request = { ...minimal(), InstanceName: "once", ClientToken: "once-1" };
    const first = await client.RunInstances(request);
    const again = await client.RunInstances(request);
    expect(again.InstanceIdSet).toEqual(first.InstanceIdSet);
    expect(await total()).toBe(7);
    const other = client.RunInstances({ ...request, InstanceName: "other" });
    await expect(other).rejects.toMatchObject({ code: "InvalidParameterCombination" });
    // Also while it is still being made.
    await client.TerminateInstances({ InstanceIds: first.InstanceIdSet ?? [] });
    await vi.waitFor(async () => expect(await total()).toBe(6), patience);
  });

  it("stop and start again: the same disk, another boot", async () => {
    const [id = ""] = plain;
    const before = await bootInTime(id);
    await expect(client.StartInstances({ InstanceIds: [id] })).rejects.toMatchObject({
      code: "UnsupportedOperation.InstanceStateRunning",
    });
    await client.StopInstances({ InstanceIds: [id] });
    await untilAll([id], "STOPPED");
    expect(lab.guestsOf(id)).toEqual([]);
    expect(await statesOf(plain.slice(1))).toEqual(["RUNNING", "RUNNING", "RUNNING"]);
    await expect(client.RebootInstances({ InstanceIds: [id] })).rejects.toMatchObject({
      code: "UnsupportedOperation.InstanceStateStopped",
    });
    await client.StartInstances({ InstanceIds: [id] });
    await untilAll([id], "RUNNING");
    await vi.waitFor(async () => {
      const after = await bootOf(id);
      expect([after.boots, after.bootId === before.bootId]).toEqual([before.boots + 1, false]);
    }, patience);
  });

  it("reboot: another boot of the same guest", async () => {
    const [, id = ""] = plain;
    const before = await bootInTime(id);
    await client.RebootInstances({ InstanceIds: [id], StopType: "SOFT_FIRST" });
    await vi.waitFor(async () => {
      const after = await bootOf(id);
      expect([after.boots, after.bootId === before.bootId]).toEqual([before.boots + 1, false]);
    }, patience);
    await untilAll([id], "RUNNING");
  });

  it("take another name, and protection from being terminated", async () => {
    const [id = ""] = spread;
    await client.ModifyInstancesAttribute({ InstanceIds: [id], InstanceName: "renamed 🙂" });
    await client.ModifyInstancesAttribute({ InstanceIds: [id], DisableApiTermination: true });
    const { InstanceSet: [shown] = [] } = await client.DescribeInstances({ InstanceIds: [id] });
    expect([shown?.InstanceName, shown?.DisableApiTermination]).toEqual(["renamed 🙂", true]);
    await expect(client.TerminateInstances({ InstanceIds: all() })).rejects.toMatchObject({
      code: "UnsupportedOperation.InstancesProtected",
    });
    // All or nothing: the five others run on.
    expect(new Set(await statesOf(all()))).toEqual(new Set(["RUNNING"]));
    await client.ModifyInstancesAttribute({ InstanceIds: [id], DisableApiTermination: false });
  });

  it("terminate, and leave nothing", async () => {
    await client.TerminateInstances({ InstanceIds: all() });
    await vi.waitFor(async () => expect(await total()).toBe(0), patience);
    expect(all().flatMap((id) => lab.guestsOf(id))).toEqual([]);
    await expect(client.StopInstances({ InstanceIds: all() })).rejects.toMatchObject({
      code: "InvalidInstanceId.NotFound",
    });
    await client.DeleteKeyPairs({ KeyIds: [keyId] });
    await client.DeleteDisasterRecoverGroups({ DisasterRecoverGroupIds: [groupId] });
    expect(await client.DescribeKeyPairs({})).toMatchObject({ TotalCount: 0 });
  });
});
