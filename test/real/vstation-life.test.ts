/** What becomes of instances whose guests end, whose starts fail, whose owners change their minds; and keys, tokens, events. */
import { generateKeyPairSync } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isFailure } from "../../src/lib/errors.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { SimHost } from "../../src/sim/host.ts";
import { until } from "../until.ts";
import { areGone, endAll, inState, list, reboot, run, show, start, stop, terminate } from "./support/cloud.ts";
import { vstationForAll } from "./support/vstation-for.ts";
import type { TestVstation } from "./support/vstation.ts";

let vstation: TestVstation;

vstationForAll(async (made) => {
  vstation = made;
  await vstation.start({ hosts: 1 });
});
let host: SimHost;
beforeEach(() => {
  const [only] = vstation.hosts;
  if (only === undefined) throw new Error("no host");
  host = only;
});
afterEach(async () => {
  host.setDefaultFaults({ startFails: null });
  // The host is roomy enough for each test's few, not for all of them together.
  await endAll(vstation);
  vstation.expectNoErrors();
});

async function one(request = {}): Promise<InstanceId> {
  const ids = await run(vstation.native, request);
  await inState(vstation, ids, "RUNNING");
  return ids[0] as InstanceId;
}

/** Deadlines are minutes; a test moves them into the past instead of waiting. */
async function deadlinePasses(id: InstanceId): Promise<void> {
  await vstation.sql("update operation set deadline = now() where instance_id = $1 and ended_at is null", [id]);
  // Any change makes its reconciler look.
  await vstation.native.call("instanceModify", { params: { id }, request: { name: "late" } });
}

it("shows its state and its last operation as they were at one moment", async () => {
  const id = await one();
  const odd: object[] = [];
  const over = new AbortController();
  const look = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const { state, latestOperation } = await show(vstation.native, id);
      const open = latestOperation?.endedAt === null;
      if (state !== (open ? "REBOOTING" : "RUNNING")) odd.push({ state, open });
    }
  };
  const lookers = Array.from({ length: 6 }, look);
  for (let n = 0; n < 15; n++) {
    await reboot(vstation.native, [id], "hard");
    await inState(vstation, [id], "RUNNING");
  }
  over.abort();
  await Promise.all(lookers);
  expect(odd).toEqual([]);
});

describe("a guest that ends by itself", () => {
  it("runs again under `always`, under an operation of VStation's own", async () => {
    const id = await one();
    host.machines.get(id)?.endGuest("crashed");
    host.move();
    const view = await until("the second start", async () => {
      const found = await show(vstation.native, id);
      return found.incarnation === 2 && found.state === "RUNNING" ? found : undefined;
    });
    expect(view.latestOperation).toMatchObject({ kind: "instance.recover", state: "SUCCEEDED" });
    expect(view.attention).toMatch(/ended by itself; it is started again/);
  });

  it("stays off under `never`", async () => {
    const id = await one({ restartPolicy: "never" });
    host.machines.get(id)?.endGuest("shutdown");
    host.move();
    const [off] = await inState(vstation, [id], "STOPPED");
    expect(off).toMatchObject({ incarnation: 1, attention: null });
    await start(vstation.native, [id]);
    await inState(vstation, [id], "RUNNING");
    host.machines.get(id)?.endGuest("crashed");
    host.move();
    const [crashed] = await inState(vstation, [id], "STOPPED");
    expect(crashed?.attention).toMatch(/QEMU process died/i);
  });

  it("again and again is given up with its reason, and can be started anew", async () => {
    const id = await one();
    // The first restarts are quick; the later ones wait, and their owner may end the wait.
    await vstation.sql("update instance set quick_ends = 5 where id = $1", [id]);
    host.machines.get(id)?.endGuest("crashed");
    host.move();
    const [off] = await inState(vstation, [id], "STOPPED");
    expect(off?.attention).toMatch(/ended soon after each of 6 starts/);
    expect(off?.latestOperation).toMatchObject({
      kind: "instance.recover",
      state: "FAILED",
      error: { code: "CrashLoop" },
    });
    await start(vstation.native, [id]);
    const [again] = await inState(vstation, [id], "RUNNING");
    expect(again?.attention).toBeNull();
  });

  it("can be told to stay off while it waits for its restart", async () => {
    const id = await one();
    await vstation.sql("update instance set quick_ends = 4 where id = $1", [id]);
    host.machines.get(id)?.endGuest("crashed");
    host.move();
    await until("it waits", async () => {
      const view = await show(vstation.native, id);
      return view.state === "STARTING" && view.latestOperation?.kind === "instance.recover";
    });
    await stop(vstation.native, [id]);
    const [off] = await inState(vstation, [id], "STOPPED");
    expect(off?.incarnation).toBe(1);
  });
});

describe("a start that fails", () => {
  it("fails the launch when there is no other host, says why, and leaves nothing behind", async () => {
    host.setDefaultFaults({ startFails: { reason: "start_failed", message: "no such machine type" } });
    const [id] = await run(vstation.native);
    const [failed] = await inState(vstation, [id as InstanceId], "LAUNCH_FAILED");
    expect(failed?.attention).toMatch(/no such machine type/i);
    expect(failed?.latestOperation).toMatchObject({ state: "FAILED", error: { code: "StartFailed" } });
    await until("its host has let go", async () => (await show(vstation.native, id as InstanceId)).hostId === null);
    host.setDefaultFaults({ startFails: null });
    await terminate(vstation.native, [id as InstanceId]);
    await areGone(vstation, [id as InstanceId]);
  });

  it("later in its life leaves it stopped where its disk is", async () => {
    const id = await one();
    await stop(vstation.native, [id]);
    await inState(vstation, [id], "STOPPED");
    host.setFaults(id, { startFails: { reason: "disk_missing", message: "its disk is gone" } });
    await start(vstation.native, [id]);
    const [off] = await inState(vstation, [id], "STOPPED");
    expect(off).toMatchObject({ hostId: host.id, latestOperation: { error: { code: "DiskMissing" } } });
    host.setFaults(id, { startFails: null });
    await start(vstation.native, [id]);
    await inState(vstation, [id], "RUNNING");
  });
});

describe("a guest that does not hear", () => {
  it("runs on after a soft stop that it did not follow, and a hard one takes it down", async () => {
    const id = await one();
    host.setFaults(id, { ignoresPowerButton: true });
    await stop(vstation.native, [id], "soft");
    await until("it is being stopped", async () => (await show(vstation.native, id)).state === "STOPPING");
    await expect(reboot(vstation.native, [id], "hard")).rejects.toMatchObject({ code: "WrongState" });
    await expect(start(vstation.native, [id])).rejects.toMatchObject({ code: "WrongState" });
    await deadlinePasses(id);
    const [running] = await inState(vstation, [id], "RUNNING");
    expect(running?.latestOperation).toMatchObject({ state: "FAILED", error: { code: "GuestDidNotStop" } });
    await stop(vstation.native, [id], "soft");
    await stop(vstation.native, [id], "hard");
    const [off] = await inState(vstation, [id], "STOPPED");
    expect(off?.incarnation).toBe(1);
  });

  it("is rebooted hard as a reset of the same start, soft as a new start", async () => {
    const id = await one();
    await reboot(vstation.native, [id], "hard");
    const [reset] = await inState(vstation, [id], "RUNNING");
    expect(reset?.incarnation).toBe(1);
    await reboot(vstation.native, [id], "soft");
    const [anew] = await inState(vstation, [id], "RUNNING");
    expect(anew?.incarnation).toBe(2);
  });
});

describe("a guest that ends while it is being rebooted", () => {
  it.each(["always", "never"] as const)("is started by that reboot, under `%s`", async (restartPolicy) => {
    const id = await one({ restartPolicy });
    for (const [incarnation, how] of [
      [2, "hard"],
      [3, "soft"],
    ] as const) {
      host.setFaults(id, { frozen: true });
      await reboot(vstation.native, [id], how);
      host.machines.get(id)?.endGuest("crashed");
      host.setFaults(id, { frozen: false });
      const [again] = await inState(vstation, [id], "RUNNING");
      expect(again).toMatchObject({ incarnation, latestOperation: { kind: "instance.reboot", state: "SUCCEEDED" } });
    }
    expect([...(host.machines.get(id)?.starts.values() ?? [])]).toEqual([1, 1, 1]);
  });

  it("stays off when its owner has said so meanwhile", async () => {
    const id = await one();
    host.setFaults(id, { frozen: true });
    await reboot(vstation.native, [id], "hard");
    await stop(vstation.native, [id], "hard");
    host.machines.get(id)?.endGuest("crashed");
    host.setFaults(id, { frozen: false });
    const [off] = await inState(vstation, [id], "STOPPED");
    expect(off?.incarnation).toBe(1);
  });
});

describe("an instance whose host has no room on its disks", () => {
  it("says so, and goes on when there is room again", async () => {
    const id = await one();
    host.machines.get(id)?.pauseGuest("out_of_space");
    host.move();
    await until("it says so", async () => (await show(vstation.native, id)).attention?.includes("storage is full"));
    expect((await show(vstation.native, id)).state).toBe("RUNNING");
    host.machines.get(id)?.resumeGuest();
    host.move();
    await until("it is well again", async () => (await show(vstation.native, id)).attention === null);
  });
});

describe("requests", () => {
  it("are all or nothing over their ids, and denied with the state", async () => {
    const { native } = vstation;
    const id = await one();
    await expect(start(native, [id])).rejects.toMatchObject({ code: "WrongState" });
    const stranger = "ins-00000000" as InstanceId;
    await expect(stop(native, [id, stranger])).rejects.toMatchObject({ code: "InstanceNotFound" });
    expect((await show(native, id)).state).toBe("RUNNING");
    await native.call("instanceModify", { params: { id }, request: { terminationProtection: true } });
    await expect(terminate(native, [id])).rejects.toMatchObject({ code: "Protected" });
    await native.call("instanceModify", { params: { id }, request: { terminationProtection: false } });
    await terminate(native, [id]);
    const again = await terminate(native, [id]).catch((error: unknown) => (isFailure(error) ? error.code : error));
    expect(["InstanceNotFound", undefined]).toContain(typeof again === "string" ? again : undefined);
    await areGone(vstation, [id]);
  });

  it("with one client token have one answer, also at the same time; with another request they are refused", async () => {
    const { native } = vstation;
    const clientToken = `t${Date.now()}`;
    const before = (await list(native)).length;
    const answers = await Promise.all([1, 2, 3].map(() => run(native, { clientToken, name: "same" })));
    expect(new Set(answers.flat()).size).toBe(1);
    expect((await list(native)).length).toBe(before + 1);
    await expect(run(native, { clientToken, name: "other" })).rejects.toMatchObject({ code: "ClientTokenMismatch" });
  });

  it("that name what is not there are refused by name", async () => {
    const { native } = vstation;
    await expect(run(native, { imageId: "img-00000000" })).rejects.toMatchObject({ code: "ImageNotFound" });
    await expect(run(native, { instanceType: "X1.NONE" })).rejects.toMatchObject({ code: "InstanceTypeUnknown" });
    await expect(run(native, { keyIds: ["skey-00000000"] })).rejects.toMatchObject({ code: "KeyNotFound" });
    await expect(run(native, { groupId: "ps-00000000" })).rejects.toMatchObject({ code: "GroupNotFound" });
    await expect(run(native, { zone: "elsewhere-1" })).rejects.toMatchObject({ code: "ZoneUnknown" });
  });

  it("find instances by each of the filters, states included", async () => {
    const { native } = vstation;
    const id = await one({ name: "filtered", tags: { role: "db", tier: "1" } });
    const view = await show(native, id);
    const ids = async (query: Parameters<typeof list>[1]) => (await list(native, query)).map((each) => each.id);
    expect(await ids({ name: ["filtered"] })).toEqual([id]);
    expect(await ids({ ip: [view.ip] })).toEqual([id]);
    expect(await ids({ uuid: [view.uuid] })).toEqual([id]);
    expect(await ids({ tag: ["role=db"] })).toEqual([id]);
    expect(await ids({ tag: ["tier"] })).toEqual([id]);
    expect(await ids({ tag: ["role=web"] })).toEqual([]);
    expect(await ids({ state: ["RUNNING"], name: ["filtered"] })).toEqual([id]);
    expect(await ids({ state: ["STOPPED"], name: ["filtered"] })).toEqual([]);
    expect(await ids({ hostId: [host.id], instanceType: ["T1.SMALL1"], name: ["filtered"] })).toEqual([id]);
  });
});

describe("keys", () => {
  it("are made, taken in, handed to guests, and not deleted while one uses them", async () => {
    const { native } = vstation;
    const made = await native.call("keyCreate", { request: { name: "made" } });
    expect(made.privateKey).toMatch(/^-----BEGIN RSA PRIVATE KEY-----/);
    await expect(native.call("keyCreate", { request: { name: "made" } })).rejects.toMatchObject({ code: "NameTaken" });
    const { publicKey } = generateKeyPairSync("ed25519");
    const raw = Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url");
    const length = (bytes: number): Buffer => Buffer.from([0, 0, 0, bytes]);
    const blob = Buffer.concat([length(11), Buffer.from("ssh-ed25519"), length(32), raw]).toString("base64");
    const text = `ssh-ed25519 ${blob} me@here`;
    const taken = await native.call("keyImport", { request: { name: "taken", publicKey: text } });
    expect(taken.publicKey).toBe(text);
    for (const bad of ["ssh-rsa AAAA", `ssh-ed25519 ${blob.slice(0, 20)}`, `ssh-dss ${blob}`, "no key at all"]) {
      const importing = native.call("keyImport", { request: { name: "bad", publicKey: bad } });
      await expect(importing).rejects.toMatchObject({ kind: "invalid" });
    }
    const specs: string[][] = [];
    host.onMessage = ({ message }) => {
      if (message.type === "wanted") specs.push(...message.instances.map(({ spec }) => spec.publicKeys));
    };
    const id = await one({ keyIds: [taken.id, made.key.id] });
    host.onMessage = () => undefined;
    expect(specs).toContainEqual([text, made.key.publicKey]);
    const deleting = native.call("keyDelete", { params: { id: taken.id } });
    await expect(deleting).rejects.toMatchObject({ code: "KeyInUse" });
    await terminate(native, [id]);
    await areGone(vstation, [id]);
    await native.call("keyDelete", { params: { id: taken.id } });
    expect(JSON.stringify(await vstation.sql("select * from key_pair"))).not.toContain("PRIVATE");
  });
});

describe("events", () => {
  it("come in order and without a hole, whatever commits around them, and can be resumed", async () => {
    const { endpoint } = vstation.native;
    const aborted = new AbortController();
    const seen: bigint[] = [];
    const follow = async (since: bigint | undefined): Promise<void> => {
      const headers = {
        ...vstation.native.headers,
        ...(since === undefined ? {} : { "Last-Event-ID": since.toString() }),
      };
      const response = await fetch(`${endpoint}/v1/events`, { headers, signal: aborted.signal });
      const decoder = new TextDecoderStream();
      let text = "";
      for await (const part of response.body?.pipeThrough(decoder) ?? []) {
        text += part;
        for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
          const id = /^id: ?(\d+)$/m.exec(text.slice(0, end))?.[1];
          text = text.slice(end + 2);
          if (id !== undefined) seen.push(BigInt(id));
        }
      }
    };
    const following = follow(undefined).catch(() => undefined);
    const ids = (await Promise.all([1, 2, 3, 4].map(() => run(vstation.native, { count: 2 })))).flat();
    await inState(vstation, ids, "RUNNING");
    await terminate(vstation.native, ids);
    await areGone(vstation, ids);
    const [last] = await vstation.sql<{ id: string }>("select max(id)::text as id from event");
    await until("the last event", () => seen.at(-1) === BigInt(last?.id ?? "0"));
    const rows = await vstation.sql<{ id: string }>(
      "select id::text from event where id >= $1 and id <= $2 order by id",
      [seen[0]?.toString(), seen.at(-1)?.toString()],
    );
    expect(seen).toEqual(rows.map(({ id }) => BigInt(id)));
    aborted.abort();
    await following;
  });
});
