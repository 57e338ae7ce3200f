/** Another type for an instance, by the official SDK against a whole VStation: room, state, bad input, requests that meet. */
import { afterEach, expect, it } from "vitest";
import { CloudClient, credentialsSchema } from "../../bench/cloud.ts";
import type { InstanceSpec } from "../../src/api/agent.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { endAll, inState, run, show, stop } from "./support/cloud.ts";
import { vstationForAll } from "./support/vstation-for.ts";
import type { TestVstation } from "./support/vstation.ts";

let vstation: TestVstation;
let sdk: CloudClient["sdk"];
let host: SimHost;
/** What the host was last told of each instance. */
const specs = new Map<InstanceId, InstanceSpec>();

vstationForAll(async (made) => {
  vstation = made;
  await vstation.start();
  // One of the cores is the host's own.
  host = await vstation.addHost({ shape: { cores: 8, memoryMiB: 16_384, diskGiB: 100 } });
  host.onMessage = ({ message }) => {
    if (message.type === "wanted") for (const { id, spec } of message.instances) specs.set(id, spec);
  };
  sdk = new CloudClient(credentialsSchema.parse(vstation.credentials)).sdk;
});
afterEach(async () => {
  await endAll(vstation);
  vstation.expectNoErrors();
});

async function one(request = {}): Promise<InstanceId> {
  const [id] = await run(vstation.native, request);
  if (id === undefined) throw new Error("no id");
  await inState(vstation, [id], "RUNNING");
  return id;
}

const reset = (id: InstanceId, InstanceType: string, ForceStop?: boolean) =>
  sdk.ResetInstancesType({ InstanceIds: [id], InstanceType, ...(ForceStop === undefined ? {} : { ForceStop }) });

async function used() {
  const { hosts } = await vstation.native.call("hostList", { query: {} });
  return hosts[0]?.used;
}

it("stops what runs, and starts it as the new type, under one operation", async () => {
  const id = await one();
  await reset(id, "S5.MEDIUM2", true);
  const [after] = await inState(vstation, [id], "RUNNING");
  expect(after).toMatchObject({ instanceType: "S5.MEDIUM2", vcpus: 2, memoryMiB: 2048, incarnation: 2 });
  expect(after?.latestOperation).toMatchObject({ kind: "instance.resize", state: "SUCCEEDED" });
  expect(await used()).toMatchObject({ vcpus: 2, dedicated: 2, memoryMiB: 2048 });
  const { InstanceSet } = await sdk.DescribeInstances({ InstanceIds: [id] });
  expect(InstanceSet?.[0]).toMatchObject({
    InstanceType: "S5.MEDIUM2",
    CPU: 2,
    Memory: 2,
    LatestOperation: "ResetInstancesType",
    LatestOperationState: "SUCCESS",
  });
  expect(specs.get(id)).toMatchObject({
    vcpus: 2,
    memoryMiB: 2048,
    machine: { cpu: "dedicated", nicQueues: 2, iothreads: 1 },
  });
});

it("leaves off what was off; asked again, it says yes and does nothing", async () => {
  const id = await one({ instanceType: "S5.LARGE4" });
  await stop(vstation.native, [id]);
  await inState(vstation, [id], "STOPPED");
  await reset(id, "T1.SMALL1");
  const [after] = await inState(vstation, [id], "STOPPED");
  expect(after).toMatchObject({ instanceType: "T1.SMALL1", incarnation: 1 });
  expect(await used()).toMatchObject({ vcpus: 1, dedicated: 0, memoryMiB: 1024 });
  await reset(id, "T1.SMALL1");
  const operations = (await vstation.native.call("operationList", { query: { instanceId: [id] } })).operations;
  expect(operations.filter(({ kind }) => kind === "instance.resize")).toHaveLength(1);
});

it("refuses what cannot be, and changes nothing", async () => {
  const id = await one();
  const refuse = (code: string, work: Promise<unknown>) => expect(work).rejects.toMatchObject({ code });
  await refuse("UnsupportedOperation.InstanceStateRunning", reset(id, "T1.MEDIUM2"));
  await refuse("UnsupportedOperation.InstanceStateRunning", reset(id, "T1.MEDIUM2", false));
  await refuse("InvalidParameterValue.InstanceTypeNotFound", reset(id, "T9.HUGE"));
  await refuse("InvalidParameterValue.InstanceTypeNotFound", reset(id, "x".repeat(65)));
  // Larger than the host; more processors than the host gives away; pages that it has not set aside.
  for (const type of ["S5.21XLARGE320", "S5.2XLARGE16", "M5.MEDIUM16"]) {
    await refuse("ResourceInsufficient.SpecifiedInstanceType", reset(id, type, true));
  }
  await refuse("InvalidInstanceId.NotFound", reset("ins-00000000" as InstanceId, "T1.MEDIUM2", true));
  await refuse("InvalidInstanceId.Malformed", reset("nothing" as InstanceId, "T1.MEDIUM2", true));
  const two = { InstanceIds: [id, "ins-00000000"], InstanceType: "T1.MEDIUM2" };
  await refuse("InvalidParameterValue.LimitExceeded", sdk.ResetInstancesType(two));
  await refuse("MissingParameter", sdk.ResetInstancesType({ InstanceIds: [id] } as never));
  expect(await show(vstation.native, id)).toMatchObject({
    instanceType: "T1.SMALL1",
    state: "RUNNING",
    incarnation: 1,
  });
  expect(await used()).toMatchObject({ vcpus: 1, dedicated: 0, memoryMiB: 1024 });
});

it("gives what became free to others, and what is taken to nobody", async () => {
  const id = await one({ instanceType: "S5.LARGE4" });
  const other = await one({ instanceType: "S5.MEDIUM2" });
  // Seven can be given away, six are: the second may not have two more.
  await expect(reset(other, "S5.LARGE4", true)).rejects.toMatchObject({
    code: "ResourceInsufficient.SpecifiedInstanceType",
  });
  await reset(id, "S5.MEDIUM2", true);
  await reset(other, "S5.LARGE4", true);
  await inState(vstation, [id, other], "RUNNING");
  expect(await used()).toMatchObject({ dedicated: 6 });
});

it("of many at once one is accepted, and the rest are told so", async () => {
  const id = await one();
  const types = ["T1.MEDIUM2", "S5.MEDIUM2", "S5.LARGE4", "T1.LARGE4"];
  // The first one is not over before the last has come.
  host.setFaults(id, { frozen: true });
  const answers = await Promise.allSettled(types.map((type) => reset(id, type, true)));
  host.setFaults(id, { frozen: false });
  const accepted = answers.flatMap((answer, index) => (answer.status === "fulfilled" ? [types[index]] : []));
  expect(accepted).toHaveLength(1);
  const refusals = answers.flatMap((answer) =>
    answer.status === "rejected" ? [answer.reason as { code: string }] : [],
  );
  expect(new Set(refusals.map(({ code }) => code))).toEqual(new Set(["OperationDenied.InstanceOperationInProgress"]));
  const [after] = await inState(vstation, [id], "RUNNING");
  expect(after?.instanceType).toBe(accepted[0]);
});
