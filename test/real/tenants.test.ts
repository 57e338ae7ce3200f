/** Accounts, their API keys and the log of calls, on real VStations with a real PostgreSQL, spoken to by the official SDK. */
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cvm } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/index.js";
import { describe, expect, it } from "vitest";
import { sdkConfig } from "../../bench/cloud.ts";
import type { RouteInput } from "../../src/api/native/routes.ts";
import type { AccountId } from "../../src/lib/ids.ts";
import { until } from "../until.ts";
import { inState, run } from "./support/cloud.ts";
import { vstationForEach } from "./support/vstation-for.ts";
import { imageId, TestVstation } from "./support/vstation.ts";

let vstation: TestVstation;

const postgres = vstationForEach((made) => void (vstation = made));

interface Key {
  secretId: string;
  secretKey: string;
}

async function tenant(name: string): Promise<{ id: AccountId; key: Key }> {
  const { native } = vstation;
  const { id } = await native.call("accountCreate", { request: { name } });
  const { key, secretKey } = await native.call("accessKeyCreate", { params: { id }, request: { name: "first" } });
  return { id, key: { secretId: key.secretId, secretKey } };
}

function sdk({ secretId, secretKey }: Key, at: TestVstation = vstation) {
  return new cvm.v20170312.Client(sdkConfig({ ...at.credentials, secretId, secretKey }));
}

async function audit(query: RouteInput<"auditList">["query"], at: TestVstation = vstation) {
  return (await at.native.call("auditList", { query: { ...query } })).records;
}

describe("an account", () => {
  it("has API keys of its own, which are refused at once when disabled, on every replica", async () => {
    await vstation.start({ hosts: 1 });
    const replica = await TestVstation.create(postgres, { replicaOf: vstation });
    await replica.start();
    try {
      const { id, key } = await tenant("acme");
      expect(key.secretKey).toMatch(/^[\w-]{32}$/);
      const [here, there] = [sdk(key), sdk(key, replica)];
      const Placement = { Zone: vstation.config().zone };
      const { InstanceIdSet: [own = ""] = [] } = await here.RunInstances({
        Placement,
        ImageId: imageId,
        InstanceType: "T1.SMALL1",
      });
      expect((await there.DescribeInstances({})).InstanceSet?.map(({ InstanceId }) => InstanceId)).toEqual([own]);
      expect((await sdk(vstation.credentials).DescribeInstances({})).TotalCount).toBe(0);
      await until("the key's use is noted", async () => {
        const { keys } = await vstation.native.call("accessKeyList", { params: { id } });
        return keys[0]?.lastUsedAt ?? undefined;
      });

      const params = { id, secretId: key.secretId };
      await vstation.native.call("accessKeySet", { params, request: { enabled: false } });
      for (const client of [here, there]) {
        await expect(client.DescribeInstances({})).rejects.toMatchObject({ code: "AuthFailure.SecretIdNotFound" });
      }
      await vstation.native.call("accessKeySet", { params, request: { enabled: true } });
      expect((await there.DescribeInstances({})).TotalCount).toBe(1);
      await vstation.native.call("accessKeyDelete", { params });
      await expect(here.DescribeInstances({})).rejects.toMatchObject({ code: "AuthFailure.SecretIdNotFound" });
    } finally {
      await replica.close();
    }
  });

  it("goes only when it has nothing, says what it has, and its name is free again", async () => {
    await vstation.start({ hosts: 1 });
    const { id, key } = await tenant("acme");
    const { native } = vstation;
    const mine = native.forAccount("acme");
    const [instance] = await run(mine);
    if (instance === undefined) throw new Error("nothing was made");
    await sdk(key).CreateKeyPair({ KeyName: "k", ProjectId: 0 });
    expect((await mine.call("instanceList", {})).total).toBe(1);
    await expect(native.call("accountDelete", { params: { id } })).rejects.toMatchObject({
      code: "AccountNotEmpty",
      message: expect.stringContaining("1 instances, 1 key pairs") as string,
    });
    await inState(vstation, [instance], "RUNNING");
    await mine.call("instanceTerminate", { request: { ids: [instance] } });
    const { keys } = await mine.call("keyList", {});
    for (const { id: keyId } of keys) await mine.call("keyDelete", { params: { id: keyId } });
    await until("the account is empty", async () => {
      const { quotas } = await native.call("accountGet", { params: { id } });
      return quotas.every(({ name, used }) => used === 0 || !["instances", "keys"].includes(name)) ? true : undefined;
    });
    await native.call("accountDelete", { params: { id } });
    await expect(sdk(key).DescribeInstances({})).rejects.toMatchObject({ code: "AuthFailure.SecretIdNotFound" });
    await expect(mine.call("instanceList", {})).rejects.toMatchObject({ code: "AccountNotFound" });
    await expect(native.call("accountDelete", { params: { id } })).rejects.toMatchObject({ code: "AccountNotFound" });
    await tenant("acme");
    await expect(native.call("accountCreate", { request: { name: "acme" } })).rejects.toMatchObject({
      code: "AccountNameTaken",
    });
    const { accounts } = await native.call("accountList", {});
    expect(accounts.map(({ name }) => name)).toEqual(["default", "acme"]);
    const own = accounts[0]?.id ?? ("" as never);
    await expect(native.call("accountDelete", { params: { id: own } })).rejects.toMatchObject({
      code: "AccountIsDefault",
    });
  });

  it("has quotas: of instances, vCPUs and memory too, whatever others have", async () => {
    await vstation.start({ hosts: 1 });
    const { id, key } = await tenant("acme");
    const set = (quotas: object) => vstation.native.call("accountSetQuotas", { params: { id }, request: { quotas } });
    const ask = (InstanceCount: number, InstanceType = "T1.SMALL1") =>
      sdk(key).RunInstances({ Placement: { Zone: "ap-test-1" }, ImageId: imageId, InstanceType, InstanceCount });
    await set({ instances: 2 });
    await expect(ask(3)).rejects.toMatchObject({ code: "LimitExceeded.InstanceQuota" });
    const outcomes = await Promise.allSettled([ask(1), ask(1), ask(1), ask(1)]);
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(2);
    await set({ instances: null, vcpus: 2 });
    await expect(ask(1)).rejects.toMatchObject({ code: "LimitExceeded.CvmInstanceQuota" });
    await set({ vcpus: 3, memoryGiB: 2 });
    await expect(ask(1)).rejects.toMatchObject({ code: "LimitExceeded.CvmInstanceQuota" });
    const after = await set({ memoryGiB: 3 });
    expect(after.quotas.find(({ name }) => name === "memoryGiB")).toEqual({
      name: "memoryGiB",
      limit: 3,
      used: 2,
      own: true,
    });
    await ask(1);
    expect(await run(vstation.native, { count: 4 })).toHaveLength(4);
  });
});

describe("secrets", () => {
  it("are sealed in the database, plain ones of before too, and anew under a new key; a lost keyring is said", async () => {
    await vstation.start();
    const before = vstation.credentials;
    const { id, key } = await tenant("acme");
    const stored = () =>
      vstation.sql<{ text: string }>(
        "select secret_key as text from access_key union all select token from operator_token",
      );
    expect((await stored()).every(({ text }) => text.startsWith("sealed:1:k1:"))).toBe(true);
    const keyring = join(vstation.config().pkiDir, "secrets.json");
    expect(statSync(keyring).mode & 0o777).toBe(0o600);

    await vstation.kill();
    await vstation.sql("update access_key set secret_key = $1 where secret_id = $2", [key.secretKey, key.secretId]);
    const { keys } = JSON.parse(readFileSync(keyring, "utf8")) as { keys: Record<string, string> };
    const good = JSON.stringify({ current: "k2", keys: { ...keys, k2: Buffer.alloc(32, 1).toString("base64") } });
    writeFileSync(keyring, good);
    await vstation.start();
    expect((await stored()).every(({ text }) => text.startsWith("sealed:1:k2:"))).toBe(true);
    expect(vstation.credentials).toEqual(before);
    expect((await sdk(key).DescribeInstances({})).TotalCount).toBe(0);
    const everything = await vstation.sql<{ text: string }>("select to_jsonb(a)::text as text from audit a");
    expect(everything.some(({ text }) => text.includes(key.secretKey))).toBe(false);
    expect((await vstation.native.call("accessKeyList", { params: { id } })).keys).toHaveLength(1);

    await vstation.kill();
    writeFileSync(keyring, JSON.stringify({ current: "k3", keys: { k3: Buffer.alloc(32, 2).toString("base64") } }));
    await expect(vstation.start()).rejects.toThrow(/not sealed by a key of/);
    writeFileSync(keyring, good);
    await vstation.start();
    expect(vstation.credentials).toEqual(before);
  });
});

describe("the log of calls", () => {
  it("has every call at either API: who, what, on what, from where, and how it ended; never what it carried", async () => {
    await vstation.start({ hosts: 1 });
    const { id, key } = await tenant("acme");
    const client = sdk(key);
    const { InstanceIdSet: [instance = ""] = [], RequestId } = await client.RunInstances({
      Placement: { Zone: "ap-test-1" },
      ImageId: imageId,
      InstanceType: "T1.SMALL1",
      UserData: Buffer.from("top secret").toString("base64"),
    });
    // As whoever waits for it does: one line says that it was seen.
    for (let n = 0; n < 5; n++) await client.DescribeInstances({ InstanceIds: [instance] });
    await client.StopInstances({ InstanceIds: ["ins-zzzzzzzz"] }).catch(() => undefined);
    await sdk({ ...key, secretKey: "wrong" })
      .DescribeInstances({})
      .catch(() => undefined);
    const mine = await until("all of them are there", async () => {
      const records = await audit({ accountId: id });
      const ended = records.every(({ outcome }) => outcome !== null);
      return ended && records.length >= 3 ? records : undefined;
    });
    // A read's line comes at its end, some time after.
    expect(mine.map(({ action, outcome, changes }) => [action, outcome, changes].join(" ")).toSorted()).toEqual([
      "DescribeInstances ok false",
      "RunInstances ok true",
      "StopInstances InvalidInstanceId.NotFound true",
    ]);
    expect(mine.find(({ action }) => action === "RunInstances")).toMatchObject({
      edge: "cvm",
      actor: key.secretId,
      resourceIds: [imageId, instance],
      source: "127.0.0.1",
      agent: expect.stringMatching(/^SDK_NODEJS_/) as string,
      requestId: RequestId,
    });
    const strangers = await until("the stranger's is there", async () => {
      const records = await audit({ failed: "true", action: ["DescribeInstances"] });
      return records.length > 0 ? records : undefined;
    });
    expect(strangers[0]).toMatchObject({ actor: null, accountId: null, outcome: "AuthFailure.SignatureFailure" });
    expect(await audit({ action: ["accessKeyCreate"] })).toMatchObject([
      { edge: "native", actor: "operator", outcome: "ok", resourceIds: [id, key.secretId] },
    ]);
    expect((await audit({ resourceId: instance })).map(({ action }) => action)).toEqual([
      "DescribeInstances",
      "RunInstances",
    ]);
    const rows = await vstation.sql<{ text: string }>("select to_jsonb(a)::text as text from audit a");
    expect(rows.some(({ text }) => /top secret|dG9wIHNlY3JldA/.test(text))).toBe(false);
  });

  it("is read by pages in both directions, each line once, and followed without a hole", async () => {
    await vstation.start();
    const { native } = vstation;
    for (let n = 0; n < 7; n++) await native.call("keyCreate", { request: { name: `k${n}` } });
    const all = await audit({ action: ["keyCreate"] });
    expect(all).toHaveLength(7);
    const { total, records } = await native.call("auditList", { query: { action: ["keyCreate"], limit: 3 } });
    expect([total, records.length]).toEqual([7, 3]);
    const pages: string[] = [];
    for (let before: string | undefined; ;) {
      const page = await audit({ action: ["keyCreate"], limit: 3, ...(before === undefined ? {} : { before }) });
      pages.push(...page.map(({ id }) => id));
      before = page.at(-1)?.id;
      if (page.length < 3) break;
    }
    expect(pages).toEqual(all.map(({ id }) => id));
    const forward = await audit({ action: ["keyCreate"], after: all[6]?.id, limit: 4 });
    expect(forward.map(({ id }) => id)).toEqual(
      all
        .slice(2, 6)
        .map(({ id }) => id)
        .toReversed(),
    );
  });

  it("is written before anything changes: without it a change is refused, and reads are counted when lost", async () => {
    await vstation.start({ hosts: 1 });
    const key = vstation.credentials;
    await vstation.sql("alter table audit rename to audit_away");
    await expect(sdk(key).CreateKeyPair({ KeyName: "k", ProjectId: 0 })).rejects.toMatchObject({
      code: "InternalError",
    });
    await expect(vstation.native.call("keyCreate", { request: { name: "k" } })).rejects.toMatchObject({
      kind: "internal",
    });
    // Reading goes on, and what was read is told when the log is back.
    expect((await sdk(key).DescribeKeyPairs({})).TotalCount).toBe(0);
    vstation.errors.length = 0;
    await vstation.sql("alter table audit_away rename to audit");
    await until("the read is told", async () =>
      (await audit({ action: ["DescribeKeyPairs"] })).length === 1 ? true : undefined,
    );
    expect(await vstation.metrics()).not.toMatch(/vstation_audit_lost_total\{[^}]*\} [1-9]/);
    await vstation.native.call("keyCreate", { request: { name: "k" } });
  });
});
