/** The operator's way through the same life: the native API with its long polls and its event stream, as the command line uses it. */
import { imageId, instanceType } from "../../../bench/delivery/guest.ts";
import type { LabSession } from "../../../bench/lab-session.ts";
import { followChanges } from "../../../src/api/native/follow.ts";
import type { InstanceId } from "../../../src/lib/ids.ts";
import { expectThat, until } from "../../until.ts";
import { patienceMs } from "../bed.ts";
import { bootIdOf } from "../guest.ts";
import { ask, awaitOutcome, insist, resizedType } from "../requests.ts";
import { accountLife } from "./account-walk.ts";
import { nativeNetwork } from "./native-network-walk.ts";
import { nativeStorage } from "./native-storage-walk.ts";
import { newPublicKey } from "./public-key.ts";

export async function nativeLife(lab: LabSession): Promise<void> {
  const { native } = lab.cloud;
  const tag = `n${Date.now()}`;
  const done = new AbortController();
  const told = new Set<string>();
  const following = (async () => {
    for await (const item of followChanges(native, { signal: done.signal })) {
      if (item.is === "change") told.add(item.event.subjectId);
    }
  })();
  try {
    await accountLife(lab, tag);
    await ask(() => native.call("keyCreate", { request: { name: `${tag}a` } }));
    await ask(() => native.call("keyImport", { request: { name: `${tag}b`, publicKey: newPublicKey() } }));
    await ask(() => native.call("groupCreate", { request: { name: tag, type: "HOST", affinity: 1 } }));
    const { keys } = await insist(() => native.call("keyList", { query: {} }));
    const keyIds = keys.filter(({ name }) => name.startsWith(tag)).map(({ id }) => id);
    expectThat(keyIds.length === 2, `there are ${keyIds.length} keys of that name`);
    // Without a client token a group may be there twice; members are what counts.
    const { groups } = await insist(() => native.call("groupList", { query: {} }));
    const mine = groups.filter(({ name }) => name === tag);
    await insist(() => native.call("instanceTypeList", {}));
    await insist(() => native.call("imageList", { query: {} }));
    await insist(() => native.call("hostInvite", { request: { name: `${tag}h` } }));
    for (const { id } of await insist(() => lab.cloud.hosts())) {
      await insist(() => native.call("hostGet", { params: { id } }));
      for (const cordoned of [true, false]) {
        await insist(() => native.call("hostModify", { params: { id }, request: { cordoned } }));
      }
    }
    const request = { name: tag, imageId, instanceType, clientToken: tag, keyIds, groupId: mine[0]?.id ?? null };
    const { instanceIds } = await insist(() => native.call("instanceRun", { request }));
    const [id] = instanceIds;
    if (id === undefined) throw new Error("the answer has no id");
    await settled(lab, id);
    await awaitOutcome(lab, "run", id, undefined, false);
    await insist(() => native.call("instanceModify", { params: { id }, request: { name: `${tag}-renamed` } }));
    await powerCycle(lab, id);
    await resizeAndBack(lab, id);
    await nativeStorage(lab, id, tag);
    await nativeNetwork(lab, id, tag);
    await ask(() => native.call("instanceTerminate", { request: { ids: [id] } }));
    await awaitOutcome(lab, "terminate", id, undefined, false);
    for (const key of keyIds) await ask(() => native.call("keyDelete", { params: { id: key } }));
    for (const group of mine) {
      await ask(() => native.call("groupDelete", { params: { id: group.id } }));
    }
    await until("the stream of events has told of it", () => told.has(id), patienceMs);
  } finally {
    done.abort();
    await following;
  }
}

async function powerCycle(lab: LabSession, id: InstanceId): Promise<void> {
  const { native } = lab.cloud;
  const { ip } = await insist(() => lab.cloud.instance(id));
  const subject = async () => ({ id, ip, bootId: await until(`${id} answers`, () => bootIdOf(ip), patienceMs) });
  let now = await subject();
  await ask(() => native.call("instanceReboot", { request: { ids: [id], how: "hard" } }));
  await settled(lab, id);
  await awaitOutcome(lab, "reboot", id, now, false);
  now = await subject();
  await ask(() => native.call("instanceStop", { request: { ids: [id], how: "soft_first" } }));
  await settled(lab, id);
  await awaitOutcome(lab, "stop", id, now, false);
  await ask(() => native.call("instanceStart", { request: { ids: [id] } }));
  await settled(lab, id);
  await awaitOutcome(lab, "start", id, undefined, false);
}

/** To a type that owns processors, and back to one that shares them. */
async function resizeAndBack(lab: LabSession, id: InstanceId): Promise<void> {
  for (const type of [resizedType, instanceType]) {
    const request = { id, instanceType: type, mayStop: true };
    await ask(() => lab.cloud.native.call("instanceResize", { request }));
    await settled(lab, id);
    await until(
      `${id} is ${type}`,
      async () => {
        const now = await lab.cloud.instance(id);
        expectThat(now.instanceType === type && now.state === "RUNNING", `it is ${now.instanceType}, ${now.state}`);
        return true;
      },
      patienceMs,
    );
  }
}

/** Waits for the newest operation by long polls. */
async function settled(lab: LabSession, id: InstanceId): Promise<void> {
  await insist(async () => void (await lab.cloud.settled([id], patienceMs)));
}
