import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Peer, WantedInstance, WantedSubnet, WantedVpc } from "../../api/agent.ts";
import { plainPromise } from "../../core/machine.ts";
import { noLimits, type WantedJob } from "../../api/agent-storage.ts";
import {
  newId,
  type ImageId,
  type InstanceId,
  type JobId,
  type SnapshotId,
  type SubnetId,
  type VpcId,
} from "../../lib/ids.ts";
import { createLog } from "../../lib/log.ts";
import { writeDurably } from "../../lib/durable.ts";
import { WantedStore } from "./store.ts";

process.env["VSTATION_LOG"] ??= "silent";
const log = createLog("test");
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "vstation-wanted-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const a = "ins-aaaaaaaa" as InstanceId;
const b = "ins-bbbbbbbb" as InstanceId;
const doc = (id: InstanceId, generation: number, epoch = 1): WantedInstance => ({
  id,
  generation,
  epoch,
  spec: {
    name: "n",
    hostname: "h",
    vcpus: 1,
    memoryMiB: 128,
    imageId: "img-aaaaaaaa" as ImageId,
    systemDisk: { id: newId("disk"), sizeGiB: 1, driver: "local", limits: noLimits },
    dataDisks: [],
    nics: [],
    userData: null,
    publicKeys: [],
    machine: { ...plainPromise, baseline: "host" },
  },
  power: { state: "running", incarnation: 1, resets: 0 },
});
const vpc: WantedVpc = { id: "vpc-aaaaaaaa" as VpcId, cidrs: ["10.1.0.0/16"], domain: "z.internal" };
const subnet: WantedSubnet = {
  id: "subnet-aaaaaaaa" as SubnetId,
  vpcId: vpc.id,
  cidr: "10.1.0.0/16",
  gateway: "10.1.0.1",
  gatewayMac: "02:00:00:00:00:01",
  vni: 7,
  mtu: 1450,
  dns: [],
  egress: "host",
};
const network = { vpcs: [vpc], subnets: [subnet], securityGroups: [] };
const job = (gone = false): WantedJob => ({
  id: "job-aaaaaaaa" as JobId,
  generation: 1,
  spec: { kind: "snapshot.delete", snapshot: { id: "snap-aaaaaaaa" as SnapshotId, driver: "local" } },
  gone,
});
const wanted = (generation: number, instances: WantedInstance[], full = false, jobs: WantedJob[] = []) => ({
  type: "wanted" as const,
  generation,
  full,
  ...network,
  instances,
  jobs,
  migrations: [],
});

async function open(): Promise<WantedStore> {
  const store = new WantedStore(directory, writeDurably, log);
  await store.load();
  return store;
}

describe("WantedStore", () => {
  test("keeps what it took over the end of the process", async () => {
    const first = doc(a, 3);
    await (await open()).apply(wanted(3, [first]));
    const again = await open();
    expect(again.generation).toBe(3);
    expect(again.network).toEqual(network);
    expect(again.instance(a)).toEqual({ knownEpoch: 1, doc: first });
  });

  test("forgets one that has left, for good, but not one that has come back meanwhile", async () => {
    const store = await open();
    await store.apply(wanted(1, [doc(a, 1), doc(b, 1)]));
    const newer = doc(b, 2, 3);
    await Promise.all([store.apply(wanted(2, [newer])), store.forget(a, 1), store.forget(b, 1)]);
    for (const each of [store, await open()]) {
      expect(each.instance(a)).toBeUndefined();
      expect(each.instance(b)?.doc).toEqual(newer);
    }
  });

  test("tells what changed, and an unchanged document keeps its object", async () => {
    const store = await open();
    const first = doc(a, 1);
    expect(await store.apply(wanted(1, [first]))).toEqual({
      instances: [a],
      network: true,
      jobs: false,
      migrations: false,
    });
    const entry = store.instance(a);
    expect(await store.apply(wanted(2, [{ ...first }]))).toEqual({
      instances: [],
      network: false,
      jobs: false,
      migrations: false,
    });
    expect(store.instance(a)).toBe(entry);
  });

  test("a whole message forgets what it does not name, a partial one keeps it", async () => {
    const store = await open();
    const [one, two] = [doc(a, 1), doc(b, 1)];
    await store.apply(wanted(1, [one, two]));
    await store.apply(wanted(2, [two]));
    expect(store.instance(a)).toBeDefined();
    expect(await store.apply(wanted(3, [two], true))).toEqual({
      instances: [a],
      network: false,
      jobs: false,
      migrations: false,
    });
    expect((await open()).instance(a)).toBeUndefined();
  });

  test("keeps jobs until they are over or not named any more", async () => {
    await (await open()).apply(wanted(1, [], false, [job()]));
    const store = await open();
    expect(store.jobs()).toEqual([job()]);
    expect(await store.apply(wanted(2, [], false, []))).toMatchObject({ jobs: false });
    expect(await store.apply(wanted(3, [], false, [job(true)]))).toMatchObject({ jobs: true });
    expect((await open()).jobs()).toEqual([]);
    await store.apply(wanted(4, [], false, [job()]));
    await store.apply(wanted(5, [], true));
    expect(store.jobs()).toEqual([]);
  });

  test("remembers the highest epoch it heard of, and refuses a generation that goes back", async () => {
    const store = await open();
    await store.apply(wanted(5, [doc(a, 5, 4)]));
    await store.apply(wanted(6, [doc(a, 6, 2)]));
    expect(store.instance(a)).toMatchObject({ knownEpoch: 4, doc: { epoch: 2 } });
    await store.apply(wanted(3, [], true));
    expect(store.instance(a)).toBeDefined();
    expect(store.wentBack).toEqual({ held: 6, offered: 3 });
  });

  test("after a death between documents and generation it asks for them again", async () => {
    await (await open()).apply(wanted(1, [doc(a, 1)]));
    const head = join(directory, "head.json");
    writeFileSync(head, JSON.stringify({ generation: 0, network }));
    const store = await open();
    expect(store.generation).toBe(0);
    expect(await store.apply(wanted(1, [], true))).toMatchObject({ instances: [a] });
  });

  test("what an earlier release kept of the network is asked for anew, and until then nothing is known", async () => {
    const { vpcId: _, ...old } = subnet;
    await (await open()).apply(wanted(1, [doc(a, 1)]));
    writeFileSync(join(directory, "head.json"), JSON.stringify({ generation: 7, subnets: [old] }));
    const store = await open();
    expect([store.generation, store.network, store.instance(a)?.doc.id]).toEqual([0, null, a]);
  });

  test("a damaged file is an error that names it, not an empty store", async () => {
    writeFileSync(join(directory, "head.json"), "{");
    await expect(open()).rejects.toThrow(/head\.json/);
  });

  test("peers are taken by address, freed by null and replaced by a whole message", async () => {
    const store = await open();
    const peer = (ip: string, vtep: string | null): Peer => ({
      subnetId: subnet.id,
      ip,
      mac: "52:54:00:00:00:01",
      vtep,
      name: null,
      groupIds: [],
    });
    await store.applyPeers({
      type: "peers",
      generation: 1,
      full: false,
      peers: [peer("10.1.0.2", "192.0.2.2"), peer("10.1.0.3", "192.0.2.2")],
    });
    await store.applyPeers({
      type: "peers",
      generation: 2,
      full: false,
      peers: [peer("10.1.0.2", "192.0.2.3"), peer("10.1.0.3", null)],
    });
    const again = await open();
    expect(again.peersGeneration).toBe(2);
    expect(again.peers()).toEqual([peer("10.1.0.2", "192.0.2.3")]);
    await again.applyPeers({ type: "peers", generation: 3, full: true, peers: [] });
    expect(again.peers()).toEqual([]);
  });
});
