/**
 * The paths on which awaits are come by. Each ends with what it was to bring about being there, whatever was killed on the way, and
 * leaves nothing behind. Requests are repeated as a client would that got no answer.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { imageId, instanceType } from "../../../bench/delivery/guest.ts";
import type { LabSession } from "../../../bench/lab-session.ts";
import { Failure } from "../../../src/lib/errors.ts";
import type { InstanceId } from "../../../src/lib/ids.ts";
import { expectThat, until } from "../../until.ts";
import { patienceMs } from "../bed.ts";
import { bootIdOf } from "../guest.ts";
import { allBack, dismiss, strike } from "../inject.ts";
import { favouriteHost, withoutDisk } from "../hosts.ts";
import {
  ask,
  awaitOutcome,
  insist,
  removeSubject,
  resizedType,
  runSubject,
  sendRequest,
  untilStartedAgain,
} from "../requests.ts";
import { root } from "../points.ts";
import { storageLife } from "../storage.ts";
import { nativeLife } from "./native-walk.ts";
import { newPublicKey } from "./public-key.ts";
import { smallActions } from "./small-walk.ts";

export const walks = [
  "life",
  "native",
  "recover",
  "relocate",
  "nowhere",
  "storage",
  "return",
  "leave",
  "outage",
  "first",
] as const;
export type Walk = (typeof walks)[number];

/** Walks the path; `begin` is called at its start, when what it needs is there. `first` has a lab of its own: see run.ts. */
export async function walk(lab: LabSession, which: Exclude<Walk, "first">, begin: () => Promise<void>): Promise<void> {
  switch (which) {
    case "life":
      await begin();
      return life(lab, async () => undefined);
    case "native":
      await begin();
      return nativeLife(lab);
    case "outage":
      await begin();
      return life(lab, async () => {
        for (const part of ["postgres", "libvirtd"] as const) await strike(lab, part, () => undefined);
      });
    case "recover":
      return recover(lab, begin);
    case "relocate":
      return relocate(lab, begin);
    case "nowhere":
      return nowhere(lab, begin);
    case "storage":
      return storage(lab, begin);
    case "return":
      await begin();
      for (const program of ["compute", "vstation"] as const) {
        await strike(lab, program, () => undefined);
        await allBack(lab);
      }
      return;
    case "leave":
      await begin();
      for (const program of ["compute", "vstation"] as const) {
        await dismiss(lab, program);
        await allBack(lab);
      }
      return;
  }
}

/** Everything that a tenant and an operator may ask of one instance, and of what it is made from. */
async function life(lab: LabSession, between: () => Promise<void>): Promise<void> {
  const { sdk } = lab.cloud;
  const tag = `w${Date.now()}`;
  const keyIds = await keys(lab, tag);
  const groupId = await group(lab, tag);
  await between();
  const wish = {
    name: tag,
    imageId,
    instanceType,
    clientToken: tag,
    groupId,
    userData: "#!/bin/sh\necho hello\n",
  };
  const [id] = await insist(() => lab.cloud.run({ ...wish, keyIds }));
  if (id === undefined) throw new Error("RunInstances returned no id");
  await awaitOutcome(lab, "run", id, undefined, false);
  await questions(lab, id);
  await insist(() => sdk.ModifyInstancesAttribute({ InstanceIds: [id], InstanceName: `${tag}-renamed` }));
  expectThat((await insist(() => lab.cloud.instance(id))).name === `${tag}-renamed`, "it has its old name");
  const subject = async () => {
    const { ip } = await insist(() => lab.cloud.instance(id));
    return { id, ip, bootId: await until(`${id} answers`, () => bootIdOf(ip), patienceMs) };
  };
  for (const request of ["renumber", "shutdown", "start", "reboot", "stop"] as const) {
    const now = request === "start" ? { id, ip: "", bootId: undefined } : await subject();
    await sendRequest(lab, request, now);
    // A guest may miss the one press of its button; then it says so and runs on.
    await awaitOutcome(lab, request, id, now, false);
    if (request === "start") await between();
  }
  await smallActions(lab, id, keyIds, groupId);
  await ownsProcessors(lab, id);
  await removeSubject(lab, id);
  await insist(() => once(sdk.DeleteKeyPairs({ KeyIds: [...keyIds] })));
  await insist(() => once(sdk.DeleteDisasterRecoverGroups({ DisasterRecoverGroupIds: [groupId] })));
  await until(
    "keys and group are gone",
    async () => {
      const left = await sdk.DescribeKeyPairs({ Filters: [{ Name: "key-name", Values: [`${tag}a`, `${tag}b`] }] });
      expectThat(left.TotalCount === 0, "a key is still there");
      return true;
    },
    patienceMs,
  );
}

/** One that owns processors: there is more to make, and to give back. It was off. */
async function ownsProcessors(lab: LabSession, id: InstanceId): Promise<void> {
  const { cloud } = lab;
  // The second time it is of that type already: asked for again, as after a lost answer.
  for (let times = 0; times < 2; times++) {
    await insist(() => cloud.sdk.ResetInstancesType({ InstanceIds: [id], InstanceType: resizedType }));
    await insist(() => cloud.settled([id], patienceMs));
  }
  await ask(() => cloud.sdk.StartInstances({ InstanceIds: [id] }));
  await until(
    `${id} runs as ${resizedType}`,
    async () => {
      const { state, instanceType: type } = await insist(() => cloud.instance(id));
      expectThat(state === "RUNNING" && type === resizedType, `it is ${state}, ${type}`);
      return true;
    },
    patienceMs,
  );
}

/** Two keys, one made and one brought; of a creation whose answer was lost the key is there under its name. */
async function keys(lab: LabSession, tag: string): Promise<string[]> {
  const { sdk } = lab.cloud;
  await insist(() => once(sdk.CreateKeyPair({ KeyName: `${tag}a`, ProjectId: 0 })));
  await insist(() => once(sdk.ImportKeyPair({ KeyName: `${tag}b`, ProjectId: 0, PublicKey: newPublicKey() })));
  const named = await insist(() =>
    sdk.DescribeKeyPairs({ Filters: [{ Name: "key-name", Values: [`${tag}a`, `${tag}b`] }] }),
  );
  const ids = (named.KeyPairSet ?? []).flatMap(({ KeyId }) => KeyId ?? []);
  expectThat(ids.length === 2, `there are ${ids.length} keys of that name`);
  return ids;
}

async function group(lab: LabSession, tag: string): Promise<string> {
  const { sdk } = lab.cloud;
  const answer = await insist(() =>
    sdk.CreateDisasterRecoverGroup({ Name: tag, Type: "HOST", ClientToken: `${tag}g` }),
  );
  const found = await insist(() => sdk.DescribeDisasterRecoverGroups({ Name: tag }));
  expectThat(found.TotalCount === 1, `there are ${found.TotalCount} groups of that name`);
  return answer.DisasterRecoverGroupId ?? "";
}

/** Questions change nothing: each is asked until it is answered. */
async function questions(lab: LabSession, id: InstanceId): Promise<void> {
  const { sdk, native } = lab.cloud;
  const ids = { InstanceIds: [id] };
  await insist(() => sdk.DescribeInstances(ids));
  await insist(() => sdk.DescribeInstancesStatus(ids));
  await insist(() => sdk.DescribeInstancesAttributes({ ...ids, Attributes: ["UserData"] }));
  await insist(() => sdk.DescribeImages({}));
  await insist(() => sdk.DescribeRegions());
  await insist(() => sdk.DescribeZones());
  await insist(() => sdk.DescribeInstanceTypeConfigs({}));
  await insist(() => sdk.DescribeZoneInstanceConfigInfos({}));
  for (const host of await insist(() => lab.cloud.hosts())) {
    await insist(() => native.call("hostReadiness", { params: { id: host.id } }));
  }
  await insist(() => native.call("instanceConsoleLog", { params: { id }, query: { bytes: 4096 } }));
  await insist(() => metrics(lab));
  await insist(() => talk(lab, id));
}

async function metrics(lab: LabSession): Promise<void> {
  const { nativeEndpoint, nativeToken } = lab.lab.credentials;
  const headers = { authorization: `Bearer ${nativeToken}` };
  const text = await fetch(`${nativeEndpoint}/metrics`, { headers })
    .then((answer) => answer.text())
    .catch((cause: unknown) => {
      throw new Failure("unavailable", "MetricsCutOff", "the answer was cut off", { cause });
    });
  expectThat(text.includes("vstation_"), `no metrics but ${text}`);
}

/** A line to the guest's console and its echo, by the command line as a script would. */
function talk(lab: LabSession, id: InstanceId): Promise<void> {
  const args = ["--home", lab.lab.home.path, "instance", "console", id, "--history", "0", "--linger", "2"];
  return new Promise((resolve, reject) => {
    const child = execFile(join(root, "vstation"), args, (_error, stdout, stderr) => {
      // Whatever cut it off, it is asked again.
      if (stdout.includes("said-42")) resolve();
      else reject(new Failure("unavailable", "ConsoleSilent", `the console said ${stdout}${stderr}`));
    });
    child.stdin?.end("echo said-$((40 + 2))\r");
  });
}

async function recover(lab: LabSession, begin: () => Promise<void>): Promise<void> {
  const subject = await runSubject(lab);
  await begin();
  await strike(lab, "qemu", () => subject.id);
  await untilStartedAgain(subject);
  await removeSubject(lab, subject.id);
}

/** The host that placement likes best cannot make the instance's files; the next one gets it. */
async function relocate(lab: LabSession, begin: () => Promise<void>): Promise<void> {
  const favourite = await favouriteHost(lab);
  const tag = `r${Date.now()}`;
  const groupId = await group(lab, tag);
  await withoutDisk([favourite], async (mend) => {
    await begin();
    const wish = { name: tag, imageId, instanceType, clientToken: tag, groupId };
    const [id] = await insist(() => lab.cloud.run(wish));
    if (id === undefined) throw new Error("RunInstances returned no id");
    await awaitOutcome(lab, "run", id, undefined, false);
    const host = (await insist(() => lab.cloud.hosts())).find((each) => each.name === favourite.name);
    const { hostId } = await insist(() => lab.cloud.instance(id));
    expectThat(hostId !== host?.id, `${id} runs where nothing can be written`);
    await mend();
    await removeSubject(lab, id);
  });
  await insist(() => once(lab.cloud.sdk.DeleteDisasterRecoverGroups({ DisasterRecoverGroupIds: [groupId] })));
}

/** A disk and its snapshot beside a guest that runs. */
async function storage(lab: LabSession, begin: () => Promise<void>): Promise<void> {
  const subject = await runSubject(lab);
  await begin();
  await storageLife(lab, subject.id);
  expectThat((await bootIdOf(subject.ip)) === subject.bootId, `${subject.id} was started again`);
  await reinstall(lab, subject.id, subject.ip, subject.bootId);
  await removeSubject(lab, subject.id);
}

/** A larger system disk, and then another one, from which the guest starts. */
async function reinstall(lab: LabSession, id: InstanceId, ip: string, bootId: string): Promise<void> {
  const { sdk, native } = lab.cloud;
  const systemDisk = async () => (await insist(() => native.call("instanceGet", { params: { id } }))).systemDisk;
  const former = await systemDisk();
  const larger = { InstanceId: id, SystemDisk: { DiskSize: former.sizeGiB + 10 } };
  await insist(async () => {
    if ((await systemDisk()).sizeGiB === former.sizeGiB) await sdk.ResizeInstanceDisks(larger);
  });
  await until(
    `${former.id} is larger`,
    async () => {
      const { disks } = await insist(() => native.call("diskList", { query: { id: [former.id] } }));
      expectThat(disks[0]?.state === "ATTACHED", `it is ${disks[0]?.state}: ${disks[0]?.problem ?? ""}`);
      return true;
    },
    patienceMs,
  );
  await insist(async () => {
    if ((await systemDisk()).id === former.id) await sdk.ResetInstance({ InstanceId: id });
  });
  await until(
    `${id} has booted from another disk`,
    async () => {
      const now = await insist(() => lab.cloud.instance(id));
      expectThat(now.state === "RUNNING", `it is ${now.state}: ${now.attention ?? ""}`);
      expectThat((await bootIdOf(ip)) !== bootId, "it is the same boot");
      return true;
    },
    patienceMs,
  );
}

/** No host can make the instance's files: the launch fails, with the reason, and is cleared away. */
async function nowhere(lab: LabSession, begin: () => Promise<void>): Promise<void> {
  await withoutDisk(lab.hosts, async (mend) => {
    await begin();
    const id = await sendRequest(lab, "run", undefined);
    await until(
      `${id} has failed`,
      async () => {
        const { state, attention } = await lab.cloud.instance(id);
        expectThat(state === "LAUNCH_FAILED" && attention !== null, `it is ${state}: ${attention ?? "no reason"}`);
        return true;
      },
      patienceMs,
    );
    await mend();
    await removeSubject(lab, id);
  });
}

/** A change that was made by an earlier try whose answer was lost is refused now; that it was made is looked at afterwards. */
async function once(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!/Duplicate|NotFound/.test((error as { code?: string }).code ?? "")) throw error;
  }
}
