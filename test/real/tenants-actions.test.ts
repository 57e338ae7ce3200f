/** The small actions of daily use, by the official SDK on a real VStation: what hosts are told in the end, not only what is answered. */
import { describe, expect, it } from "vitest";
import { CloudClient, credentialsSchema } from "../../bench/cloud.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { until } from "../until.ts";
import { inState, run, show, stop } from "./support/cloud.ts";
import { vstationForAll } from "./support/vstation-for.ts";
import { imageId, type TestVstation } from "./support/vstation.ts";

let vstation: TestVstation;
let client: CloudClient["sdk"];

vstationForAll(async (made) => {
  vstation = made;
  await vstation.start({ hosts: 2 });
  client = new CloudClient(credentialsSchema.parse(vstation.credentials)).sdk;
});

/** What the instance's host was told last. */
async function told(id: InstanceId) {
  const { hostId } = await show(vstation.native, id);
  const found = vstation.hosts.find((host) => host.id === hostId);
  return found?.specs.get(id);
}

async function key(name: string): Promise<{ id: string; publicKey: string }> {
  const { KeyPair } = await client.CreateKeyPair({ KeyName: name, ProjectId: 0 });
  return { id: KeyPair?.KeyId ?? "", publicKey: KeyPair?.PublicKey ?? "" };
}

async function one(): Promise<InstanceId> {
  const [id] = await run(vstation.native);
  if (id === undefined) throw new Error("nothing was made");
  await inState(vstation, [id], "RUNNING");
  return id;
}

describe("key pairs of an instance", () => {
  it("are bound to a stopped one, or by force to a running one, which is restarted; its host is told", async () => {
    const id = await one();
    const [first, second] = [await key("first"), await key("second")];
    const bind = (ids: string[], ForceStop?: boolean) =>
      client.AssociateInstancesKeyPairs({
        InstanceIds: [id],
        KeyIds: ids,
        ...(ForceStop === undefined ? {} : { ForceStop }),
      });
    await expect(bind([first.id])).rejects.toMatchObject({ code: "UnsupportedOperation.InstanceStateRunning" });
    await bind([first.id], true);
    const [again] = await inState(vstation, [id], "RUNNING");
    expect(again).toMatchObject({ incarnation: 2, keyIds: [first.id], latestOperation: { kind: "instance.reboot" } });
    expect((await told(id))?.publicKeys).toEqual([first.publicKey]);

    await stop(vstation.native, [id]);
    await inState(vstation, [id], "STOPPED");
    await bind([second.id, first.id]);
    await until("the host is told", async () => ((await told(id))?.publicKeys.length === 2 ? true : undefined));
    expect((await told(id))?.publicKeys).toEqual([first.publicKey, second.publicKey]);
    await client.DisassociateInstancesKeyPairs({ InstanceIds: [id], KeyIds: [first.id] });
    await until("the host is told", async () => ((await told(id))?.publicKeys.length === 1 ? true : undefined));
    expect((await told(id))?.publicKeys).toEqual([second.publicKey]);
    await client.DeleteKeyPairs({ KeyIds: [first.id] });
    await expect(client.DeleteKeyPairs({ KeyIds: [second.id] })).rejects.toMatchObject({
      code: "InvalidParameterValue.KeyPairNotSupported",
    });
    await expect(bind([first.id])).rejects.toMatchObject({ code: "InvalidKeyPairId.NotFound" });
  });

  it("can be renamed and described; a name is taken once", async () => {
    const [a, b] = [await key("a"), await key("b")];
    await client.ModifyKeyPairAttribute({ KeyId: a.id, KeyName: "c", Description: "of a person" });
    const { KeyPairSet } = await client.DescribeKeyPairs({ KeyIds: [a.id] });
    expect(KeyPairSet?.[0]).toMatchObject({ KeyName: "c", Description: "of a person" });
    await expect(client.ModifyKeyPairAttribute({ KeyId: b.id, KeyName: "c" })).rejects.toMatchObject({
      code: "InvalidKeyPairName.Duplicate",
    });
    await expect(client.ModifyKeyPairAttribute({ KeyId: b.id })).rejects.toMatchObject({
      code: "MissingParameter.AtLeastOne",
    });
  });
});

describe("a placement group", () => {
  it("takes an instance where its rule holds, refuses one where not, lets go, and counts when others are placed", async () => {
    const { DisasterRecoverGroupId: group = "" } = await client.CreateDisasterRecoverGroup({ Name: "g", Type: "HOST" });
    const DisasterRecoverGroupIds = [group];
    const put = (...InstanceIds: string[]) =>
      client.ModifyInstancesDisasterRecoverGroup({ InstanceIds, DisasterRecoverGroupIds });
    const first = await one();
    const { hostId } = await show(vstation.native, first);
    // Best fit puts what is small where something is already; two beside each other are found soon.
    const beside = await until("one on the same host", async () => {
      const id = await one();
      return (await show(vstation.native, id)).hostId === hostId ? id : undefined;
    });
    await put(first);
    await put(first);
    await expect(put(beside)).rejects.toMatchObject({ code: "ResourceInsufficient.DisasterRecoverGroupCvmQuota" });
    const [member] = await run(vstation.native, { groupId: group });
    if (member === undefined) throw new Error("nothing was made");
    expect((await show(vstation.native, member)).hostId).not.toBe(hostId);
    await expect(run(vstation.native, { groupId: group })).rejects.toMatchObject({
      code: "InsufficientCapacity",
    });
    await client.DeleteInstancesDisasterRecoverGroups({ InstanceIds: [first, beside], DisasterRecoverGroupIds });
    await put(beside);
    await client.ModifyDisasterRecoverGroupAttribute({ DisasterRecoverGroupId: group, Name: "h", Affinity: 2 });
    await put(first);
    const { DisasterRecoverGroupSet } = await client.DescribeDisasterRecoverGroups({ DisasterRecoverGroupIds });
    expect(DisasterRecoverGroupSet?.[0]).toMatchObject({ Name: "h", Affinity: 2, CurrentNum: 3 });
    await expect(
      client.ModifyDisasterRecoverGroupAttribute({ DisasterRecoverGroupId: group, Name: "h", Affinity: 1 }),
    ).rejects.toMatchObject({ code: "InvalidParameterValue" });
  });
});

describe("what is asked before", () => {
  it("quotas, prices, families, what an instance may become", async () => {
    const quota = await client.DescribeAccountQuota({});
    expect(quota.AccountQuotaOverview?.AccountQuota?.PostPaidQuotaSet?.[0]).toMatchObject({
      Zone: "ap-test-1",
      TotalQuota: 10_000,
    });
    const groups = await client.DescribeDisasterRecoverGroupQuota();
    expect(groups).toMatchObject({ GroupQuota: 1_000, CvmInHostGroupQuota: 10 });
    const id = await one();
    const Placement = { Zone: "ap-test-1" };
    const { Price } = await client.InquiryPriceRunInstances({ Placement, ImageId: imageId, InstanceType: "T1.SMALL1" });
    expect(Price?.InstancePrice?.UnitPrice).toBe(0);
    await expect(client.InquiryPriceRunInstances({ Placement, ImageId: "img-zzzzzzzz" })).rejects.toMatchObject({
      code: "InvalidImageId.NotFound",
    });
    await client.InquiryPriceResetInstancesType({ InstanceIds: [id], InstanceType: "S5.SMALL1" });
    await client.InquiryPriceResizeInstanceDisks({ InstanceId: id, SystemDisk: { DiskSize: 100 } });
    const { InstanceFamilyConfigSet } = await client.DescribeInstanceFamilyConfigs();
    expect(InstanceFamilyConfigSet?.map(({ InstanceFamily }) => InstanceFamily)).toContain("S5");
    expect((await client.DescribeInternetChargeTypeConfigs()).InternetChargeTypeConfigSet).toHaveLength(1);
    const { TotalCount, InstanceTypeConfigStatusSet } = await client.DescribeInstancesModification({
      InstanceIds: [id],
    });
    expect(InstanceTypeConfigStatusSet).toHaveLength(TotalCount ?? 0);
    const limit = await client.DescribeInstancesOperationLimit({ InstanceIds: [id], Operation: "INSTANCE_DEGRADE" });
    expect(limit.InstanceOperationLimitSet).toMatchObject([{ InstanceId: id, LimitCount: -1 }]);
    await client.ModifyInstancesProject({ InstanceIds: [id], ProjectId: 0 });
    await expect(client.ModifyInstancesProject({ InstanceIds: [id], ProjectId: 7 })).rejects.toMatchObject({
      code: "InvalidProjectId.NotFound",
    });
  });

  it("a host name, which the guest takes in by a restart or at its next start", async () => {
    const id = await one();
    await client.ModifyInstancesAttribute({ InstanceIds: [id], HostName: "later", AutoReboot: false });
    await until("the host is told", async () => ((await told(id))?.hostname === "later" ? true : undefined));
    expect((await show(vstation.native, id)).incarnation).toBe(1);
    await client.ModifyInstancesAttribute({ InstanceIds: [id], HostName: "now" });
    const [again] = await inState(vstation, [id], "RUNNING");
    expect(again).toMatchObject({ incarnation: 2 });
    expect((await told(id))?.hostname).toBe("now");
  });
});

describe("a password", () => {
  it("is a hash to everybody but the one who set it, and the guest's from its next start on", async () => {
    const { InstanceIdSet: [id = ""] = [] } = await client.RunInstances({
      Placement: { Zone: "ap-test-1" },
      ImageId: imageId,
      InstanceType: "T1.SMALL1",
      LoginSettings: { Password: "Correct-Horse-1" },
    });
    const InstanceIds = [id];
    await inState(vstation, InstanceIds as InstanceId[], "RUNNING");
    const first = (await told(id as InstanceId))?.login;
    expect(first).toMatchObject({ user: null, passwordHash: expect.stringMatching(/^\$6\$/) as string });
    const reset = (ForceStop: boolean) =>
      client.ResetInstancesPassword({ InstanceIds, Password: "Correct-Horse-2", UserName: "root", ForceStop });
    await expect(reset(false)).rejects.toMatchObject({ code: "UnsupportedOperation.InstanceStateRunning" });
    await reset(true);
    await inState(vstation, InstanceIds as InstanceId[], "RUNNING");
    const second = (await told(id as InstanceId))?.login;
    expect(second?.user).toBe("root");
    expect(second?.passwordHash).not.toBe(first?.passwordHash);
    expect((await show(vstation.native, id as InstanceId)).incarnation).toBe(2);
    const rows = await vstation.sql<{ text: string }>(
      "select to_jsonb(a)::text as text from audit a union all select to_jsonb(i)::text from instance i",
    );
    expect(rows.some(({ text }) => text.includes("Correct-Horse"))).toBe(false);
  });
});
