/**
 * For the tests of this folder only: a `Cloud` that lives in memory. A tool for wire rules, never for a claim about
 * instances: it accepts what it is given, keeps it in maps, and answers with the failures that a test sets. What instances
 * really do is shown in test/real.
 */
import type { ImageManifest } from "../../core/image-manifest.ts";
import { failure } from "../../core/failure-codes.ts";
import { limitsOf } from "../../core/quotas.ts";
import { plainMachine } from "../../core/image.ts";
import { instanceTypes } from "../../core/instance-types.ts";
import {
  newId,
  type AccountId,
  type GroupId,
  type ImageId,
  type InstanceId,
  type KeyId,
  type SubnetId,
  type VpcId,
} from "../../lib/ids.ts";
import { fakeNetworks } from "../cloud/network.fake.ts";
import type { Cloud, GroupView, InstanceRunRequest, InstanceView, KeyView, Page } from "../cloud.ts";
import type { ImageView } from "../cloud/images.ts";

const noHost = (id: string): Promise<never> => Promise.reject(failure("HostNotFound", id));

export const testKey = {
  secretId: "AKIDtest0123456789",
  secretKey: "test/secret+key",
  accountId: "acct-test0001" as AccountId,
};
export const testPlace = { region: "lab", zones: ["lab-1", "lab-2"] };
export const testSubnet = { id: "subnet-lab00001" as SubnetId, vpcId: "vpc-lab00001" as VpcId };
export const testImage = "img-tiny0001" as ImageId;

const manifest: ImageManifest = {
  id: testImage,
  name: "Tiny test guest",
  format: 1,
  architecture: "x86_64",
  boot: { kind: "disk", firmware: "bios" },
  disk: { file: "disk.qcow2", format: "qcow2", virtualSizeGiB: 2 },
  minMemoryMiB: 512,
  osName: "Tiny 1",
  platform: "Linux",
  sha256: {},
};

function slice<T>(all: T[], page: Page): { total: number; items: T[] } {
  return { total: all.length, items: all.slice(page.offset, page.offset + page.limit) };
}

/** See the head of this file. `calls` is every use case that was called, with its arguments. */
export function fakeCloud() {
  const instances = new Map<InstanceId, InstanceView>();
  const keys = new Map<KeyId, KeyView>();
  const groups = new Map<GroupId, GroupView>();
  const tokens = new Map<string, { request: string; ids: InstanceId[] }>();
  const calls: { name: string; args: unknown[] }[] = [];
  const createdAt = new Date("2026-01-02T03:04:05.678Z");
  const testImageView: ImageView = {
    id: testImage,
    accountId: null,
    name: manifest.name,
    description: "",
    state: "NORMAL",
    source: "OFFICIAL",
    progress: 100,
    step: null,
    failure: null,
    received: null,
    osName: "Tiny 1",
    platform: "Linux",
    boot: "bios",
    machine: plainMachine,
    minMemoryMiB: 512,
    manifest,
    sizeBytes: 0,
    createdAt,
  };
  const state: { fail: unknown; room: number } = { fail: undefined, room: 7 };

  const enter = (name: string, ...args: unknown[]): void => {
    calls.push({ name, args });
    if (state.fail !== undefined) throw state.fail;
  };
  const found = (ids: InstanceId[]): InstanceView[] =>
    ids.map((id) => {
      const view = instances.get(id);
      if (view === undefined)
        throw failure("InstanceNotFound", `There is no instance ${id}.`, { detail: { instanceId: id } });
      return view;
    });
  const launch = (request: InstanceRunRequest, index: number): InstanceId => {
    const id = newId("instance");
    const type = instanceTypes.find((each) => each.name === request.instanceType);
    if (type === undefined) throw failure("InstanceTypeUnknown", `There is no type ${request.instanceType}.`);
    instances.set(id, {
      id,
      accountId: testKey.accountId,
      uuid: crypto.randomUUID(),
      name: request.name ?? "unnamed",
      state: "PENDING",
      instanceType: type.name,
      vcpus: type.vcpus,
      memoryMiB: type.memoryGiB * 1024,
      imageId: request.imageId,
      zone: request.zone,
      hostId: null,
      vpcId: request.network?.vpcId ?? testSubnet.vpcId,
      subnetId: request.network?.subnetId ?? testSubnet.id,
      ip: `10.0.0.${10 + index}`,
      mac: "52:54:00:00:00:01",
      elastic: null,
      securityGroupIds: request.securityGroupIds,
      systemDisk: {
        id: newId("disk"),
        type: request.systemDiskType ?? "LOCAL_BASIC",
        sizeGiB: request.systemDiskGiB ?? 50,
      },
      dataDisks: request.dataDisks.map(({ name, ...disk }) => ({
        ...disk,
        id: newId("disk"),
        name: name ?? "unnamed",
      })),
      keyIds: request.keyIds,
      groupId: request.groupId,
      userData: request.userData,
      restartPolicy: request.restartPolicy,
      terminationProtection: request.terminationProtection,
      tags: request.tags,
      createdAt,
      incarnation: 1,
      epoch: 1,
      generation: 1,
      stale: false,
      attention: null,
      latestOperation: null,
    });
    return id;
  };

  const absent = new Proxy({} as never, {
    get: () => () => Promise.reject(failure("Internal", "A fake has no such use case.")),
  });
  const cloud: Cloud = {
    instances: {
      async run(caller, request) {
        enter("instances.run", caller, request);
        if (request.imageId !== testImage) throw failure("ImageNotFound", `There is no image ${request.imageId}.`);
        if (request.dryRun) return { instanceIds: [], operationIds: [] };
        const known = request.clientToken === null ? undefined : tokens.get(request.clientToken);
        if (known !== undefined) {
          if (known.request !== JSON.stringify(request))
            throw failure("ClientTokenMismatch", "Another request had this token.");
          return { instanceIds: known.ids, operationIds: [] };
        }
        const ids = Array.from({ length: request.count }, (_, i) => launch(request, i));
        if (request.clientToken !== null) tokens.set(request.clientToken, { request: JSON.stringify(request), ids });
        return { instanceIds: ids, operationIds: ids.map(() => newId("operation")) };
      },
      async list(caller, query, page) {
        enter("instances.list", caller, query, page);
        return slice(
          [...instances.values()].filter((view) => query.ids?.includes(view.id) ?? true),
          page,
        );
      },
      async start(caller, ids) {
        enter("instances.start", caller, ids);
        return found(ids).map(() => newId("operation"));
      },
      async stop(caller, ids, how) {
        enter("instances.stop", caller, ids, how);
        return found(ids).map(() => newId("operation"));
      },
      async resize(caller, id, to) {
        enter("instances.resize", caller, id, to);
        return [newId("operation")];
      },
      async renumber(caller, ids, request) {
        enter("instances.renumber", caller, ids, request);
        return found(ids).map(() => newId("operation"));
      },
      async reboot(caller, ids, how) {
        enter("instances.reboot", caller, ids, how);
        return found(ids).map(() => newId("operation"));
      },
      async terminate(caller, ids) {
        enter("instances.terminate", caller, ids);
        for (const view of found(ids)) instances.delete(view.id);
        return ids.map(() => newId("operation"));
      },
      async reinstall(...given) {
        enter("instances.reinstall", ...given);
        return newId("operation");
      },
      async modify(caller, ids, change) {
        enter("instances.modify", caller, ids, change);
        for (const view of found(ids)) if (change.kind === "name") view.name = change.name;
      },
      setPassword: async (caller, ids, login, force) => enter("instances.setPassword", caller, ids, login, force),
      consoleLog: () => Promise.reject(failure("HostUnreachable", "A fake has no console.")),
      consoleOpen: () => Promise.reject(failure("HostUnreachable", "A fake has no console.")),
    },
    disks: {
      async create(caller, request) {
        enter("disks.create", caller, request);
        return Array.from({ length: request.count }, () => newId("disk"));
      },
      async list(caller, query, page) {
        enter("disks.list", caller, query, page);
        return { total: 0, items: [] };
      },
      async attach(caller, ids, instanceId, deleteWithInstance) {
        enter("disks.attach", caller, ids, instanceId, deleteWithInstance);
      },
      async detach(caller, ids, instanceId) {
        enter("disks.detach", caller, ids, instanceId);
      },
      async resize(caller, id, sizeGiB) {
        enter("disks.resize", caller, id, sizeGiB);
      },
      async modify(caller, ids, change) {
        enter("disks.modify", caller, ids, change);
      },
      async delete(caller, ids) {
        enter("disks.delete", caller, ids);
      },
    },
    snapshots: {
      async create(caller, request) {
        enter("snapshots.create", caller, request);
        return newId("snapshot");
      },
      async list(caller, query, page) {
        enter("snapshots.list", caller, query, page);
        return { total: 0, items: [] };
      },
      async apply(caller, request) {
        enter("snapshots.apply", caller, request);
      },
      async delete(caller, ids) {
        enter("snapshots.delete", caller, ids);
      },
    },
    keys: {
      async create(caller, name) {
        enter("keys.create", caller, name);
        const key = {
          id: newId("key"),
          name,
          description: "",
          publicKey: "ssh-ed25519 AAAA",
          createdAt,
          instanceIds: [],
        };
        keys.set(key.id, key);
        return { key, privateKey: "-----BEGIN PRIVATE KEY-----" };
      },
      async import(caller, name, publicKey) {
        enter("keys.import", caller, name, publicKey);
        const key = { id: newId("key"), name, description: "", publicKey, createdAt, instanceIds: [] };
        keys.set(key.id, key);
        return key;
      },
      async list(caller, query, page) {
        enter("keys.list", caller, query, page);
        return slice(
          [...keys.values()].filter(
            (key) => (query.ids?.includes(key.id) ?? true) && (query.names?.includes(key.name) ?? true),
          ),
          page,
        );
      },
      async delete(caller, ids) {
        enter("keys.delete", caller, ids);
        for (const id of ids) if (!keys.delete(id)) throw failure("KeyNotFound", `There is no key ${id}.`);
      },
      modify: async (caller, id, change) => enter("keys.modify", caller, id, change),
      bind: async (caller, ids, keyIds, force) => enter("keys.bind", caller, ids, keyIds, force),
      unbind: async (caller, ids, keyIds, force) => enter("keys.unbind", caller, ids, keyIds, force),
    },
    groups: {
      async create(caller, request) {
        enter("groups.create", caller, request);
        const { name, affinity, type } = request;
        const group = { id: newId("group"), name, affinity, type, capacity: 30, instanceIds: [], createdAt };
        groups.set(group.id, group);
        return group;
      },
      async list(caller, query, page) {
        enter("groups.list", caller, query, page);
        return slice(
          [...groups.values()].filter((group) => query.ids?.includes(group.id) ?? true),
          page,
        );
      },
      async delete(caller, ids) {
        enter("groups.delete", caller, ids);
        for (const id of ids) if (!groups.delete(id)) throw failure("GroupNotFound", `There is no group ${id}.`);
      },
      modify: async (caller, id, change) => enter("groups.modify", caller, id, change),
      put: async (caller, ids, id) => enter("groups.put", caller, ids, id),
      takeOut: async (caller, ids, groupIds) => enter("groups.takeOut", caller, ids, groupIds),
    },
    ...fakeNetworks(),
    images: {
      async list(caller, query, page) {
        enter("images.list", caller, query, page);
        return slice([testImageView], page);
      },
      async get(caller, id) {
        enter("images.get", caller, id);
        if (id !== testImage) throw failure("ImageNotFound", `There is no image ${id}.`);
        return testImageView;
      },
      async import(caller, request) {
        enter("images.import", caller, request);
        return request.dryRun ? undefined : { ...testImageView, id: newId("image") };
      },
      async create(caller, request) {
        enter("images.create", caller, request);
        if (!instances.has(request.instanceId)) throw failure("InstanceNotFound", `There is no ${request.instanceId}.`);
        return request.dryRun ? undefined : { ...testImageView, id: newId("image") };
      },
      async receive(caller, id, offset) {
        enter("images.receive", caller, id, offset);
        return { received: offset };
      },
      async digest(caller, id, part) {
        enter("images.digest", caller, id, part);
        return "";
      },
      async modify(caller, id, change) {
        enter("images.modify", caller, id, change);
        if (id !== testImage) throw failure("ImageNotFound", `There is no image ${id}.`);
        return testImageView;
      },
      async delete(caller, ids, options) {
        enter("images.delete", caller, ids, options);
        for (const id of ids) if (id !== testImage) throw failure("ImageNotFound", `There is no image ${id}.`);
      },
      async quota(caller) {
        enter("images.quota", caller);
        return { limit: 100, used: 1 };
      },
    },
    migrations: absent,
    hosts: {
      list: () => Promise.resolve({ total: 0, items: [] }),
      ...{ get: noHost, ask: noHost, invite: noHost, cordon: noHost, drain: noHost, undrain: noHost, remove: noHost },
    },
    operations: {
      list: () => Promise.resolve({ total: 0, items: [] }),
      get: (_, id) => Promise.reject(failure("OperationNotFound", id)),
    },
    catalogue: {
      region: testPlace.region,
      zones: testPlace.zones,
      types: instanceTypes,
      async room() {
        enter("catalogue.room");
        return new Map(instanceTypes.map((type) => [type.name, type.family === "T1" ? state.room : 0]));
      },
    },
    events: {
      follow: () => {
        throw failure("Internal", "A fake has no events.");
      },
    },
    accounts: absent,
    async quotas(caller) {
      enter("quotas", caller);
      return { limits: limitsOf({}), used: { instances: 3 } };
    },
    audit: absent,
    accessKey: (secretId) => Promise.resolve(secretId === testKey.secretId ? testKey : undefined),
    operatorTokenValid: () => false,
  };
  return { cloud, calls, state };
}
